from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from corruption_examples import SIZES, pictures, rng
from scipy import ndimage

from noise_search.corruptions import CORRUPTIONS, images, pixels


@pytest.mark.parametrize("sigma", [0.05, 0.2])
def test_gaussian_noise_on_mid_grey_has_the_stated_standard_deviation(sigma: float) -> None:
    grey = torch.full((50, 1, 32, 32), 0.5, dtype=torch.float64)
    noise = images.gaussian(grey, 0.1 * sigma, rng()) - grey  # 5 SD and more away from clipping
    # The SD of n normal numbers is known to 1 / sqrt(2n), here 0.3 %; five of these are allowed.
    assert noise.std().item() == pytest.approx(0.1 * sigma, rel=0.016)
    assert noise.mean().item() == pytest.approx(0, abs=5 * 0.1 * sigma / math.sqrt(noise.numel()))


def test_gaussian_noise_adds_one_field_scaled_by_the_strength() -> None:
    grey = torch.full((2, 3, 8, 8), 0.5, dtype=torch.float64)
    weak, strong = (images.gaussian(grey, s, rng()) - grey for s in (0.01, 0.04))
    torch.testing.assert_close(4 * weak, strong)


def test_noise_is_clipped_at_black_and_white() -> None:
    black = images.gaussian(torch.zeros(20, 1, 16, 16), 0.1, rng())
    assert (black == 0).double().mean().item() == pytest.approx(0.5, abs=5 * 0.5 / math.sqrt(black.numel()))


@pytest.mark.parametrize("level", [0.25, 0.5])
def test_speckle_has_a_standard_deviation_in_proportion_to_the_pixel(level: float) -> None:
    grey = torch.full((50, 1, 32, 32), level, dtype=torch.float64)
    noise = images.speckle(grey, 0.1, rng()) - grey
    assert noise.std().item() == pytest.approx(0.1 * level, rel=0.016)


def test_speckle_leaves_black_alone() -> None:
    assert images.speckle(torch.zeros(2, 1, 8, 8), 8.0, rng()).count_nonzero() == 0


@SIZES
@pytest.mark.parametrize("sigma", [0.1, 0.3, 0.5, 1.0, 1.9, 4.0, 16.0])
def test_blur_is_that_of_scipy_with_reflected_edges(shape: tuple[int, ...], sigma: float) -> None:
    clean = pictures(*shape)
    expected = ndimage.gaussian_filter(
        clean.numpy(), sigma=(0, 0, sigma, sigma), mode="reflect", truncate=pixels.BLUR_TRUNCATION
    )
    np.testing.assert_allclose(images.gaussian_blur(clean, sigma, rng()).numpy(), expected, atol=1e-12)


@SIZES
@pytest.mark.parametrize("name", ["gaussian_blur", "contrast"])
def test_blur_and_contrast_keep_the_mean_of_a_picture(shape: tuple[int, ...], name: str) -> None:
    kind, clean = CORRUPTIONS[name], pictures(*shape)
    for strength in kind.literature:
        result = kind.apply(clean, strength, rng())
        torch.testing.assert_close(result.mean(dim=(1, 2, 3)), clean.mean(dim=(1, 2, 3)))


@pytest.mark.parametrize("strength", [0.1, 0.5, 0.75, 0.99])
def test_contrast_scales_the_distance_from_the_mean_of_each_image(strength: float) -> None:
    clean = pictures(3, 3, 8, 8)
    expected = np.stack([(x - x.mean()) * (1 - strength) + x.mean() for x in clean.numpy()])
    np.testing.assert_allclose(images.contrast(clean, strength, rng()).numpy(), expected, atol=1e-14)


def test_no_contrast_left_is_one_grey_in_all_channels() -> None:
    clean = pictures(3, 3, 8, 8)
    grey = images.contrast(clean, 1.0, rng())
    assert torch.equal(grey, clean.mean(dim=(1, 2, 3), keepdim=True).expand_as(clean))


def pixelated_line(line: np.ndarray, width: float) -> np.ndarray:
    """One line of pixels through blocks of `width`, by integrals of a step function."""
    size = len(line)
    cumulated = np.concatenate([[0.0], np.cumsum(line)])
    edges = [*np.arange(0, size, width), float(size)]
    result = np.zeros(size)
    for start, stop in pairwise(edges):
        ends = np.interp([start, stop], np.arange(size + 1), cumulated)
        average = (ends[1] - ends[0]) / (stop - start)
        for pixel in range(size):
            result[pixel] += average * max(0.0, min(pixel + 1, stop) - max(pixel, start))
    return result


@SIZES
@pytest.mark.parametrize("width", [1.2, 1.5, 2.0, 2.75, 4.0, 6.1, 8.0, 40.0])
def test_pixelating_averages_over_blocks_by_exact_overlap(shape: tuple[int, ...], width: float) -> None:
    clean = pictures(*shape)
    by_rows = np.apply_along_axis(pixelated_line, 2, clean.numpy(), width)
    expected = np.apply_along_axis(pixelated_line, 3, by_rows, width)
    np.testing.assert_allclose(images.pixelate(clean, width, rng()).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("width", [2, 4, 8])
def test_whole_blocks_hold_the_mean_of_their_pixels(width: int) -> None:
    clean = pictures(2, 3, 8, 16)
    means = clean.numpy().reshape(2, 3, 8 // width, width, 16 // width, width).mean(axis=(3, 5))
    expected = means.repeat(width, axis=2).repeat(width, axis=3)
    np.testing.assert_allclose(images.pixelate(clean, float(width), rng()).numpy(), expected, atol=1e-14)


@pytest.mark.parametrize("width", [1.0, 1.6, 8 / 5, 2.0, 8 / 3, 3.0, 4.0, 8.0])
def test_pixelating_changes_little_when_the_width_changes_little(width: float) -> None:
    # The largest change of a pixel is under 2 axes * 8 blocks * 2 edges * the step.
    clean = pictures(2, 1, 8, 8)
    wider, narrower = (images.pixelate(clean, b, rng()) for b in (width + 1e-9, max(width - 1e-9, 1.0)))
    torch.testing.assert_close(wider, narrower, atol=1e-7, rtol=0)


def test_pixelating_a_flat_picture_leaves_it_flat_at_every_width() -> None:
    flat = torch.full((1, 1, 8, 9), 0.5, dtype=torch.float64)
    for width in torch.linspace(1, 9, 161, dtype=torch.float64).tolist():
        torch.testing.assert_close(images.pixelate(flat, width, rng()), flat, atol=1e-12, rtol=0)


@SIZES
def test_displacements_have_rms_length_one_in_every_image(shape: tuple[int, ...]) -> None:
    field = images.displacement_field(shape[0], shape[2], shape[3], rng()).double().numpy()
    lengths = np.hypot(field[:, 0], field[:, 1])
    np.testing.assert_allclose(np.sqrt((lengths**2).mean(axis=(1, 2))), 1, rtol=1e-5)


def test_displacements_are_smooth() -> None:
    # Unit noise under a Gaussian of sigma s has neighbour correlation exp(-1 / (4 s^2)), here s = 32 / 8.
    field = images.displacement_field(64, 32, 32, rng()).double()
    inner = field[..., 8:-8, 8:-8]
    correlation = (inner[..., 1:] * inner[..., :-1]).mean() / inner.square().mean()
    assert correlation.item() == pytest.approx(math.exp(-1 / 64), abs=0.01)


@pytest.mark.parametrize("strength", [0.3, 1.0])
def test_elastic_moves_pixels_by_the_stated_rms_distance(strength: float) -> None:
    # A ramp gives away where each pixel was read, wherever that lies inside the picture.
    samples, size = 64, 32
    ramp = torch.arange(size, dtype=torch.float64).expand(samples, 1, size, size) / (size - 1)
    across = images.elastic(ramp, strength, rng()) - ramp
    down = images.elastic(ramp.mT, strength, rng()) - ramp.mT
    inner = (slice(None), slice(None), slice(8, -8), slice(8, -8))
    squared = (size - 1) ** 2 * (across[inner].square() + down[inner].square()).mean()
    field = images.displacement_field(samples, size, size, rng()).double()
    expected = strength * field[inner].square().sum(dim=1).mean().sqrt().item()
    assert math.sqrt(squared) == pytest.approx(expected, rel=1e-6)


@SIZES
@pytest.mark.parametrize("strength", [0.4, 2.0, 16.0])
def test_elastic_reads_as_scipy_does_between_pixels_and_beyond_edges(shape: tuple[int, ...], strength: float) -> None:
    clean = pictures(*shape)
    field = strength * images.displacement_field(shape[0], shape[2], shape[3], rng()).double().numpy()
    grid = np.indices(shape[2:])
    expected = [
        [ndimage.map_coordinates(channel, grid + shift, order=1, mode="nearest") for channel in image]
        for image, shift in zip(clean.numpy(), field, strict=True)
    ]
    np.testing.assert_allclose(images.elastic(clean, strength, rng()).numpy(), expected, atol=1e-6)
