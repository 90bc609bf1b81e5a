"""Noises that change each input by itself; inputs are raw, before normalisation, and clipped later."""

from __future__ import annotations

import torch
from torch import Tensor

from noise_search.noises.registry import ANY_DATA, BOTH_KNOBS, InputNoise, Noise, per_sample
from noise_search.seeds import Draws


def gaussian(inputs: Tensor, magnitudes: Tensor, draws: Draws) -> Tensor:
    """x + m xi with xi ~ N(0, 1).

    Args:
        inputs: (trials, batch, ...), raw units.
        magnitudes: Standard deviation m in raw units, (trials, batch).
        draws: Base draws of this noise at this step.

    Source: Rusak et al. 2020, arXiv:2001.06057; Hendrycks & Dietterich 2019, arXiv:1903.12261.
    """
    sigma = per_sample(magnitudes, inputs)
    noisy = inputs + sigma * draws.sample_normal("xi", inputs.shape[2:])
    return torch.where(sigma == 0, inputs, noisy)


INPUT_NOISES: dict[str, Noise[InputNoise]] = {
    "gaussian": Noise(
        site="inputs",
        name="gaussian",
        apply=gaussian,
        unit="standard deviation, raw units",
        search=(0.02, 0.6),
        log=True,
        limit=10.0,
        knobs=BOTH_KNOBS,
        modalities=ANY_DATA,
        source="Rusak 2020, arXiv:2001.06057",
        summary="adds independent normal noise to every input value",
    ),
}
