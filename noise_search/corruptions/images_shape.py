"""Held-out corruptions of images: shape. For their contract see `images`.

All read bilinearly between pixels; a point beyond the edge reads the nearest edge pixel, where MNIST-C reads black.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from noise_search.corruptions.pixels import finished, positions, read_displaced, signs, widened
from noise_search.corruptions.registry import Corruption


def rotate(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Turned about the middle by s degrees, each image one way or the other by chance; 0 is the identity.

    Source: Mu & Gilmer 2019, arXiv:1906.02337.
    """
    pixels = widened(images)
    rows, columns = positions(pixels)
    angle = math.radians(strength) * _sides(pixels, generator)
    turned_rows = rows * angle.cos() + columns * angle.sin()
    turned_columns = columns * angle.cos() - rows * angle.sin()
    return finished(read_displaced(pixels, turned_rows - rows, turned_columns - columns), images)


def shear(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Rows shifted by s times their distance from the middle row, one way or the other by chance; 0 is the identity.

    Source: Mu & Gilmer 2019, arXiv:1906.02337 (there by an angle, of which s is the tangent).
    """
    pixels = widened(images)
    rows, columns = positions(pixels)
    right = strength * _sides(pixels, generator) * rows + torch.zeros_like(columns)
    return finished(read_displaced(pixels, torch.zeros_like(right), right), images)


def translate(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Shifted by s pixels along each axis, each way by chance; 0 is the identity.

    Source: Mu & Gilmer 2019, arXiv:1906.02337.
    """
    pixels = widened(images)
    samples, _, height, width = pixels.shape
    shifts = strength * signs((samples, 2, 1, 1), generator, pixels).expand(-1, -1, height, width)
    return finished(read_displaced(pixels, shifts[:, 0], shifts[:, 1]), images)


def scale(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Drawn s times smaller about the middle, the value of the edge around it; 1 is the identity.

    Source: Mu & Gilmer 2019, arXiv:1906.02337.
    """
    del generator  # nothing is drawn
    pixels = widened(images)
    rows, columns = positions(pixels)
    place = torch.zeros_like(pixels[:, 0])
    return finished(read_displaced(pixels, (strength - 1) * rows + place, (strength - 1) * columns + place), images)


def _sides(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """-1 or 1 for each image, (samples, 1, 1)."""
    return signs((len(pixels), 1, 1), generator, pixels)


SHAPES = (
    Corruption(
        name="rotate",
        family="shape",
        modality="images",
        apply=rotate,
        unit="degrees",
        literature=(11.46, 22.92, 34.38, 45.84, 57.3),
        search=(0.0, 180.0),
        source="Mu 2019, arXiv:1906.02337 (MNIST-C strengths)",
    ),
    Corruption(
        name="shear",
        family="shape",
        modality="images",
        apply=shear,
        unit="columns for each row",
        literature=(0.2027, 0.4228, 0.6841, 1.03, 1.557),
        search=(0.0, 4.0),
        source="Mu 2019, arXiv:1906.02337 (MNIST-C strengths: tangents of its angles)",
    ),
    Corruption(
        name="translate",
        family="shape",
        modality="images",
        apply=translate,
        unit="shift along each axis, pixels",
        literature=(1.0, 2.0, 3.0, 4.0, 5.0),
        search=(0.0, 16.0),
        source="Mu 2019, arXiv:1906.02337 (MNIST-C strengths)",
    ),
    Corruption(
        name="scale",
        family="shape",
        modality="images",
        apply=scale,
        unit="how many times smaller",
        literature=(1.111, 1.25, 1.429, 1.667, 2.0),
        search=(1.0, 8.0),
        source="Mu 2019, arXiv:1906.02337 (MNIST-C strengths)",
    ),
)
