"""What all models share: what they must know of the data, the entry of the registry, normalisation and norms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from annotated_types import Interval
from torch import Tensor, nn

Width = Annotated[int, Interval(ge=2, le=4096)]
Norm = Literal["group", "batch"]


@dataclass(frozen=True, slots=True)
class InputStatistics:
    """What a model must know of its data: shape of one sample, classes, mean and SD of the training inputs."""

    shape: tuple[int, ...]
    classes: int
    mean: float
    std: float


@dataclass(frozen=True, slots=True)
class Model:
    """Registry entry of a model: its parameters, how it is built, the data it suits.

    Args:
        parameters: Dataclass of plain numbers and words, with their ranges.
        build: Makes the module that stands behind `Normalise`.
        dimensions: Dimensions a sample may have; None for any.
        summary: In a few words.
        check: Mistakes in the parameters that no range of a single one can tell, each naming its key.
    """

    parameters: type[Any]
    build: Callable[[InputStatistics, Any], nn.Module]
    dimensions: Sequence[int] | None = None
    summary: str = ""
    check: Callable[[Any], list[str]] = lambda _: []


class Normalise(nn.Module):
    """(x - mean) / std with numbers fixed when the model is made."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: float, std: float) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))

    def forward(self, inputs: Tensor) -> Tensor:
        """Normalised inputs, same shape."""
        return (inputs - self.mean) / self.std


def image_norm(kind: Norm, channels: int) -> nn.Module:
    """Norm over images of `channels` channels; groups are four where that divides them, else one."""
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    return nn.GroupNorm(4 if channels % 4 == 0 else 1, channels)
