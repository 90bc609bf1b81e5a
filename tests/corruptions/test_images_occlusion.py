from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from corruption_examples import pictures, rng
from torch import Tensor

from noise_search.corruptions import CORRUPTIONS, images_occlusion
from noise_search.corruptions.pixels import uniform

OCCLUSIONS = tuple(kind.name for kind in images_occlusion.OCCLUSIONS)
SIZES = pytest.mark.parametrize("size", [(8, 8), (9, 14), (28, 28)], ids=str)


def covered(name: str, strength: float, samples: int, size: tuple[int, int]) -> Tensor:
    """Share of each pixel that is hidden, (samples, h, w), from what becomes of black and of white."""
    hide = CORRUPTIONS[name].apply
    black, white = (torch.full((samples, 1, *size), level, dtype=torch.float64) for level in (0.0, 1.0))
    change = (hide(black, strength, rng()) - black).abs() + (hide(white, strength, rng()) - white).abs()
    return change[:, 0] / (2 if name == "stripe" else 1)  # a negative changes both


@pytest.mark.parametrize("name", OCCLUSIONS)
@SIZES
def test_what_a_weaker_one_hides_a_stronger_one_hides_too(name: str, size: tuple[int, int]) -> None:
    low, high = CORRUPTIONS[name].search
    strengths = [low + (high - low) * share for share in (0.02, 0.05, 0.1, 0.3, 0.6, 1.0)]
    hidden = [covered(name, strength, 10, size) for strength in strengths]
    for weaker, stronger in pairwise(hidden):
        assert (stronger >= weaker - 1e-9).all()


@SIZES
@pytest.mark.parametrize("share", [0.1, 0.37, 0.8, 1.0])
def test_a_stripe_hides_exactly_its_share_in_one_piece(size: tuple[int, int], share: float) -> None:
    hidden = covered("stripe", share, 20, size)
    torch.testing.assert_close(hidden.mean(dim=(1, 2)), torch.full((20,), share, dtype=torch.float64))
    for image in hidden:
        upright = torch.equal(image[:1].expand_as(image), image)
        across = torch.equal(image[:, :1].expand_as(image), image)
        assert upright or across
        line = image[0] if upright else image[:, 0]
        inside = (line > 0).nonzero().flatten()
        assert len(inside) == inside[-1] - inside[0] + 1


def test_stripes_lie_both_ways_and_anywhere() -> None:
    hidden = covered("stripe", 0.1, 200, (28, 28))
    upright = (hidden == hidden[:, :1]).all(dim=(1, 2))
    assert 60 < upright.sum() < 140  # 5 SD about a half
    assert (hidden[upright].amax(dim=(0, 1)) > 0).all()


def test_a_stripe_shows_the_negative() -> None:
    clean = pictures(5, 3, 9, 9)
    torch.testing.assert_close(images_occlusion.stripe(clean, 1.0, rng()), 1 - clean)


def test_dots_are_round_and_as_large_as_stated() -> None:
    radius, samples, size = 3.0, 400, (64, 64)  # 16 pixels apart: dots do not touch
    hidden = covered("dotted_line", radius, samples, size)
    per_dot = math.pi * (radius**2 + 1 / 12)  # the second term is what an edge one pixel wide adds to a disc
    dots = sum(chord_lengths(samples, size)) / samples / 16
    assert hidden.sum(dim=(1, 2)).mean().item() == pytest.approx(per_dot * dots, rel=0.03)


def chord_lengths(samples: int, size: tuple[int, int]) -> list[float]:
    """How much of each image's line lies inside the picture, by stepping along it."""
    pixels = torch.zeros((samples, 1, *size), dtype=torch.float64)
    _, across = images_occlusion._line(pixels, rng())
    return [float((image.abs() < 0.5).sum()) for image in across]


@pytest.mark.parametrize("name", ["dotted_line", "zigzag"])
def test_lines_are_white_and_cross_the_middle_half(name: str) -> None:
    clean = pictures(30, 1, 28, 28)
    drawn = CORRUPTIONS[name].apply(clean, 1.5, rng())
    assert (drawn >= clean).all()
    assert (drawn == 1).flatten(1).any(dim=1).all()
    assert (covered(name, 2.0, 30, (28, 28))[:, 7:21, 7:21].amax(dim=(1, 2)) == 1).all()


def test_a_zigzag_is_as_thick_as_stated_and_longer_than_a_straight_line() -> None:
    # Flanks at 45 degrees: sqrt(2) times as long as the line they go along, 2 radii thick.
    radius, size = 1.0, (64, 64)
    hidden = covered("zigzag", radius, 200, size).sum(dim=(1, 2)).mean().item()
    length = sum(chord_lengths(200, size)) / 200
    assert hidden == pytest.approx(2 * radius * math.sqrt(2) * length, rel=0.08)


@pytest.mark.parametrize("size", [(8, 8), (28, 28), (32, 64)])
@pytest.mark.parametrize("width", [0.3, 1.0])
def test_squares_on_every_other_cell_hide_half_their_relative_area(size: tuple[int, int], width: float) -> None:
    # Sides are whole periods of the board, so wherever it begins it hides the same.
    hidden = covered("checkerboard", width, 20, size)
    torch.testing.assert_close(hidden.mean(dim=(1, 2)), torch.full((20,), width**2 / 2, dtype=torch.float64))


@pytest.mark.parametrize("width", [0.4, 1.0, 1.6])
def test_squares_lie_on_the_cells_of_one_colour(width: float) -> None:
    samples, fine = 5, 40  # points to the side of a pixel
    hidden = covered("checkerboard", width, samples, (8, 12))
    row, column = 4 * uniform((2, samples, 1, 1), rng(), torch.empty(0, dtype=torch.float64))  # cells are 2 pixels
    y, x = ((torch.arange(size * fine, dtype=torch.float64) + 0.5) / fine for size in (8, 12))
    expected = torch.zeros(samples, 8 * fine, 12 * fine, dtype=torch.bool)
    for i in range(-8, 9):
        for j in range(-8, 9):
            if (i + j) % 2 == 0:
                inside_rows = (y[:, None] - row - 2 * i).abs() < width
                inside_columns = (x - column - 2 * j).abs() < width
                expected |= inside_rows & inside_columns
    share = expected.double().view(samples, 8, fine, 12, fine).mean(dim=(2, 4))
    torch.testing.assert_close(hidden, share, atol=3 / fine, rtol=0)


def test_at_twice_the_cell_everything_is_black() -> None:
    hidden = images_occlusion.checkerboard(pictures(10, 3, 9, 14), 2.0, rng())
    torch.testing.assert_close(hidden, torch.zeros_like(hidden), atol=1e-12, rtol=0)
