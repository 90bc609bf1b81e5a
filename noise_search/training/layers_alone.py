"""Layers of a model tried alone, to find the one that stands in the way of fusing where no forward pass tells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from noise_search.models.layers import layer_names

Tensors = Mapping[str, Tensor]
Call = tuple[tuple[Any, ...], dict[str, Any]]
_TOLERANCE = 1e-2


def layers_that_cannot(model: nn.Module, parameters: Tensors, buffers: Tensors, inputs: Tensor) -> Iterator[str]:
    """Layers whose gradients `vmap` refuses or gets wrong, none of whose own layers does so; in forward order.

    Args:
        model: Skeleton in the mode to look at.
        parameters, buffers: Of two trials, (2, ...).
        inputs: (2, samples, ...), raw.
    """
    calls = _calls(model, _first(parameters), _first(buffers), inputs[0])
    wrong = {module for module, call in calls.items() if module is not model and not _can(module, call)}
    names = layer_names(model)
    for module in calls:
        if module in wrong and not any(inner in wrong for inner in module.modules() if inner is not module):
            yield names[module]


def _calls(model: nn.Module, parameters: Tensors, buffers: Tensors, inputs: Tensor) -> dict[nn.Module, Call]:
    """What each layer is called with the first time, in a plain forward pass."""
    calls: dict[nn.Module, Call] = {}

    def note(module: nn.Module, positional: tuple[Any, ...], named: dict[str, Any]) -> None:
        calls.setdefault(module, (tuple(map(_detached, positional)), dict(named)))

    handles = [module.register_forward_pre_hook(note, with_kwargs=True) for module in model.modules()]
    try:
        with torch.no_grad():
            functional_call(model, (dict(parameters), dict(buffers)), (inputs,))
    finally:
        for handle in handles:
            handle.remove()
    return calls


def _can(module: nn.Module, call: Call) -> bool:
    """Whether gradients of a layer by its parameters and inputs are the same fused and one at a time."""
    arguments, named = call
    moving = {str(place): value for place, value in enumerate(arguments) if _is_floating(value)}
    weights = {name: value.detach() for name, value in module.named_parameters()}
    buffers = {name: value.detach() for name, value in module.named_buffers()}
    if not moving and not weights:
        return True

    def size(values: dict[str, Tensor], inner: dict[str, Tensor], states: dict[str, Tensor]) -> Tensor:
        given = [inner.get(str(place), value) for place, value in enumerate(arguments)]
        outputs = functional_call(module, (values, states), tuple(given), named)
        return torch.stack([(value * value).sum() for value in _tensors(outputs)]).sum()

    slope = grad(size, argnums=(0, 1))
    stacked = [_stacked(weights, 0.9), _stacked(moving, 0.9), _stacked(buffers, 1.0)]
    return _agree(slope, stacked)


def _stacked(tensors: Tensors, scale: float) -> dict[str, Tensor]:
    """Two trials, the second one scaled."""
    return {name: torch.stack([value, scale * value if scale != 1.0 else value]) for name, value in tensors.items()}


def _agree(slope: Any, stacked: list[dict[str, Tensor]]) -> bool:
    alone = []
    try:
        for slot in range(2):
            torch.manual_seed(0)
            alone.append(slope(*({name: value[slot].clone() for name, value in part.items()} for part in stacked)))
    except Exception:  # not even alone, for reasons of its own: nothing to be learnt about fusing
        return True
    torch.manual_seed(0)
    try:
        fused = vmap(slope, randomness="same")(*stacked)
    except Exception:  # whatever vmap or the layer raises is what is looked for
        return False
    return all(
        torch.allclose(fused[part][name], torch.stack([one[part][name] for one in alone]), rtol=_TOLERANCE, atol=1e-5)
        for part in range(2)
        for name in fused[part]
    )


def _first(tensors: Tensors) -> dict[str, Tensor]:
    return {name: value[0].clone() for name, value in tensors.items()}


def _detached(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, Tensor) else value


def _is_floating(value: object) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _tensors(outputs: Any) -> Iterator[Tensor]:
    """Floating tensors in what a layer returns."""
    if isinstance(outputs, Tensor):
        yield from [outputs] if outputs.is_floating_point() else []
    elif isinstance(outputs, Mapping):
        for value in outputs.values():
            yield from _tensors(value)
    elif isinstance(outputs, tuple | list):
        for value in outputs:
            yield from _tensors(value)
