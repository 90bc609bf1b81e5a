"""Corruptions of images: what a picture may suffer at test time, at a real-valued strength.

Every function takes images of shape (samples, channels, height, width) with values in [0, 1], any floating
dtype and device, sides of 8 pixels or more, and returns the same shape, dtype and device, clipped to [0, 1].
Base draws come from the generator alone and are scaled by the strength, so on generators of one state the
severities of a kind differ by nothing but their strength. The arguments are trusted: they were checked with
the suite.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

BLUR_TRUNCATION = 4.0  # Gaussian kernels end at this many sigmas, as in scipy.ndimage
ELASTIC_SMOOTHNESS = 1 / 8  # sigma of the displacement field as a share of the shorter side


def gaussian(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """x + s xi with xi ~ N(0, 1) for each value; s is a standard deviation in raw units, 0 the identity.

    Source: Hendrycks & Dietterich 2019, arXiv:1903.12261.
    """
    pixels = _widened(images)
    return _finished(pixels + strength * _normal(pixels.shape, generator, pixels), images)


def speckle(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """x + s x xi with xi ~ N(0, 1) for each value; s is a share of the value itself, 0 the identity.

    Source: Hendrycks & Dietterich 2019, arXiv:1903.12261.
    """
    pixels = _widened(images)
    return _finished(pixels + strength * pixels * _normal(pixels.shape, generator, pixels), images)


def gaussian_blur(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Gaussian kernel of sigma s pixels along both axes, cut at 4 sigma; 0 is the identity.

    Beyond its edges the picture goes on as its mirror image, edge pixels repeated, as far as the kernel asks.

    Source: Hendrycks & Dietterich 2019, arXiv:1903.12261.
    """
    del generator  # nothing is drawn
    height, width = images.shape[-2:]
    return _finished(
        _along_axes(_widened(images), _blur_matrix(height, strength), _blur_matrix(width, strength)), images
    )


def contrast(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """(x - mean) (1 - s) + mean, with one mean for each image; s = 0 is the identity, 1 leaves only grey.

    Source: Hendrycks & Dietterich 2019, arXiv:1903.12261 (there one mean for each channel, and c = 1 - s).

    >>> dark_and_light = torch.tensor([[[[0.0, 1.0]]]])
    >>> contrast(dark_and_light, 0.5, torch.Generator())
    tensor([[[[0.2500, 0.7500]]]])
    """
    del generator  # nothing is drawn
    pixels = _widened(images)
    mean = pixels.mean(dim=(1, 2, 3), keepdim=True)
    return _finished(torch.lerp(pixels, mean.expand_as(pixels), strength), images)


def pixelate(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Averages over square blocks s pixels wide, laid from the upper left corner; s = 1 is the identity.

    Blocks need not fit the pixels: both ways go by exact overlap of areas, so the result is continuous in s.
    Blocks that reach over the lower or right edge average what lies inside.

    Source: Hendrycks & Dietterich 2019, arXiv:1903.12261 (there by box resizing to whole sizes).

    >>> ramp = torch.tensor([[[[0.0, 0.2, 0.4, 0.6]]]])
    >>> pixelate(ramp, 2.0, torch.Generator())
    tensor([[[[0.1000, 0.1000, 0.5000, 0.5000]]]])
    """
    del generator  # nothing is drawn
    height, width = images.shape[-2:]
    return _finished(
        _along_axes(_widened(images), _block_matrix(height, strength), _block_matrix(width, strength)), images
    )


def elastic(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Value at each pixel read off at pixel + s d, d the `displacement_field`; s in pixels, 0 the identity.

    Bilinear between pixels; a point beyond the edge reads the nearest edge pixel. All channels move together.

    Source: Simard et al. 2003 (ICDAR); Hendrycks & Dietterich 2019, arXiv:1903.12261, has an affine part too.
    """
    pixels = _widened(images)
    samples, _, height, width = pixels.shape
    shifts = strength * displacement_field(samples, height, width, generator).to(pixels)
    rows = torch.arange(height, dtype=pixels.dtype, device=pixels.device)[:, None] + shifts[:, 0]
    columns = torch.arange(width, dtype=pixels.dtype, device=pixels.device) + shifts[:, 1]
    return _finished(_bilinear(pixels, rows, columns), images)


def displacement_field(samples: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Smooth random displacements (down, right) of rms length 1, shape (samples, 2, height, width).

    Unit noise under a Gaussian of an eighth of the shorter side, each image divided by its own rms length.
    """
    noise = torch.randn((samples, 2, height, width), generator=generator, device=generator.device)
    sigma = ELASTIC_SMOOTHNESS * min(height, width)
    field = _along_axes(noise, _blur_matrix(height, sigma), _blur_matrix(width, sigma))
    rms = field.square().sum(dim=1, keepdim=True).mean(dim=(2, 3), keepdim=True).sqrt()
    return field / rms


def _widened(images: Tensor) -> Tensor:
    return images.to(torch.promote_types(images.dtype, torch.float32))


def _finished(pixels: Tensor, images: Tensor) -> Tensor:
    return pixels.clamp(0.0, 1.0).to(images.dtype)


def _normal(shape: Sequence[int], generator: torch.Generator, like: Tensor) -> Tensor:
    # Drawn in float32 where the generator lives: one field for every dtype and device of the images.
    return torch.randn(tuple(shape), generator=generator, device=generator.device).to(like)


def _along_axes(pixels: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    return rows.to(pixels) @ (pixels @ columns.to(pixels).mT)


def _blur_matrix(size: int, sigma: float) -> Tensor:
    """Gaussian blur of a line of `size` pixels with mirrored ends, as a matrix; float64."""
    if sigma == 0:
        return torch.eye(size, dtype=torch.float64)
    radius = int(BLUR_TRUNCATION * sigma + 0.5)
    offsets = torch.arange(-radius, radius + 1)
    kernel = torch.exp(-0.5 * (offsets.double() / sigma).square())
    unfolded = (torch.arange(size)[:, None] + offsets) % (2 * size)
    sources = torch.minimum(unfolded, 2 * size - 1 - unfolded)
    weights = (kernel / kernel.sum()).expand(size, -1)
    return torch.zeros(size, size, dtype=torch.float64).scatter_add_(1, sources, weights)


def _block_matrix(size: int, width: float) -> Tensor:
    """Average over blocks of `width` pixels and back, on a line of `size` pixels, as a matrix; float64."""
    starts = torch.arange(math.ceil(size / width), dtype=torch.float64) * width
    starts = starts[starts < size]  # rounding can leave an empty block at the end
    stops = (starts + width).clamp(max=size)
    pixels = torch.arange(size, dtype=torch.float64)[:, None]
    overlap = (torch.minimum(pixels + 1, stops) - torch.maximum(pixels, starts)).clamp(min=0)
    return (overlap / (stops - starts)) @ overlap.T


def _bilinear(pixels: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Pixels read at real-valued `rows` and `columns`, each (samples, height, width)."""
    height, width = pixels.shape[-2:]
    rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    top, left = rows.floor(), columns.floor()
    bottom, right = (top + 1).clamp(max=height - 1), (left + 1).clamp(max=width - 1)
    across, down = (columns - left).unsqueeze(1), (rows - top).unsqueeze(1)
    upper = torch.lerp(_read(pixels, top, left), _read(pixels, top, right), across.expand_as(pixels))
    lower = torch.lerp(_read(pixels, bottom, left), _read(pixels, bottom, right), across.expand_as(pixels))
    return torch.lerp(upper, lower, down.expand_as(pixels))


def _read(pixels: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Pixels at whole-numbered `rows` and `columns`, each (samples, height, width)."""
    index = (rows * pixels.shape[-1] + columns).long().flatten(1).unsqueeze(1)
    return pixels.flatten(2).gather(2, index.expand(-1, pixels.shape[1], -1)).view_as(pixels)
