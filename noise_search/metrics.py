"""Scores of a classifier. Accuracies are given above chance, so that data sets compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

CALIBRATION_BINS = 15


def above_chance(accuracy: float, classes: int) -> float:
    """n(a) = max(0, (a - 1/K) / (1 - 1/K)): 0 at chance, 1 when always right.

    >>> above_chance(0.75, classes=2)
    0.5
    """
    chance = 1.0 / classes
    return max(0.0, (accuracy - chance) / (1.0 - chance))


def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Share of samples whose largest logit is the label's: logits (..., samples, classes) -> (...)."""
    return (logits.argmax(dim=-1) == labels).to(torch.float64).mean(dim=-1)


def negative_log_likelihood(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean of -log p(label) in nats: logits (..., samples, classes) -> (...)."""
    log_p = F.log_softmax(logits.double(), dim=-1)
    index = labels.expand(logits.shape[:-1]).unsqueeze(-1)
    return -log_p.gather(-1, index).squeeze(-1).mean(dim=-1)


def brier(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean squared distance of the probabilities from the one-hot label, in [0, 2].

    Source: Brier 1950, the multi-class form: the sum over classes.
    """
    p = logits.double().softmax(dim=-1)
    target = F.one_hot(labels, logits.shape[-1]).to(p.dtype)
    return (p - target).square().sum(dim=-1).mean(dim=-1)


def entropy(logits: Tensor) -> Tensor:
    """Mean entropy of the predictions in nats: logits (..., samples, classes) -> (...)."""
    log_p = F.log_softmax(logits.double(), dim=-1)
    return -(log_p.exp() * log_p).sum(dim=-1).mean(dim=-1)


def expected_calibration_error(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean gap between confidence and accuracy over 15 bins of equal width, weighted by their samples.

    Source: Guo et al. 2017, arXiv:1706.04599; bins are open below and closed above.
    """
    confidence, predicted = logits.double().softmax(dim=-1).max(dim=-1)
    right = (predicted == labels).to(confidence.dtype)
    edges = torch.linspace(0, 1, CALIBRATION_BINS + 1, dtype=confidence.dtype, device=logits.device)
    bins = torch.bucketize(confidence, edges[1:-1])
    # No scatter_add: on a GPU it sums in whatever order its threads come.
    inside = F.one_hot(bins, CALIBRATION_BINS).to(confidence.dtype)
    gaps = (inside * (right - confidence).unsqueeze(-1)).sum(dim=-2)
    return gaps.abs().sum(dim=-1) / labels.shape[-1]


def robust(
    cells: Mapping[str, Sequence[float]], families: Mapping[str, Sequence[str]], classes: int
) -> dict[str, float]:
    """Robust accuracy above chance for each family, each the mean over its kinds of the mean over severities.

    Args:
        cells: Kind -> accuracy at each severity.
        families: Family -> its kinds.
        classes: Number of classes K.
    """
    per_kind = {kind: _mean([above_chance(a, classes) for a in row]) for kind, row in cells.items()}
    return {family: _mean([per_kind[kind] for kind in kinds]) for family, kinds in families.items()}


def scores(
    clean_accuracy: float,
    cells: Mapping[str, Sequence[float]],
    families: Mapping[str, Sequence[str]],
    classes: int,
) -> dict[str, float]:
    """The four numbers a trial is judged by: clean, robust, worst_family and drop = clean - robust."""
    per_family = robust(cells, families, classes)
    clean = above_chance(clean_accuracy, classes)
    overall = _mean(list(per_family.values()))
    return {
        "clean": clean,
        "robust": overall,
        "worst_family": min(per_family.values()),
        "drop": clean - overall,
    }


def combined(clean: float, robust: float, weight: float) -> float:
    """score = w clean + (1 - w) robust.

    >>> combined(1.0, 0.5, weight=0.5)
    0.75
    """
    return weight * clean + (1 - weight) * robust


def relative_corruption_error(
    cells: Mapping[str, Sequence[float]],
    clean_accuracy: float,
    control_cells: Mapping[str, Sequence[float]],
    control_clean_accuracy: float,
) -> float:
    """Relative mCE: error added by corruption, as a share of what it adds to the no-noise control.

    Mean over kinds of sum_s(E_s - E_clean) / sum_s(E_s - E_clean) of the control; NaN where the control loses
    nothing to any kind.

    Source: Hendrycks & Dietterich 2019, arXiv:1903.12261, with the no-noise control in AlexNet's place.
    """
    ratios = []
    for kind, row in cells.items():
        own = sum(clean_accuracy - a for a in row)
        control = sum(control_clean_accuracy - a for a in control_cells[kind])
        if control > 0:
            ratios.append(own / control)
    return _mean(ratios) if ratios else float("nan")


def packed(correct: Tensor) -> str:
    """Which samples were classified rightly, (samples,) of bool, as hexadecimal text; see `unpacked`."""
    return np.packbits(correct.cpu().numpy()).tobytes().hex()


def unpacked(text: str) -> NDArray[np.bool_]:
    """Inverse of `packed`, with up to seven samples of False at the end.

    >>> unpacked(packed(torch.tensor([True, False, True]))).tolist()[:4]
    [True, False, True, False]
    """
    return np.unpackbits(np.frombuffer(bytes.fromhex(text), dtype=np.uint8)).astype(bool)


def counts_packed(counts: Tensor) -> str:
    """Whole numbers below 256, (samples,), as hexadecimal text; see `counts_unpacked`."""
    return counts.to(torch.uint8).cpu().numpy().tobytes().hex()


def counts_unpacked(text: str) -> NDArray[np.uint8]:
    """Inverse of `counts_packed`.

    >>> counts_unpacked(counts_packed(torch.tensor([0, 3, 255]))).tolist()
    [0, 3, 255]
    """
    return np.frombuffer(bytes.fromhex(text), dtype=np.uint8)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
