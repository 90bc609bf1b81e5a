"""Noises that mix samples of a batch with each other; the targets follow with the same partner and weight."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from noise_search.noises.boxes import Boxes, box_sides
from noise_search.noises.registry import ANY_DATA, IMAGES_ONLY, Mixing, MixingNoise, Noise, per_sample
from noise_search.seeds import Draws


def mixup(inputs: Tensor, magnitudes: Tensor, draws: Draws) -> tuple[Tensor, Mixing]:
    """lam x + (1 - lam) x_partner with lam = max(q, 1 - q), q ~ Beta(m, m) for each sample.

    Args:
        inputs: (trials, batch, ...), raw units.
        magnitudes: Alpha m of the Beta distribution, (trials, batch); 0 leaves the sample alone.
        draws: Base draws of this noise at this step.

    Returns:
        Mixed inputs, and the mixing for the targets.

    Source: Zhang et al. 2018, arXiv:1710.09412, with one lam a sample.
    """
    mixing = Mixing(_own_weight(magnitudes, draws), _partner(draws))
    return mix(inputs, mixing), mixing


def cutmix(inputs: Tensor, magnitudes: Tensor, draws: Draws) -> tuple[Tensor, Mixing]:
    """A box of area share 1 - lam comes from the partner, lam = max(q, 1 - q), q ~ Beta(m, m) for each sample.

    Its middle is any pixel, evenly; what sticks out of the image is cut off, and targets are mixed by what is left.

    Args:
        inputs: (trials, batch, channels, height, width), raw units.
        magnitudes: Alpha m of the Beta distribution, (trials, batch); 0 leaves the sample alone.
        draws: Base draws of this noise at this step.

    Returns:
        Inputs, and the mixing for the targets by the real areas.

    Source: Yun et al. 2019, arXiv:1905.04899, with one lam and box a sample.
    """
    height, width = inputs.shape[-2:]
    rows, columns = box_sides(1 - _own_weight(magnitudes, draws), height, width)
    top, bottom = _clipped(rows, draws.sample_uniform("row"), height)
    left, right = _clipped(columns, draws.sample_uniform("column"), width)
    boxes = Boxes(top, bottom, left, right)
    mixing = Mixing(1 - boxes.area() / (height * width), _partner(draws))
    return torch.where(boxes.inside(height, width), _partners(inputs, mixing), inputs), mixing


def mix(values: Tensor, mixing: Mixing) -> Tensor:
    """Mix `values` (trials, batch, ...) as `mixing` says; a weight of 1 is the bitwise identity."""
    own = per_sample(mixing.own, values)
    return torch.where(own == 1, values, own * values + (1 - own) * _partners(values, mixing))


def _partners(values: Tensor, mixing: Mixing) -> Tensor:
    """Each sample's partner, (trials, batch, ...)."""
    if len(mixing.partner) == 1:
        return values[:, mixing.partner[0]]
    return torch.stack([value[index] for value, index in zip(values, mixing.partner, strict=True)])


def _partner(draws: Draws) -> Tensor:
    """Permutation of the batch at hand, shape (trials or 1, size), from draws for the full batch."""
    return draws.sample_uniform("partner").argsort(dim=1, stable=True)


def _own_weight(magnitudes: Tensor, draws: Draws) -> Tensor:
    """lam for each sample, shape (trials, batch), from a fresh generator of the same key for each trial."""
    alphas = magnitudes.detach().cpu().double().numpy()
    weights = np.stack([_larger_share(alpha, rng) for alpha, rng in zip(alphas, draws.each_trial("lam"), strict=True)])
    return torch.as_tensor(weights).to(device=magnitudes.device, dtype=magnitudes.dtype)


def _larger_share(alpha: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    safe = np.where(alpha > 0, alpha, 1.0)  # Beta(0, 0) raises
    share = rng.beta(safe, safe)
    return np.where(alpha > 0, np.maximum(share, 1 - share), 1.0)


def _clipped(sides: Tensor, at: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """First pixel and the one after the last of boxes `sides` long around pixel `at` (in [0, 1)) of `length`."""
    first = (at * length).floor() - (sides / 2).floor()
    return first.clamp(min=0), (first + sides).clamp(max=length)


MIXING_NOISES: dict[str, Noise[MixingNoise]] = {
    "mixup": Noise(
        site="inputs",
        name="mixup",
        apply=mixup,
        unit="alpha of Beta(alpha, alpha)",
        search=(0.1, 2.0),
        log=False,
        limit=100.0,
        knobs=frozenset({"fraction"}),
        modalities=ANY_DATA,
        source="Zhang 2018, arXiv:1710.09412",
        summary="mixes each sample and its target with another of the batch",
    ),
    "cutmix": Noise(
        site="inputs",
        name="cutmix",
        apply=cutmix,
        unit="alpha of Beta(alpha, alpha)",
        search=(0.1, 2.0),
        log=False,
        limit=100.0,
        knobs=frozenset({"fraction"}),
        modalities=IMAGES_ONLY,
        source="Yun 2019, arXiv:1905.04899",
        summary="puts a box of another image of the batch into each, and mixes the targets by area",
    ),
}
