"""Held-out corruptions of images: what hides a part of them. For their contract see `images`.

Where it lies is drawn for each image and does not move as the strength grows: what a weaker one hides, a stronger
one hides too. Pixels that are covered in part are changed in proportion.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from noise_search.corruptions.pixels import finished, positions, uniform, widened
from noise_search.corruptions.registry import Corruption

LINE_OFFSET = 1 / 4  # how far from the middle lines may pass, as a share of the shorter side
DOT_SPACING = 1 / 4  # of the shorter side
ZIGZAG_PERIOD = 1 / 2  # of the shorter side; it is a quarter as high to each side, so its flanks rise at 45 degrees
CELL = 1 / 4  # side of a cell of the checkerboard, as a share of the shorter side


def stripe(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """A stripe over a share s of the picture shows its negative, upright or across by chance; 0 is the identity.

    It takes in what lies between u (1 - s) and u (1 - s) + s of the side, with u ~ U(0, 1) for each image.

    Source: Mu & Gilmer 2019, arXiv:1906.02337 (there two upright ones at the edges, half of the picture).
    """
    pixels = widened(images)
    samples, _, height, width = pixels.shape
    start = uniform((samples, 1, 1), generator, pixels) * (1 - strength)
    is_upright = uniform((samples, 1, 1), generator, pixels) < 0.5
    down, across = (_overlap(size, size * start, size * (start + strength)) for size in (height, width))
    covered = torch.where(is_upright, across, down.mT.expand(-1, -1, width)).unsqueeze(1)
    return finished(pixels + covered * (1 - 2 * pixels), images)


def dotted_line(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """White dots of radius s pixels along a straight line, their edge half a pixel either way; 0 is the identity.

    They lie a quarter of the shorter side apart on a line through the middle half of the picture, at any angle.

    Source: after Mu & Gilmer 2019, arXiv:1906.02337.
    """
    pixels = widened(images)
    along, across = _line(pixels, generator)
    spacing = DOT_SPACING * min(pixels.shape[-2:])
    phase = uniform((len(pixels), 1, 1), generator, pixels)
    beyond_dot = torch.remainder(along + (phase + 0.5) * spacing, spacing) - spacing / 2
    return finished(_inked(pixels, torch.hypot(beyond_dot, across), strength), images)


def zigzag(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """A white zigzag line of radius s pixels, its flanks at 45 degrees; 0 is the identity.

    Its teeth are half the shorter side apart, along a line through the middle half of the picture, at any angle.

    Source: after Mu & Gilmer 2019, arXiv:1906.02337.
    """
    pixels = widened(images)
    along, across = _line(pixels, generator)
    period = ZIGZAG_PERIOD * min(pixels.shape[-2:])
    turns = along / period + uniform((len(pixels), 1, 1), generator, pixels)
    wave = period * ((turns - turns.round()).abs() - 0.25)
    return finished(_inked(pixels, (across - wave).abs() / math.sqrt(2), strength), images)


def checkerboard(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Black squares, s cells wide, on every other cell of a board: 0 is the identity, 1 hides half, 2 everything.

    Cells are a quarter of the shorter side wide; where the board begins is drawn for each image.

    Source: own; Mintun et al. 2021, arXiv:2102.11273, cut checkerboards out too.
    """
    pixels = widened(images)
    samples, _, height, width = pixels.shape
    cell = CELL * min(height, width)
    row, column = 2 * cell * uniform((2, samples, 1, 1), generator, pixels)
    # The cells of one colour are two grids, one a cell down and right of the other; squares over a cell wide overlap.
    one = _grid(height, width, row, column, 2 * cell, strength * cell)
    other = _grid(height, width, row + cell, column + cell, 2 * cell, strength * cell)
    both = _grid(height, width, row + cell / 2, column + cell / 2, cell, max(strength - 1, 0.0) * cell)
    return finished(pixels * (1 - (one + other - both)).unsqueeze(1), images)


def _line(pixels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Distance of each pixel along and from a random line of each image, in pixels, each (samples, h, w)."""
    rows, columns = positions(pixels)
    angle = math.pi * uniform((len(pixels), 1, 1), generator, pixels)
    offset = LINE_OFFSET * min(pixels.shape[-2:]) * (2 * uniform((len(pixels), 1, 1), generator, pixels) - 1)
    return columns * angle.cos() + rows * angle.sin(), rows * angle.cos() - columns * angle.sin() - offset


def _inked(pixels: Tensor, distance: Tensor, radius: float) -> Tensor:
    """White where `distance` is under `radius`, half white on it; no wider at the edge than it is as a whole."""
    ink = (radius + min(radius, 0.5) - distance).clamp(0, 1).unsqueeze(1)
    return pixels + ink * (1 - pixels)


def _overlap(size: int, start: Tensor, stop: Tensor) -> Tensor:
    """Share of each of `size` pixels in a row that lies between `start` and `stop`; (..., 1) -> (..., size)."""
    pixels = torch.arange(size, dtype=start.dtype, device=start.device)
    return (torch.minimum(pixels + 1, stop) - torch.maximum(pixels, start)).clamp(min=0.0)


def _grid(height: int, width: int, row: Tensor, column: Tensor, period: float, side: float) -> Tensor:
    """Share of each pixel, (samples, h, w), under squares around (row, column) and every `period` from there."""
    return _periodic_overlap(height, row, period, side).mT * _periodic_overlap(width, column, period, side)


def _periodic_overlap(size: int, middle: Tensor, period: float, width: float) -> Tensor:
    """The same for intervals of `width` around `middle` and every `period` from there."""
    edges = torch.arange(size + 1, dtype=middle.dtype, device=middle.device) - middle + width / 2
    whole = torch.floor(edges / period)
    covered_before = whole * width + (edges - whole * period).clamp(0, width)
    return covered_before.diff(dim=-1)


OCCLUSIONS = (
    Corruption(
        name="stripe",
        family="occlusion",
        modality="images",
        apply=stripe,
        unit="share of the picture",
        literature=(0.1, 0.2, 0.3, 0.4, 0.5),
        search=(0.0, 1.0),
        source="Mu 2019, arXiv:1906.02337 (MNIST-C); own strengths up to its one",
    ),
    Corruption(
        name="dotted_line",
        family="occlusion",
        modality="images",
        apply=dotted_line,
        unit="radius of the dots, pixels",
        literature=(0.5, 1.0, 1.5, 2.0, 3.0),
        search=(0.0, 16.0),
        source="after Mu 2019, arXiv:1906.02337 (MNIST-C); own strengths",
    ),
    Corruption(
        name="zigzag",
        family="occlusion",
        modality="images",
        apply=zigzag,
        unit="radius of the line, pixels",
        literature=(0.5, 1.0, 1.5, 2.0, 3.0),
        search=(0.0, 16.0),
        source="after Mu 2019, arXiv:1906.02337 (MNIST-C); own strengths",
    ),
    Corruption(
        name="checkerboard",
        family="occlusion",
        modality="images",
        apply=checkerboard,
        unit="width of a square, cells",
        literature=(0.25, 0.5, 0.75, 1.0, 1.5),
        search=(0.0, 2.0),
        source="own; the idea is in Mintun 2021, arXiv:2102.11273",
    ),
)
