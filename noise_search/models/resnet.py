"""A small residual network for images, of basic blocks."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

from annotated_types import Interval, Len
from torch import Tensor, nn
from torch.nn.functional import relu

from noise_search.models.parts import InputStatistics, Norm, Width, image_norm


@dataclass(frozen=True, slots=True)
class ResnetParameters:
    """Channels of each stage, basic blocks in every stage, and norm of a residual network."""

    channels: Annotated[tuple[Width, ...], Len(1, 4)] = (16, 32)
    blocks: Annotated[int, Interval(ge=1, le=8)] = 1
    norm: Norm = "group"


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut, added before the last ReLU.

    The shortcut is the identity, or a 1x1 convolution with a norm where size or channels change.

    Source: He et al. 2016, arXiv:1512.03385.
    """

    def __init__(self, channels: int, width: int, *, stride: int, norm: Norm) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
        self.first_norm = image_norm(norm, width)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.second_norm = image_norm(norm, width)
        self.shortcut = nn.Sequential()
        if stride != 1 or channels != width:
            self.shortcut.append(nn.Conv2d(channels, width, 1, stride=stride, bias=False))
            self.shortcut.append(image_norm(norm, width))

    def forward(self, images: Tensor) -> Tensor:
        """(samples, channels, height, width) to as many samples of `width` channels, sides divided by `stride`."""
        inner = relu(self.first_norm(self.first(images)))
        return relu(self.second_norm(self.second(inner)) + self.shortcut(images))


class SpatialMean(nn.Module):
    """Mean over height and width: (samples, channels, height, width) to (samples, channels)."""

    def forward(self, images: Tensor) -> Tensor:
        """Means."""
        return images.mean((-2, -1))


def resnet(statistics: InputStatistics, parameters: ResnetParameters) -> nn.Module:
    """Strided stem, stages of basic blocks that halve the sides but for the first, mean over the image, head."""
    widths = parameters.channels
    stem = [
        nn.Conv2d(statistics.shape[0], widths[0], 3, stride=2, padding=1, bias=False),
        image_norm(parameters.norm, widths[0]),
        nn.ReLU(),
    ]
    blocks: list[nn.Module] = []
    for stage, (before, width) in enumerate(pairwise((widths[0], *widths))):
        for block in range(parameters.blocks):
            stride = 2 if stage > 0 and block == 0 else 1
            blocks.append(BasicBlock(before if block == 0 else width, width, stride=stride, norm=parameters.norm))
    return nn.Sequential(*stem, *blocks, SpatialMean(), nn.Linear(widths[-1], statistics.classes))
