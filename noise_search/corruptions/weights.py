"""Perturbation and rounding of trained weights at test time: robustness of the function to its own parameters."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def perturbed(parameters: Mapping[str, Tensor], strength: float, generator: torch.Generator) -> dict[str, Tensor]:
    """Weights at w + s rms(w_layer) xi with xi ~ N(0, 1); strength 0 is the identity.

    Layers draw in order of their names, so the order of the mapping does not matter. Parameters of one
    dimension or none (biases, norms) are left alone and draw nothing.

    Args:
        parameters: Parameters of ONE model by name, without a trial axis.
        strength: Standard deviation s as a share of the layer's root mean square.
        generator: Models perturbed with generators of the same state share every draw.

    Source: own, after Wu et al. 2020, arXiv:2004.05884 (perturbation relative to the layer's norm).

    >>> model = {"bias": torch.zeros(2), "weight": torch.ones(2, 2)}
    >>> moved = perturbed(model, 0.05, torch.Generator().manual_seed(0))
    >>> bool((moved["weight"] != 1).all()), moved["bias"].tolist()
    (True, [0.0, 0.0])
    """
    layers = sorted(name for name, parameter in parameters.items() if parameter.dim() > 1)
    moved = {name: _relative(parameters[name], strength, generator) for name in layers}
    return {name: moved.get(name, parameter) for name, parameter in parameters.items()}


def rounded(parameters: Mapping[str, Tensor], bits: int) -> dict[str, Tensor]:
    """Weights as `bits`-bit integers hold them: the nearest of the steps max|w_layer| / (2^(bits - 1) - 1).

    Symmetric about 0, one step for each layer. Parameters of one dimension or none (biases, norms) stay as they are.

    Args:
        parameters: Parameters of ONE model by name, without a trial axis.
        bits: 8 for int8, 4 for int4; at least 2.

    Source: Jacob et al. 2018, arXiv:1712.05877, the symmetric form, without quantised activations.

    >>> rounded({"weight": torch.tensor([[-1.0, 0.1, 0.6]])}, bits=2)
    {'weight': tensor([[-1.,  0.,  1.]])}
    """
    return {name: _to_steps(weight, bits) if weight.dim() > 1 else weight for name, weight in parameters.items()}


def _to_steps(weight: Tensor, bits: int) -> Tensor:
    wide = weight.to(torch.promote_types(weight.dtype, torch.float32))
    step = wide.abs().max() / (2 ** (bits - 1) - 1)
    safe = torch.where(step > 0, step, 1.0)  # a layer of zeros
    return ((wide / safe).round() * safe).to(weight.dtype)


def _relative(weight: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    # Drawn in float32 where the generator lives: the same numbers for every dtype and device of the weights.
    xi = torch.randn(weight.shape, generator=generator, device=generator.device)
    wide = weight.to(torch.promote_types(weight.dtype, torch.float32))
    rms = wide.square().mean().sqrt()
    return (wide + strength * rms * xi.to(wide)).to(weight.dtype)
