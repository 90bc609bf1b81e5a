"""Corruptions of images that may steer a search; those held out lie in modules of their families.

The contract of both: every function takes images of shape (samples, channels, height, width) with values in
[0, 1], any floating dtype and device, sides of 8 pixels or more, and returns the same shape, dtype and device,
clipped to [0, 1]. Base draws come from the generator alone and are scaled by the strength, so on generators of
one state the severities of a kind differ by nothing but their strength. The arguments are trusted: they were
checked with the suite.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from noise_search.corruptions.pixels import along_axes, blur_matrix, finished, normal, read_displaced, widened
from noise_search.corruptions.registry import Corruption

ELASTIC_SMOOTHNESS = 1 / 8  # sigma of the displacement field as a share of the shorter side


def gaussian(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """x + s xi with xi ~ N(0, 1) for each value; s is a standard deviation in raw units, 0 the identity.

    Source: Hendrycks & Dietterich 2019, arXiv:1903.12261.
    """
    pixels = widened(images)
    return finished(pixels + strength * normal(pixels.shape, generator, pixels), images)


def speckle(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """x + s x xi with xi ~ N(0, 1) for each value; s is a share of the value itself, 0 the identity.

    Source: Hendrycks & Dietterich 2019, arXiv:1903.12261.
    """
    pixels = widened(images)
    return finished(pixels + strength * pixels * normal(pixels.shape, generator, pixels), images)


def gaussian_blur(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Gaussian kernel of sigma s pixels along both axes, cut at 4 sigma; 0 is the identity.

    Beyond its edges the picture goes on as its mirror image, edge pixels repeated, as far as the kernel asks.

    Source: Hendrycks & Dietterich 2019, arXiv:1903.12261.
    """
    del generator  # nothing is drawn
    height, width = images.shape[-2:]
    return finished(along_axes(widened(images), blur_matrix(height, strength), blur_matrix(width, strength)), images)


def contrast(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """(x - mean) (1 - s) + mean, with one mean for each image; s = 0 is the identity, 1 leaves only grey.

    Source: Hendrycks & Dietterich 2019, arXiv:1903.12261 (there one mean for each channel, and c = 1 - s).

    >>> dark_and_light = torch.tensor([[[[0.0, 1.0]]]])
    >>> contrast(dark_and_light, 0.5, torch.Generator())
    tensor([[[[0.2500, 0.7500]]]])
    """
    del generator  # nothing is drawn
    pixels = widened(images)
    mean = pixels.mean(dim=(1, 2, 3), keepdim=True)
    return finished(torch.lerp(pixels, mean.expand_as(pixels), strength), images)


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
    return finished(
        along_axes(widened(images), _block_matrix(height, strength), _block_matrix(width, strength)), images
    )


def elastic(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Value at each pixel read off at pixel + s d, d the `displacement_field`; s in pixels, 0 the identity.

    Bilinear between pixels; a point beyond the edge reads the nearest edge pixel. All channels move together.

    Source: Simard et al. 2003 (ICDAR); Hendrycks & Dietterich 2019, arXiv:1903.12261, has an affine part too.
    """
    pixels = widened(images)
    samples, _, height, width = pixels.shape
    shifts = strength * displacement_field(samples, height, width, generator).to(pixels)
    return finished(read_displaced(pixels, shifts[:, 0], shifts[:, 1]), images)


def displacement_field(samples: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Smooth random displacements (down, right) of rms length 1, shape (samples, 2, height, width).

    Unit noise under a Gaussian of an eighth of the shorter side, each image divided by its own rms length.
    """
    noise = torch.randn((samples, 2, height, width), generator=generator, device=generator.device)
    sigma = ELASTIC_SMOOTHNESS * min(height, width)
    field = along_axes(noise, blur_matrix(height, sigma), blur_matrix(width, sigma))
    rms = field.square().sum(dim=1, keepdim=True).mean(dim=(2, 3), keepdim=True).sqrt()
    return field / rms


def _block_matrix(size: int, width: float) -> Tensor:
    """Average over blocks of `width` pixels and back, on a line of `size` pixels, as a matrix; float64."""
    starts = torch.arange(math.ceil(size / width), dtype=torch.float64) * width
    starts = starts[starts < size]  # rounding can leave an empty block at the end
    stops = (starts + width).clamp(max=size)
    pixels = torch.arange(size, dtype=torch.float64)[:, None]
    overlap = (torch.minimum(pixels + 1, stops) - torch.maximum(pixels, starts)).clamp(min=0)
    return (overlap / (stops - starts)) @ overlap.T


TUNED = (
    Corruption(
        name="gaussian",
        family="noise",
        modality="images",
        apply=gaussian,
        unit="standard deviation, raw units",
        literature=(0.08, 0.12, 0.18, 0.26, 0.38),
        search=(0.0, 2.0),
        source="Hendrycks 2019, arXiv:1903.12261 (ImageNet-C strengths)",
    ),
    Corruption(
        name="speckle",
        family="noise",
        modality="images",
        apply=speckle,
        unit="standard deviation as a share of the value",
        literature=(0.15, 0.2, 0.35, 0.45, 0.6),
        search=(0.0, 8.0),
        source="Hendrycks 2019, arXiv:1903.12261 (ImageNet-C strengths)",
    ),
    Corruption(
        name="gaussian_blur",
        family="blur",
        modality="images",
        apply=gaussian_blur,
        unit="sigma, pixels",
        literature=(0.4, 0.6, 0.7, 0.8, 1.0),
        search=(0.0, 16.0),
        source="Hendrycks 2019, arXiv:1903.12261 (CIFAR-10-C strengths)",
    ),
    Corruption(
        name="contrast",
        family="tone",
        modality="images",
        apply=contrast,
        unit="share of contrast removed",
        literature=(0.6, 0.7, 0.8, 0.9, 0.95),
        search=(0.0, 1.0),
        source="Hendrycks 2019, arXiv:1903.12261 (ImageNet-C strengths)",
    ),
    Corruption(
        name="pixelate",
        family="digital",
        modality="images",
        apply=pixelate,
        unit="block width, pixels",
        literature=(1.067, 1.143, 1.185, 1.333, 1.6),
        search=(1.0, 16.0),
        source="Hendrycks 2019, arXiv:1903.12261 (CIFAR-10-C strengths: 32 pixels on 30, 28, 27, 24, 20)",
    ),
    Corruption(
        name="elastic",
        family="shape",
        modality="images",
        apply=elastic,
        unit="root mean square displacement, pixels",
        literature=(0.25, 0.5, 0.75, 1.0, 1.5),
        search=(0.0, 16.0),
        source="Simard 2003; own strengths, to twice the displacements of CIFAR-10-C at severity 5",
    ),
)
