"""Scoring: a cohort's models on the clean and the corrupted images of one split."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from noise_search import metrics
from noise_search.corruptions.suites import Suite, clean_and_corrupted, families
from noise_search.corruptions.weights import perturbed, rounded
from noise_search.data import Split
from noise_search.seeds import generator

Tensors = Mapping[str, Tensor]
Logits = Callable[[Tensors, Tensors, Tensor], Tensor]

CHUNK = 512  # samples of one trial; what larger ones need falls out of the CPU's caches


@dataclass(frozen=True, slots=True, eq=False)
class Yardstick:
    """One split, clean and corrupted, drawn once and the same for every trial.

    Args:
        suite: Names the kinds, their families and the weight perturbations.
        images: (1 + kinds * severities, samples, ...); the first set is clean, then kinds major.
        labels: (samples,).
        classes: Number of classes.
    """

    suite: Suite
    images: Tensor
    labels: Tensor
    classes: int


@dataclass(frozen=True, slots=True)
class Scores:
    """Numbers of one trial at one epoch.

    Args:
        named: clean, robust, worst_family, drop, and details such as `clean/nll` and `kind/gaussian`.
        cells: Kind -> accuracy at each severity; `clean` and `weights` among them.
        correct: Which clean samples were classified rightly; see `metrics.packed`.
        hits: Family -> how many of its cells each sample was classified rightly in, where that was asked for; see
            `metrics.counts_packed`.
    """

    named: dict[str, float]
    cells: dict[str, list[float]]
    correct: str
    hits: dict[str, str]


def make_yardstick(suite: Suite, split: Split, classes: int) -> Yardstick:
    """Draw a suite's corruptions of `split` and put its clean images before them."""
    return Yardstick(suite, clean_and_corrupted(suite, split.inputs), split.labels, classes)


def looped_logits(model: nn.Module) -> Logits:
    """Predictor that takes one trial after another."""

    def predict(parameters: Tensors, buffers: Tensors, images: Tensor) -> Tensor:
        trials = len(next(iter(parameters.values())))
        return torch.stack(
            [
                torch.cat(
                    [
                        functional_call(model, (member_of(parameters, k), member_of(buffers, k)), (chunk,))
                        for chunk in torch.split(images, CHUNK)
                    ]
                )
                for k in range(trials)
            ]
        )

    return predict


def fused_logits(model: nn.Module) -> Logits:
    """Predictor that takes all trials at once, in chunks of samples."""

    def one(parameters: Tensors, buffers: Tensors, images: Tensor) -> Tensor:
        result: Tensor = functional_call(model, (dict(parameters), dict(buffers)), (images,))
        return result

    together = vmap(one, in_dims=(0, 0, None), randomness="same")

    def predict(parameters: Tensors, buffers: Tensors, images: Tensor) -> Tensor:
        chunks = [together(parameters, buffers, chunk) for chunk in torch.split(images, CHUNK)]
        return torch.cat(chunks, dim=1)

    return predict


@torch.no_grad()
def score(
    model: nn.Module,
    predict: Logits,
    parameters: Tensors,
    buffers: Tensors,
    yardstick: Yardstick,
    *,
    hits: bool = False,
) -> list[Scores]:
    """Score every trial of a cohort; the model is put in eval mode and back.

    Args:
        model: Skeleton of the model, the one `predict` was made from.
        predict: From `looped_logits` or `fused_logits`.
        parameters, buffers: Each (trials, ...).
        yardstick: What they are scored on.
        hits: Whether to count for each sample in how many cells it was right.
    """
    was_training = model.training
    model.eval()
    flat = predict(parameters, buffers, yardstick.images.flatten(0, 1))
    model.train(was_training)
    sets = (len(yardstick.images), len(yardstick.labels))
    # One trial at a time: reductions over stacked trials could differ by slot in the last bits.
    return [_scores_of(logits.unflatten(0, sets), yardstick, hits=hits) for logits in flat]


@torch.no_grad()
def weight_robustness(
    model: nn.Module, parameters: Tensors, buffers: Tensors, yardstick: Yardstick
) -> list[list[float]]:
    """Clean accuracy of each trial under relative weight noise, one number for each strength of the suite.

    The mean over the suite's common random draws; every trial sees the same ones. Behind them one number for each
    number of bits that the suite rounds weights to.
    """
    was_training = model.training
    model.eval()
    trials = len(next(iter(parameters.values())))
    rows = [
        _perturbed_accuracies(model, member_of(parameters, k), member_of(buffers, k), yardstick) for k in range(trials)
    ]
    model.train(was_training)
    return rows


def _perturbed_accuracies(model: nn.Module, parameters: Tensors, buffers: Tensors, yardstick: Yardstick) -> list[float]:
    suite = yardstick.suite
    noisy = [
        sum(
            _accuracy_with(model, perturbed(parameters, strength, _weight_rng(suite, draw)), buffers, yardstick)
            for draw in range(suite.weight_draws)
        )
        / suite.weight_draws
        for strength in suite.weight_strengths
    ]
    return noisy + [_accuracy_with(model, rounded(parameters, n), buffers, yardstick) for n in suite.weight_bits]


def _weight_rng(suite: Suite, draw: int) -> torch.Generator:
    return generator(suite.seed, "suite", "weights", draw)


def _accuracy_with(model: nn.Module, parameters: Tensors, buffers: Tensors, yardstick: Yardstick) -> float:
    logits = functional_call(model, (dict(parameters), dict(buffers)), (yardstick.images[0],))
    return float(metrics.accuracy(logits, yardstick.labels))


def _scores_of(logits: Tensor, yardstick: Yardstick, *, hits: bool) -> Scores:
    labels, suite = yardstick.labels, yardstick.suite
    accuracies = metrics.accuracy(logits, labels).tolist()
    cells = _cells(accuracies, suite)
    named = metrics.scores(accuracies[0], cells, families(suite), yardstick.classes)
    named |= {
        f"kind/{kind}": metrics.robust({kind: row}, {kind: (kind,)}, yardstick.classes)[kind]
        for kind, row in cells.items()
    }
    details = {
        "accuracy": metrics.accuracy(logits, labels),
        "nll": metrics.negative_log_likelihood(logits, labels),
        "brier": metrics.brier(logits, labels),
        "ece": metrics.expected_calibration_error(logits, labels),
        "entropy": metrics.entropy(logits),
    }
    weights = _set_weights(suite, logits.device)
    for name, values in details.items():
        named[f"clean/{name}"] = float(values[0])
        named[f"corrupted/{name}"] = float((values[1:] * weights).sum())
    right = logits.argmax(dim=-1) == labels
    counted = _hits(right[1:], suite) if hits else {}
    return Scores(named, {"clean": [accuracies[0]], **cells}, metrics.packed(right[0]), counted)


def _hits(right: Tensor, suite: Suite) -> dict[str, str]:
    """Cells of each family in which a sample was classified rightly: right (kinds * severities, samples)."""
    of_set = [kind.family for kind in suite.kinds for _ in kind.strengths]
    rows = {family: [k for k, own in enumerate(of_set) if own == family] for family in families(suite)}
    return {family: metrics.counts_packed(right[own].sum(dim=0)) for family, own in rows.items()}


def _cells(accuracies: list[float], suite: Suite) -> dict[str, list[float]]:
    cells, start = {}, 1
    for kind in suite.kinds:
        cells[kind.name] = accuracies[start : start + len(kind.strengths)]
        start += len(kind.strengths)
    return cells


def _set_weights(suite: Suite, device: torch.device) -> Tensor:
    """Weight of each corrupted set in the mean over families of kinds of severities; they sum to 1."""
    groups = families(suite)
    shares = [
        1.0 / (len(groups) * len(groups[kind.family]) * len(kind.strengths))
        for kind in suite.kinds
        for _ in kind.strengths
    ]
    return torch.tensor(shares, dtype=torch.float64, device=device)


def member_of(stacked: Tensors, slot: int) -> dict[str, Tensor]:
    """Tensors of one trial."""
    return {name: tensor[slot] for name, tensor in stacked.items()}
