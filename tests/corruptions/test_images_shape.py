from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from corruption_examples import SIZES, pictures, rng
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from noise_search.corruptions import images_shape
from noise_search.corruptions.pixels import signs


def affine(
    clean: Tensor, matrices: list[NDArray[np.float64]], shifts: list[NDArray[np.float64]]
) -> NDArray[np.float64]:
    """Each picture read at matrix (position from the middle) + shift by scipy, rows first."""
    middle = (np.array(clean.shape[-2:]) - 1) / 2
    return np.array(
        [
            [
                ndimage.affine_transform(channel, matrix, middle - matrix @ middle + shift, order=1, mode="nearest")
                for channel in image
            ]
            for image, matrix, shift in zip(clean.numpy(), matrices, shifts, strict=True)
        ]
    )


def sides(clean: Tensor) -> list[float]:
    found: list[float] = signs((len(clean), 1, 1), rng(), clean).flatten().tolist()
    return found


@SIZES
@pytest.mark.parametrize("degrees", [7.0, 45.0, 120.0, 180.0])
def test_rotate_turns_about_the_middle_as_scipy_does(shape: tuple[int, ...], degrees: float) -> None:
    clean = pictures(*shape)
    angles = [math.radians(degrees) * side for side in sides(clean)]
    turns = [np.array([[math.cos(a), math.sin(a)], [-math.sin(a), math.cos(a)]]) for a in angles]
    expected = affine(clean, turns, [np.zeros(2)] * len(clean))
    np.testing.assert_allclose(images_shape.rotate(clean, degrees, rng()).numpy(), expected, atol=1e-9)


def test_a_quarter_turn_moves_pixels_to_whole_places() -> None:
    clean = pictures(20, 1, 8, 8)
    turned = images_shape.rotate(clean, 90.0, rng())
    both_ways = [torch.rot90(clean, k, dims=(2, 3)) for k in (1, -1)]
    is_left = [torch.allclose(image, left) for image, left in zip(turned, both_ways[0], strict=True)]
    is_right = [torch.allclose(image, right) for image, right in zip(turned, both_ways[1], strict=True)]
    assert all(left != right for left, right in zip(is_left, is_right, strict=True))
    assert any(is_left)
    assert any(is_right)


@SIZES
@pytest.mark.parametrize("slope", [0.2, 1.0, 4.0])
def test_shear_shifts_rows_by_their_distance_from_the_middle(shape: tuple[int, ...], slope: float) -> None:
    clean = pictures(*shape)
    shears = [np.array([[1.0, 0.0], [slope * side, 1.0]]) for side in sides(clean)]
    expected = affine(clean, shears, [np.zeros(2)] * len(clean))
    np.testing.assert_allclose(images_shape.shear(clean, slope, rng()).numpy(), expected, atol=1e-9)


@SIZES
@pytest.mark.parametrize("distance", [0.3, 1.0, 2.6])
def test_translate_shifts_along_both_axes_each_way_by_chance(shape: tuple[int, ...], distance: float) -> None:
    clean = pictures(*shape)
    shifts = list((distance * signs((len(clean), 2, 1, 1), rng(), clean)).flatten(1).numpy())
    expected = affine(clean, [np.eye(2)] * len(clean), shifts)
    np.testing.assert_allclose(images_shape.translate(clean, distance, rng()).numpy(), expected, atol=1e-9)


def test_translate_by_whole_pixels_goes_all_four_ways_and_repeats_the_edge() -> None:
    clean = pictures(1, 1, 8, 8).expand(40, 1, 8, 8)
    moved = images_shape.translate(clean, 1.0, rng())
    padded = np.pad(clean[0, 0].numpy(), 1, mode="edge")
    ways = [padded[row : row + 8, column : column + 8] for row in (0, 2) for column in (0, 2)]
    found = [[np.array_equal(image[0], way) for way in ways] for image in moved.numpy()]
    assert all(sum(row) == 1 for row in found)
    assert all(any(row[i] for row in found) for i in range(4))


@SIZES
@pytest.mark.parametrize("times", [1.3, 2.0, 8.0])
def test_scale_draws_the_picture_smaller_about_the_middle(shape: tuple[int, ...], times: float) -> None:
    clean = pictures(*shape)
    expected = affine(clean, [times * np.eye(2)] * len(clean), [np.zeros(2)] * len(clean))
    np.testing.assert_allclose(images_shape.scale(clean, times, rng()).numpy(), expected, atol=1e-9)
