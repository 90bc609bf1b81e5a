"""Pictures, generators and strengths for the tests of corruptions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from noise_search.corruptions import CORRUPTIONS, Corruption
from noise_search.seeds import generator

KINDS = pytest.mark.parametrize("kind", CORRUPTIONS.values(), ids=CORRUPTIONS)
SHAPES = ((3, 1, 8, 8), (2, 3, 9, 14), (2, 1, 28, 28))
SIZES = pytest.mark.parametrize("shape", SHAPES, ids=str)
# Every kind with pictures that have the channels it asks for.
KINDS_AND_SIZES = pytest.mark.parametrize(
    ("kind", "shape"),
    [
        pytest.param(kind, shape, id=f"{name}-{shape}")
        for name, kind in CORRUPTIONS.items()
        for shape in SHAPES
        if kind.channels in (None, shape[1])
    ],
)
WITHOUT_CHANCE = ("gaussian_blur", "contrast", "pixelate", "defocus", "brightness", "saturate", "scale")
DRAWN = tuple(name for name in CORRUPTIONS if name not in WITHOUT_CHANCE)


def rng(key: str = "a") -> torch.Generator:
    return generator(0, "test", key)


def pictures(*shape: int) -> Tensor:
    """Smooth blobs between 0.1 and 0.9, so that small changes are neither clipped nor invisible."""
    noise = torch.randn(shape, generator=rng("pictures"), dtype=torch.float64).numpy()
    smooth = ndimage.gaussian_filter(noise, sigma=(0, 0, 1, 1))
    return torch.from_numpy(0.1 + 0.8 * (smooth - smooth.min()) / np.ptp(smooth))


def ramps(*shape: int) -> Tensor:
    """Brighter down and to the right, from 0.1 to 0.9: a picture gives away from where each pixel was read."""
    height, width = shape[-2:]
    down, across = (torch.linspace(0, 1, size, dtype=torch.float64) for size in (height, width))
    return (0.1 + 0.3 * down[:, None] + 0.5 * across).expand(shape).clone()


def a_strength(kind: Corruption, share: float) -> float:
    low, high = kind.search
    return low + share * (high - low)


def channels_of(kind: Corruption) -> int:
    return kind.channels or 1
