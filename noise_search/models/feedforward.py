"""Models without recurrence or attention: a perceptron and a small CNN."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Len
from torch import nn

from noise_search.models.parts import InputStatistics, Norm, Width, image_norm


@dataclass(frozen=True, slots=True)
class MlpParameters:
    """Hidden layer widths of an MLP."""

    hidden: Annotated[tuple[Width, ...], Len(1, 8)] = (128, 128)


@dataclass(frozen=True, slots=True)
class CnnParameters:
    """Channels of the convolutions, width of the hidden layer and norm of a CNN."""

    channels: Annotated[tuple[Width, ...], Len(1, 6)] = (16, 32)
    hidden: Width = 64
    norm: Norm = "group"


def mlp(statistics: InputStatistics, parameters: MlpParameters) -> nn.Module:
    """Multi-layer perceptron with ReLU on flattened inputs of any shape."""
    features = math.prod(statistics.shape)
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
            image_norm(parameters.norm, width),
            nn.ReLU(),
        ]
        channels, size = width, [(side + 1) // 2 for side in size]
    features = channels * size[0] * size[1]
    layers += [nn.Flatten(), nn.Linear(features, parameters.hidden), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(parameters.hidden, statistics.classes))
