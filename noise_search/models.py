"""Shipped models: plain PyTorch modules that take raw inputs and normalise them inside.

Sizes are even on purpose: at odd layer widths a member of a cohort can differ in the last bits by its slot.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import torch
from annotated_types import Interval, Len
from torch import Tensor, nn

from noise_search.seeds import stable_hash

Width = Annotated[int, Interval(ge=2, le=4096)]


@dataclass(frozen=True, slots=True)
class InputStatistics:
    """What a model must know of its data: shape of one sample, classes, mean and SD of the training inputs."""

    shape: tuple[int, ...]
    classes: int
    mean: float
    std: float


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


@dataclass(frozen=True, slots=True)
class MlpParameters:
    """Hidden layer widths of an MLP."""

    hidden: Annotated[tuple[Width, ...], Len(1, 8)] = (128, 128)


@dataclass(frozen=True, slots=True)
class CnnParameters:
    """Channels of the convolutions, width of the hidden layer and norm of a CNN."""

    channels: Annotated[tuple[Width, ...], Len(1, 6)] = (16, 32)
    hidden: Width = 64
    norm: Literal["group", "batch"] = "group"


def mlp(statistics: InputStatistics, parameters: MlpParameters) -> nn.Module:
    """Multi-layer perceptron with ReLU on flattened inputs of any shape."""
    features = int(torch.tensor(statistics.shape).prod())
    layers: list[nn.Module] = [nn.Flatten()]
    for width in parameters.hidden:
        layers += [nn.Linear(features, width), nn.ReLU()]
        features = width
    return nn.Sequential(*layers, nn.Linear(features, statistics.classes))


def cnn(statistics: InputStatistics, parameters: CnnParameters) -> nn.Module:
    """Small CNN made for speed: strided 3x3 convolutions in place of pooling, which is slow under `vmap`."""
    channels, *size = statistics.shape
    layers: list[nn.Module] = []
    for width in parameters.channels:
        layers += [
            nn.Conv2d(channels, width, 3, stride=2, padding=1),
            _norm(parameters.norm, width),
            nn.ReLU(),
        ]
        channels, size = width, [(side + 1) // 2 for side in size]
    features = channels * size[0] * size[1]
    layers += [nn.Flatten(), nn.Linear(features, parameters.hidden), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(parameters.hidden, statistics.classes))


def _norm(kind: str, channels: int) -> nn.Module:
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    return nn.GroupNorm(4 if channels % 4 == 0 else 1, channels)


@dataclass(frozen=True, slots=True)
class Model:
    """Registry entry of a model: its parameters, how it is built, the data it suits."""

    parameters: type[Any]
    build: Callable[[InputStatistics, Any], nn.Module]
    dimensions: Sequence[int] | None = field(default=None)
    summary: str = ""


MODELS: dict[str, Model] = {
    "mlp": Model(MlpParameters, mlp, None, "multi-layer perceptron on flattened inputs"),
    "cnn": Model(CnnParameters, cnn, (3,), "small CNN with strided convolutions, group or batch norm"),
}


def build_model(name: str, parameters: Any, statistics: InputStatistics, *, seed: int) -> nn.Module:
    """Model on the CPU in float32, its initial weights a function of `seed` alone.

    The weights come from torch's global generator, the only one modules initialise from; its state is put back.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(stable_hash(seed, "init"))  # torch.manual_seed seeds accelerators too
        network = MODELS[name].build(statistics, parameters)
    parts = [("normalise", Normalise(statistics.mean, statistics.std)), ("network", network)]
    return nn.Sequential(OrderedDict(parts))
