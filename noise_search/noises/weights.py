"""Noises on the weights, drawn each step.

The gradient is taken at the noisy weights and applied to the clean ones. One-dimensional parameters (biases,
norms) and buffers are left alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from noise_search.noises.registry import ANY_DATA, BOTH_KNOBS, Noise, WeightNoise
from noise_search.seeds import Draws


def relative(parameters: Mapping[str, Tensor], magnitudes: Tensor, draws: Draws) -> dict[str, Tensor]:
    """w + m rms(w_layer) xi with xi ~ N(0, 1); no gradient flows through the rms.

    Args:
        parameters: Each (trials, ...).
        magnitudes: Standard deviation m as a share of the layer's rms, (trials,).
        draws: Base draws of this noise at this step.

    Source: own, after Wu et al. 2020, arXiv:2004.05884 (perturbation relative to the layer's norm).
    """
    return {
        name: _relative(weight, magnitudes, draws.normal(name, weight.shape[1:])) if weight.dim() > 2 else weight
        for name, weight in parameters.items()
    }


def _relative(weight: Tensor, magnitudes: Tensor, xi: Tensor) -> Tensor:
    shape = (-1,) + (1,) * (weight.dim() - 1)
    # A row of `vector_norm` does not depend on how many there are, nor on the threads; a mean does.
    rows = weight.detach().flatten(1)
    rms = (torch.linalg.vector_norm(rows, dim=1) / math.sqrt(rows.shape[1])).reshape(shape)
    sigma = magnitudes.reshape(shape)
    return torch.where(sigma == 0, weight, weight + sigma * rms * xi)


WEIGHT_NOISES: dict[str, Noise[WeightNoise]] = {
    "relative": Noise(
        site="weights",
        name="relative",
        apply=relative,
        unit="standard deviation as a share of the layer's rms",
        search=(0.005, 0.2),
        log=True,
        limit=2.0,
        knobs=BOTH_KNOBS,
        modalities=ANY_DATA,
        source="own, after Wu 2020, arXiv:2004.05884",
        summary="adds normal noise in proportion to the size of each layer's weights",
    ),
}
