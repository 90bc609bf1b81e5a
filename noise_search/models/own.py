"""A model of the caller's: made by a function or class that local configuration names, and judged before use."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from noise_search.errors import CallerError, expected_one_of, raise_if_any
from noise_search.models.layers import entered_layers, layer_names
from noise_search.models.parts import InputStatistics
from noise_search.targets import local_modules, resolve, told

TARGET = "model._target_"
_STATISTICS = "statistics"
_FIXED = "make it a buffer (register_buffer) to keep it as it is"


def argument_mistakes(make: Callable[..., Any], arguments: Mapping[str, object]) -> list[str]:
    """What a call of `make` with keyword `arguments` would be refused for; nothing where it has no signature.

    >>> argument_mistakes(nn.Flatten, {"start": 1})
    ["model: expected one of ['end_dim', 'start_dim'], got 'start'; did you mean 'start_dim'?"]
    """
    if _STATISTICS in arguments:
        return [f"model.{_STATISTICS}: expected nothing, as the sweep gives the statistics of its data; leave it out"]
    try:
        parameters = inspect.signature(make).parameters.values()
    except (TypeError, ValueError):  # some callables written in C
        return []
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    named = {parameter.name: parameter for parameter in parameters if parameter.kind in kinds}
    anything = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters)
    allowed = [name for name in named if name != _STATISTICS]
    unknown = [key for key in arguments if key not in named and not anything]
    given = {*arguments, _STATISTICS}
    missing = [name for name, value in named.items() if value.default is value.empty and name not in given]
    return [expected_one_of("model", allowed, key) for key in unknown] + [
        f"model.{name}: expected a value, which {_named(make)} asks for, got none" for name in missing
    ]


def own_network(target: str, arguments: Mapping[str, Any], statistics: InputStatistics) -> nn.Module:
    """Module that the callable `target` makes of its arguments, and of `statistics` if it takes them.

    Raises:
        CallerError: When it cannot be imported or called, fails, or makes something that cannot be trained.
    """
    make = resolve(target, TARGET)
    raise_if_any(argument_mistakes(make, arguments))
    more = {_STATISTICS: statistics} if _takes_statistics(make) else {}
    try:
        with local_modules():
            network = make(**arguments, **more)
    except Exception as error:
        raise CallerError(f"{TARGET}: {target} failed with {told(error)}") from error
    if not isinstance(network, nn.Module):
        raise CallerError(f"{TARGET}: expected {target} to make a torch.nn.Module, got {_kind(network)}")
    raise_if_any(structure_mistakes(network))
    return network


def structure_mistakes(network: nn.Module) -> list[str]:
    """Why a module cannot be trained here, before any data is seen."""
    parameters = {f"network.{name}": value for name, value in network.named_parameters()}
    if lazy := _lazy_layers(network):
        return [f"model: expected layers of a known size, got lazy ones: {lazy}; `statistics.shape` tells the size"]
    if not parameters:
        return ["model: expected parameters to train, got a module without any"]
    frozen = [name for name, value in parameters.items() if not value.requires_grad]
    shared = _shared_buffers(network)
    return [
        *[
            f"model: expected every parameter to be trained, {name} has requires_grad=False; {_FIXED}"
            for name in frozen
        ],
        *[
            f"model: expected each buffer once, {one} and {other} are one tensor; give each a copy"
            for one, other in shared
        ],
    ]


def forward_mistakes(model: nn.Module, inputs: Tensor, classes: int) -> list[str]:
    """What is wrong with the logits and gradients of a model, tried on a few samples as a sweep would use it.

    Leaves parameters, buffers and torch's generators as they were.

    Args:
        model: Taking raw inputs.
        inputs: (samples, ...), three at least.
        classes: How many logits a sample has to get.
    """
    was_training = model.training
    try:
        found = (_mode_mistakes(model.train(training), inputs, classes) for training in (False, True))
        return next((mistakes for mistakes in found if mistakes), []) or _backward_mistakes(model, inputs[:2])
    finally:
        model.train(was_training)


def _mode_mistakes(model: nn.Module, inputs: Tensor, classes: int) -> list[str]:
    mode = "train" if model.training else "eval"
    try:
        with torch.no_grad(), entered_layers(model) as entered:
            first = _call(model, inputs[:2], seed=0)
            # Scoring seeds nothing: a model that draws random numbers in eval mode is found out by another seed.
            again = _call(model, inputs[:2], seed=0 if model.training else 1)
            more = _call(model, inputs[:3], seed=0)
    except Exception as error:
        return [f"model: the forward pass fails in layer {entered[-1]} in {mode} mode: {told(error)}"]
    for logits, samples in ((first, 2), (more, 3)):
        if mistake := _logits_mistake(logits, (samples, classes), inputs.dtype):
            return [f"{mistake} in {mode} mode"]
    if not torch.allclose(first, again, rtol=1e-5, atol=1e-7):
        return [
            f"model: expected the same logits for the same inputs, got others on a second call in {mode} mode; "
            "keep nothing between calls but buffers, and draw random numbers from torch alone, in train mode"
        ]
    return []


def _backward_mistakes(model: nn.Module, inputs: Tensor) -> list[str]:
    parameters = {name: value.detach().clone().requires_grad_() for name, value in model.named_parameters()}
    logits = _call(model, inputs, parameters, seed=0)
    if not logits.requires_grad:
        return ["model: expected logits that depend on the parameters, got some cut off from them (detach, no_grad)"]
    try:
        gradients = torch.autograd.grad(
            logits.log_softmax(-1)[:, 0].sum(), list(parameters.values()), materialize_grads=True
        )
    except Exception as error:
        return [f"model: the backward pass fails: {told(error)}"]
    wrong = [name for name, value in zip(parameters, gradients, strict=True) if not bool(value.isfinite().all())]
    return [f"model: expected finite gradients, got others for {', '.join(wrong)}"] if wrong else []


def _call(model: nn.Module, inputs: Tensor, parameters: Mapping[str, Tensor] | None = None, *, seed: int) -> Any:
    """Outputs of a call that always starts from the same buffers, and from random numbers of `seed`."""
    values = {name: value.clone() for name, value in model.named_buffers()} | dict(parameters or {})
    devices = [inputs.device] if inputs.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        return functional_call(model, values, (inputs,))


def _logits_mistake(logits: object, shape: tuple[int, int], dtype: torch.dtype) -> str | None:
    expected = f"model: expected logits of shape {shape} and {dtype}"
    if not isinstance(logits, Tensor):
        return f"{expected}, got {_kind(logits)}"
    if logits.shape != shape or logits.dtype != dtype:
        return f"{expected}, got {tuple(logits.shape)} and {logits.dtype}"
    if not bool(logits.isfinite().all()):
        return f"model: expected finite logits, got {logits[~logits.isfinite()][0].item()} among them"
    return None


def _takes_statistics(make: Callable[..., Any]) -> bool:
    try:
        parameter = inspect.signature(make).parameters.get(_STATISTICS)
    except (TypeError, ValueError):
        return False
    return parameter is not None and parameter.kind is not inspect.Parameter.POSITIONAL_ONLY


def _lazy_layers(network: nn.Module) -> str:
    lazy = (UninitializedParameter, UninitializedBuffer)
    names = layer_names(nn.ModuleDict({"network": network}))
    tensors = {
        name: [*module.parameters(recurse=False), *module.buffers(recurse=False)] for module, name in names.items()
    }
    return ", ".join(name for name, own in tensors.items() if any(isinstance(tensor, lazy) for tensor in own))


def _shared_buffers(network: nn.Module) -> list[tuple[str, str]]:
    """Pairs of names of one buffer: moved to a device, torch would take them apart."""
    first: dict[int, str] = {}
    pairs = []
    for name, value in network.named_buffers(prefix="network", remove_duplicate=False):
        if id(value) in first:
            pairs.append((first[id(value)], name))
        first.setdefault(id(value), name)
    return pairs


def _named(make: Callable[..., Any]) -> str:
    return str(getattr(make, "__name__", make))


def _kind(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
