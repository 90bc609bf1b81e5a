"""Noises on the weights, drawn each step.

The gradient is taken at the noisy weights and applied to the clean ones. One-dimensional parameters (biases,
norms) and buffers are left alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from noise_search.noises.registry import ANY_DATA, BOTH_KNOBS, Noise, ParameterNoise, per_trial
from noise_search.seeds import Draws


def additive(parameters: Mapping[str, Tensor], magnitudes: Tensor, draws: Draws) -> dict[str, Tensor]:
    """w + m xi with xi ~ N(0, 1), the same m for every layer.

    Args:
        parameters: Each (trials, ...).
        magnitudes: Standard deviation m in the units of the weights, (trials,).
        draws: Base draws of this noise at this step.

    Source: Murray & Edwards 1994, doi:10.1109/72.317730.
    """

    def noisy(name: str, weight: Tensor) -> Tensor:
        sigma = per_trial(magnitudes, weight)
        return torch.where(sigma == 0, weight, weight + sigma * draws.normal(name, weight.shape[1:]))

    return _each_weight(parameters, noisy)


def relative(parameters: Mapping[str, Tensor], magnitudes: Tensor, draws: Draws) -> dict[str, Tensor]:
    """w + m rms(w_layer) xi with xi ~ N(0, 1); no gradient flows through the rms.

    Args:
        parameters: Each (trials, ...).
        magnitudes: Standard deviation m as a share of the layer's rms, (trials,).
        draws: Base draws of this noise at this step.

    Source: own, after Wu et al. 2020, arXiv:2004.05884 (perturbation relative to the layer's norm).
    """
    return _each_weight(
        parameters, lambda name, weight: plus_relative(weight, magnitudes, draws.normal(name, weight.shape[1:]))
    )


def dropconnect(parameters: Mapping[str, Tensor], magnitudes: Tensor, draws: Draws) -> dict[str, Tensor]:
    """w b / (1 - m) with b = 0 with probability m and else 1, so that the mean is w.

    A larger m drops the same weights and more. The gradient is that of the weights as they were used, so a
    weight that was dropped learns too.

    Args:
        parameters: Each (trials, ...).
        magnitudes: Probability m that a weight is dropped, (trials,), under 1.
        draws: Base draws of this noise at this step.

    Source: Wan et al. 2013, PMLR 28(3):1058-1066, with inverted scaling.
    """

    def noisy(name: str, weight: Tensor) -> Tensor:
        share = per_trial(magnitudes, weight)
        kept = draws.uniform(name, weight.shape[1:]) >= share
        return torch.where(share == 0, weight, torch.where(kept, weight / (1 - share), 0.0))

    return _each_weight(parameters, noisy)


def plus_relative(values: Tensor, magnitudes: Tensor, xi: Tensor) -> Tensor:
    """Add m rms(layer) xi to `values` (trials, ...), each trial measured by itself; the same bits where m is 0."""
    # A row of `vector_norm` does not depend on how many there are, nor on the threads; a mean does.
    rows = values.detach().reshape(len(values), -1)
    rms = torch.linalg.vector_norm(rows, dim=1) / math.sqrt(rows.shape[1])
    sigma = per_trial(magnitudes, values)
    return torch.where(sigma == 0, values, values + sigma * per_trial(rms, values) * xi)


def _each_weight(parameters: Mapping[str, Tensor], noisy: Callable[[str, Tensor], Tensor]) -> dict[str, Tensor]:
    """Parameters with `noisy` applied to those that have two dimensions or more without the trial axis."""
    return {name: noisy(name, value) if value.dim() > 2 else value for name, value in parameters.items()}


WEIGHT_NOISES: dict[str, Noise[ParameterNoise]] = {
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
    "additive": Noise(
        site="weights",
        name="additive",
        apply=additive,
        unit="standard deviation, units of the weights",
        search=(0.001, 0.1),
        log=True,
        limit=10.0,
        knobs=BOTH_KNOBS,
        modalities=ANY_DATA,
        source="Murray & Edwards 1994, doi:10.1109/72.317730",
        summary="adds the same normal noise to the weights of every layer",
    ),
    "dropconnect": Noise(
        site="weights",
        name="dropconnect",
        apply=dropconnect,
        unit="probability that a weight is dropped",
        search=(0.01, 0.3),
        log=False,
        limit=0.9,
        knobs=frozenset({"level"}),
        modalities=ANY_DATA,
        source="Wan 2013, PMLR 28(3):1058-1066",
        summary="sets weights to 0 at random and scales up the others",
    ),
}
