"""Statistics of batch norm estimated anew on clean data.

A model that has trained under noise goes into a test with the running statistics of noisy batches. How it does with
those of clean ones tells what noise has done to its weights from what it has done to its statistics.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from noise_search.evaluation import member_of

REESTIMATED = ("clean", "robust")  # scores that are given with these statistics as well
Tensors = Mapping[str, Tensor]


def score_reestimated(name: str) -> str:
    """Name of a score with statistics estimated anew.

    >>> score_reestimated("clean")
    'clean_reestimated'
    """
    return f"{name}_reestimated"


def has_batch_norm(model: nn.Module) -> bool:
    """Whether any layer of a model keeps statistics of batches."""
    return any(True for _ in _layers(model))


@torch.no_grad()
def reestimated(
    model: nn.Module, parameters: Tensors, buffers: Tensors, inputs: Tensor, *, batch_size: int
) -> dict[str, Tensor]:
    """Buffers of every trial with the statistics of batch norm as means over batches of inputs.

    Args:
        model: Skeleton of the model; it is left as it was.
        parameters, buffers: Each (trials, ...); they are left as they were.
        inputs: Clean training inputs, (samples, ...).
        batch_size: Of the batches; a last one of a single sample is left out.
    """
    batches = [batch for batch in torch.split(inputs, batch_size) if len(batch) > 1]
    trials = len(next(iter(parameters.values())))
    with _counting(model):
        rows = [_of_trial(model, member_of(parameters, k), member_of(buffers, k), batches) for k in range(trials)]
    return {name: torch.stack([row[name] for row in rows]) for name in buffers}


def _of_trial(model: nn.Module, parameters: Tensors, buffers: Tensors, batches: list[Tensor]) -> dict[str, Tensor]:
    found = {name: tensor.clone() for name, tensor in buffers.items()}
    for name, tensor in found.items():
        if name.endswith(("running_mean", "num_batches_tracked")):
            tensor.zero_()
    for batch in batches:
        functional_call(model, (dict(parameters), found), (batch,))
    return found


@contextmanager
def _counting(model: nn.Module) -> Iterator[None]:
    """Batch norm alone is in training, and takes the plain mean over batches."""
    layers, was_training = list(_layers(model)), model.training
    momenta = [layer.momentum for layer in layers]
    model.eval()
    for layer in layers:
        layer.train()
        layer.momentum = None
    try:
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        model.train(was_training)


def _layers(model: nn.Module) -> Iterator[_BatchNorm]:
    return (layer for layer in model.modules() if isinstance(layer, _BatchNorm) and layer.track_running_stats)
