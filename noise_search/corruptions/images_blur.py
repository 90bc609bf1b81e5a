"""Held-out corruptions of images: blur. For their contract see `images`."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from noise_search.corruptions.pixels import (
    finished,
    mirrored_filter,
    mirrored_frequencies,
    read_displaced,
    uniform,
    widened,
)
from noise_search.corruptions.registry import Corruption


def motion(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Gaussian of sigma s pixels along one direction, another for each image; 0 is the identity.

    All channels move together.

    Source: after Hendrycks & Dietterich 2019, arXiv:1903.12261 (there the Gaussian has one side only).
    """
    if strength == 0:  # there and back through the frequencies costs the last bits
        return images.clone()
    pixels = widened(images)
    angles = motion_angles(len(pixels), generator)
    return finished(blurred_along(pixels, angles.to(pixels), strength), images)


def blurred_along(pixels: Tensor, angles: Tensor, sigma: float) -> Tensor:
    """Gaussian of `sigma` pixels along one direction for each image, angles (samples,) as `motion_angles` has them.

    Applied in the frequency domain, exp(-2 pi^2 sigma^2 (f v)^2) for direction v, to the picture and its mirror
    images beyond the edges.
    """
    angles = angles[:, None, None, None]
    down, across = mirrored_frequencies(pixels)
    along = down * angles.sin() + across * angles.cos()
    return mirrored_filter(pixels, torch.exp(-2 * (math.pi * sigma * along).square()))


def motion_angles(samples: int, generator: torch.Generator) -> Tensor:
    """Direction of each image's motion in [0, pi): 0 is along the rows, pi / 2 down the columns."""
    return math.pi * torch.rand(samples, generator=generator, device=generator.device)


def glass(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Value at each pixel read off at pixel + s d, d uniform in [-1, 1]^2 for each pixel; s in pixels, 0 the identity.

    Bilinear between pixels; a point beyond the edge reads the nearest edge pixel. All channels move together.

    Source: after Hendrycks & Dietterich 2019, arXiv:1903.12261 (there pixels are swapped, between two blurs).
    """
    pixels = widened(images)
    samples, _, height, width = pixels.shape
    shifts = strength * (2 * uniform((samples, 2, height, width), generator, pixels) - 1)
    return finished(read_displaced(pixels, shifts[:, 0], shifts[:, 1]), images)


def defocus(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Mean over a disc of radius s pixels, whose edge falls to 0 along one pixel more; 0 is the identity.

    Beyond its edges the picture goes on as its mirror image, edge pixels repeated, as far as the disc asks.

    Source: Hendrycks & Dietterich 2019, arXiv:1903.12261 (there with a blurred edge).
    """
    del generator  # nothing is drawn
    if strength == 0:  # there and back through the frequencies costs the last bits
        return images.clone()
    pixels = widened(images)
    height, width = pixels.shape[-2:]
    kernel = _wrapped(disc(strength), 2 * height, 2 * width)
    transfer = torch.fft.rfft2(kernel).real  # a kernel that is even has a real one
    return finished(mirrored_filter(pixels, transfer.to(pixels)), images)


def disc(radius: float) -> Tensor:
    """Kernel of weights max(0, min(1, radius + 1 - distance)) over their sum, with an odd side; float64."""
    reach = math.ceil(radius) + 1
    offsets = torch.arange(-reach, reach + 1, dtype=torch.float64)
    weights = (radius + 1 - torch.hypot(offsets[:, None], offsets)).clamp(0, 1)
    return weights / weights.sum()


def _wrapped(kernel: Tensor, height: int, width: int) -> Tensor:
    """A kernel around the origin of a torus, as often around it as the kernel is larger."""
    offsets = torch.arange(len(kernel)) - len(kernel) // 2
    index = (offsets[:, None] % height) * width + offsets % width
    flat = torch.zeros(height * width, dtype=kernel.dtype)
    return flat.scatter_add_(0, index.flatten(), kernel.flatten()).view(height, width)


BLURS = (
    Corruption(
        name="motion",
        family="blur",
        modality="images",
        apply=motion,
        unit="sigma along the motion, pixels",
        literature=(3.0, 5.0, 8.0, 12.0, 15.0),
        search=(0.0, 32.0),
        source="Hendrycks 2019, arXiv:1903.12261 (ImageNet-C strengths, there on one side only)",
    ),
    Corruption(
        name="glass",
        family="blur",
        modality="images",
        apply=glass,
        unit="largest displacement along an axis, pixels",
        literature=(1.0, 1.5, 2.0, 3.0, 4.0),
        search=(0.0, 16.0),
        source="after Hendrycks 2019, arXiv:1903.12261; own strengths, over the displacements of ImageNet-C",
    ),
    Corruption(
        name="defocus",
        family="blur",
        modality="images",
        apply=defocus,
        unit="radius, pixels",
        literature=(0.3, 0.4, 0.5, 1.0, 1.5),
        search=(0.0, 16.0),
        source="Hendrycks 2019, arXiv:1903.12261 (CIFAR-10-C strengths)",
    ),
)
