"""Noises that mix samples of a batch with each other; the targets follow with the same partner and weight."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from noise_search.noises.registry import ANY_DATA, Mixing, MixingNoise, Noise, per_sample
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


def mix(values: Tensor, mixing: Mixing) -> Tensor:
    """Mix `values` (trials, batch, ...) as `mixing` says; a weight of 1 is the bitwise identity."""
    own = per_sample(mixing.own, values)
    partners = torch.stack(
        [value[index] for value, index in zip(values, mixing.partner.expand(len(values), -1), strict=True)]
    )
    return torch.where(own == 1, values, own * values + (1 - own) * partners)


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
}
