"""Optimisers that may run on stacked trials, and the learning rate at every step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from noise_search.errors import CallerError
from noise_search.spec import OptimizerSpec

# Elementwise ones only: Adafactor and LBFGS mix the trials of a stack, Muon and SparseAdam refuse it.
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adadelta": torch.optim.Adadelta,
    "adagrad": torch.optim.Adagrad,
    "adam": torch.optim.Adam,
    "adamax": torch.optim.Adamax,
    "adamw": torch.optim.AdamW,
    "asgd": torch.optim.ASGD,
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
    "rmsprop": torch.optim.RMSprop,
    "rprop": torch.optim.Rprop,
    "sgd": torch.optim.SGD,
}


def make_optimizer(spec: OptimizerSpec, parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
    """Optimiser over (stacked) parameters.

    Raises:
        CallerError: When the torch class does not take the options, or refuses their values.
    """
    options = dict(spec.options)
    # Also where it is 0: AdamW has 0.01 of its own. Rprop has no such option at all.
    decay = {} if spec.name == "rprop" and not spec.weight_decay else {"weight_decay": spec.weight_decay}
    try:
        return OPTIMIZERS[spec.name](list(parameters), lr=spec.lr, **decay, **options)
    except (TypeError, ValueError, LookupError, RuntimeError) as error:
        raise CallerError(f"optimizer: {spec.name} does not take these options: {error}; got {options}") from error


def learning_rates(spec: OptimizerSpec, steps: int) -> list[float]:
    """Learning rate at each of `steps` training steps: linear warm-up, then constant or half a cosine down.

    Source: Loshchilov & Hutter 2017, arXiv:1608.03983; warm-up as in Goyal et al. 2017, arXiv:1706.02677.
    """
    warmup = round(spec.warmup_fraction * steps)
    return [spec.lr * _lr_factor(spec, step, steps, warmup) for step in range(steps)]


def _lr_factor(spec: OptimizerSpec, step: int, steps: int, warmup: int) -> float:
    if step < warmup:
        return (step + 1) / warmup
    if spec.lr_schedule == "constant":
        return 1.0
    done = (step - warmup) / max(steps - warmup, 1)
    return spec.final_fraction + (1 - spec.final_fraction) * 0.5 * (1 + math.cos(math.pi * done))
