"""Weights and gradients of a plain module under the noises of a cohort of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from noise_search.errors import CallerError
from noise_search.noises import CohortTerm, noisy_gradients, noisy_weights

COMPILED = "_orig_mod"  # where torch.compile keeps the module that it was given
Act = Callable[..., dict[str, Tensor]]
Tables = Callable[[torch.dtype], Sequence[CohortTerm]]


def named_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters under the names that they have without torch.compile and DDP: draws go by these names."""
    while True:
        inner = getattr(model, COMPILED, None)
        if isinstance(model, DataParallel | DistributedDataParallel):
            inner = model.module
        if inner is None:
            return {name.replace(f"{COMPILED}.", ""): value for name, value in model.named_parameters()}
        model = inner


def shaken_weights(parameters: Mapping[str, Tensor], tables: Tables, *, step: int) -> dict[str, Tensor]:
    """Noisy values of those parameters that have noise at this step."""
    return _changed(noisy_weights, parameters, tables, step)


def shaken_gradients(gradients: Mapping[str, Tensor], tables: Tables, *, step: int) -> dict[str, Tensor]:
    """Noisy values of those gradients that have noise at this step.

    Raises:
        CallerError: For a sparse one.
    """
    for name, gradient in gradients.items():
        if gradient.layout != torch.strided:
            raise CallerError(f"gradients: {name}: expected a dense gradient, got {gradient.layout}; use sparse=False")
    return _changed(noisy_gradients, gradients, tables, step)


def wide(dtype: torch.dtype) -> torch.dtype:
    """Type in which noise is computed: at least float32, because half the bits lose small noise."""
    return dtype if dtype == torch.float64 else torch.float32


def _changed(act: Act, tensors: Mapping[str, Tensor], tables: Tables, step: int) -> dict[str, Tensor]:
    stacked = {name: value.detach().to(wide(value.dtype))[None] for name, value in tensors.items()}
    noisy = act(stacked, tables(next(iter(stacked.values())).dtype), step=step)
    return {name: noisy[name][0] for name, value in stacked.items() if noisy[name] is not value}
