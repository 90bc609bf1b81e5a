from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from corruption_examples import SIZES, pictures, ramps, rng
from scipy import ndimage

from noise_search.corruptions import images_blur
from noise_search.corruptions.pixels import uniform


@SIZES
@pytest.mark.parametrize("sigma", [1.0, 2.5, 9.0])
@pytest.mark.parametrize(("angle", "axis"), [(0.0, 3), (math.pi / 2, 2)])
def test_motion_along_an_axis_is_the_gaussian_of_scipy_along_it(
    shape: tuple[int, ...], sigma: float, angle: float, axis: int
) -> None:
    clean = pictures(*shape)
    angles = torch.full((shape[0],), angle, dtype=torch.float64)
    expected = ndimage.gaussian_filter1d(clean.numpy(), sigma, axis=axis, mode="reflect", truncate=8.0)
    # A kernel sampled at whole pixels differs by exp(-2 pi^2 sigma^2 / 4) at the highest frequency.
    tolerance = 2 * math.exp(-(math.pi**2) * sigma**2 / 2) + 1e-9
    np.testing.assert_allclose(images_blur.blurred_along(clean, angles, sigma).numpy(), expected, atol=tolerance)


@pytest.mark.parametrize(("down", "across"), [(0, 3), (2, 0), (2, 3), (5, 1)])
def test_motion_damps_waves_by_how_they_lie_to_the_direction_of_each_image(down: int, across: int) -> None:
    samples, size, sigma = 10, 32, 2.0
    # Half periods down and across the picture, which its mirror images go on with; cos a cos b is two plane waves.
    a, b = (math.pi * count * (torch.arange(size, dtype=torch.float64) + 0.5) / size for count in (down, across))
    angles = images_blur.motion_angles(samples, rng()).double()
    expected = torch.full((samples, size, size), 0.5, dtype=torch.float64)
    for side in (1, -1):
        along = (down * angles.sin() + side * across * angles.cos()) / (2 * size)  # cycles per pixel
        damped = torch.exp(-2 * (math.pi * sigma * along) ** 2)
        expected += 0.15 * damped[:, None, None] * torch.cos(a[:, None] + side * b)
    wave = 0.5 + 0.3 * (a.cos()[:, None] * b.cos()).expand(samples, 1, size, size)
    torch.testing.assert_close(images_blur.motion(wave, sigma, rng())[:, 0], expected)


def test_motion_goes_all_ways_alike() -> None:
    angles = images_blur.motion_angles(10_000, rng()).double()
    assert 0 <= angles.min() < angles.max() < math.pi + 1e-6
    assert angles.mean().item() == pytest.approx(math.pi / 2, abs=5 * math.pi / math.sqrt(12 * 10_000))


@SIZES
@pytest.mark.parametrize("strength", [0.4, 3.0, 16.0])
def test_glass_reads_as_scipy_does_at_displacements_up_to_the_strength(shape: tuple[int, ...], strength: float) -> None:
    clean = pictures(*shape)
    unit = 2 * uniform((shape[0], 2, *shape[2:]), rng(), clean) - 1
    grid = np.indices(shape[2:])
    expected = [
        [ndimage.map_coordinates(channel, grid + shift, order=1, mode="nearest") for channel in image]
        for image, shift in zip(clean.numpy(), (strength * unit).numpy(), strict=True)
    ]
    np.testing.assert_allclose(images_blur.glass(clean, strength, rng()).numpy(), expected, atol=1e-6)


def test_glass_scatters_pixels_evenly_over_a_square() -> None:
    # A ramp gives away how far from its place each pixel was read.
    ramp = ramps(50, 1, 32, 32)
    moved = (images_blur.glass(ramp, 2.0, rng()) - ramp)[:, :, 4:-4, 4:-4]
    steps = (0.3**2 + 0.5**2) / 31**2  # squares of the slopes down and across
    assert moved.var().item() == pytest.approx(steps * 2.0**2 / 3, rel=0.03)


@SIZES
@pytest.mark.parametrize("radius", [0.2, 1.0, 1.5, 4.0, 11.0])
def test_defocus_is_the_convolution_of_scipy_with_the_disc(shape: tuple[int, ...], radius: float) -> None:
    clean = pictures(*shape)
    kernel = images_blur.disc(radius).numpy()[None, None]
    expected = ndimage.convolve(clean.numpy(), kernel, mode="reflect")
    np.testing.assert_allclose(images_blur.defocus(clean, radius, rng()).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("radius", [3.0, 7.5])
def test_the_disc_is_flat_inside_and_falls_to_0_within_a_pixel(radius: float) -> None:
    weights = images_blur.disc(radius)
    reach = len(weights) // 2
    distance = torch.hypot(*torch.meshgrid(*2 * [torch.arange(-reach, reach + 1.0)], indexing="ij"))
    assert weights.sum().item() == pytest.approx(1)
    assert weights[distance <= radius].min() == weights.max()
    assert weights[distance >= radius + 1].count_nonzero() == 0
    # A disc whose edge is a pixel wide weighs as much as the cone frustum of those radii.
    volume = math.pi * (radius**2 + radius * (radius + 1) + (radius + 1) ** 2) / 3
    assert 1 / weights.max().item() == pytest.approx(volume, rel=0.02)


@SIZES
@pytest.mark.parametrize("radius", [0.3, 2.0, 9.0])
def test_defocus_keeps_the_mean_of_a_picture(shape: tuple[int, ...], radius: float) -> None:
    clean = pictures(*shape)
    result = images_blur.defocus(clean, radius, rng())
    torch.testing.assert_close(result.mean(dim=(1, 2, 3)), clean.mean(dim=(1, 2, 3)))
