"""Which layer of a model is at work, so that an error can name it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


def layer_names(model: nn.Module) -> dict[nn.Module, str]:
    """Every submodule as messages name it.

    >>> list(layer_names(nn.Sequential(nn.ReLU())).values())
    ["'' (Sequential)", "'0' (ReLU)"]
    """
    return {module: f"{name!r} ({type(module).__name__})" for name, module in model.named_modules()}


@contextmanager
def entered_layers(model: nn.Module) -> Iterator[list[str]]:
    """List of the layers whose forward pass was entered and not left, outermost first.

    When a forward pass fails, its last entry is the innermost layer that failed.
    """
    entered: list[str] = []

    def watch(module: nn.Module, name: str) -> list[object]:
        def enter(_module: nn.Module, _inputs: object) -> None:
            entered.append(name)

        def leave(_module: nn.Module, _inputs: object, _outputs: object) -> None:
            while entered.pop() != name:  # layers within that failed, and whose error this one dealt with
                pass

        return [module.register_forward_pre_hook(enter, prepend=True), module.register_forward_hook(leave)]

    handles = [handle for module, name in layer_names(model).items() for handle in watch(module, name)]
    try:
        yield entered
    finally:
        for handle in handles:
            handle.remove()  # type: ignore[attr-defined]  # RemovableHandle, which torch does not export
