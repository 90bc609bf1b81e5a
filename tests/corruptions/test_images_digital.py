from __future__ import annotations

import numpy as np
import pytest
import torch
from corruption_examples import SIZES, pictures, rng
from scipy import ndimage

from noise_search.corruptions import images_digital
from noise_search.corruptions.images_digital import MUD, SPATTER_SMOOTHNESS
from noise_search.corruptions.pixels import uniform


@SIZES
@pytest.mark.parametrize("step", [1 / 31, 1 / 3, 1.0, 2.0])
def test_quantize_takes_the_nearest_of_the_levels_of_each_image(shape: tuple[int, ...], step: float) -> None:
    clean = pictures(*shape)
    for image, found, shift in zip(
        clean.numpy(),
        images_digital.quantize(clean, step, rng()).numpy(),
        uniform((shape[0], 1, 1, 1), rng(), clean).flatten().tolist(),
        strict=True,
    ):
        levels = step * (np.arange(-2, 2 / step + 2) + shift)
        nearest = levels[np.abs(image[..., None] - levels).argmin(axis=-1)]
        np.testing.assert_allclose(found, nearest.clip(0, 1), atol=1e-9)


def test_quantized_values_lie_within_half_a_step_of_the_clean_ones() -> None:
    clean = pictures(20, 1, 28, 28)
    assert (images_digital.quantize(clean, 0.2, rng()) - clean).abs().max() <= 0.1 + 1e-9


@SIZES
@pytest.mark.parametrize("share", [0.01, 0.3, 1.0])
def test_spatter_hides_the_stated_share_of_every_picture(shape: tuple[int, ...], share: float) -> None:
    white = torch.ones(shape, dtype=torch.float64)
    hidden = (1 - images_digital.spatter(white, share, rng())) / (1 - MUD)
    torch.testing.assert_close(hidden.mean(dim=(1, 2, 3)), torch.full((shape[0],), share, dtype=torch.float64))


def test_mud_is_where_the_field_is_largest_and_as_dark_as_stated() -> None:
    clean = pictures(5, 1, 16, 16)
    found = images_digital.spatter(clean, 0.25, rng())
    field = images_digital.smooth_field(5, 16, 16, rng()).numpy()
    expected = np.array([np.where(f > np.quantile(f, 0.75), MUD, x[0]) for f, x in zip(field, clean, strict=True)])
    np.testing.assert_allclose(found[:, 0].numpy(), expected)


def test_drops_are_cut_from_noise_under_the_gaussian_of_scipy() -> None:
    noise = torch.randn((3, 32, 48), generator=rng()).numpy()
    sigma = 32 * SPATTER_SMOOTHNESS
    expected = ndimage.gaussian_filter(noise, sigma=(0, sigma, sigma), mode="reflect", truncate=4.0)
    np.testing.assert_allclose(images_digital.smooth_field(3, 32, 48, rng()).numpy(), expected, atol=1e-5)


def test_drops_of_a_weaker_spatter_are_in_a_stronger_one() -> None:
    white = torch.ones(5, 1, 28, 28, dtype=torch.float64)
    weak, strong = (images_digital.spatter(white, share, rng()) for share in (0.1, 0.25))
    assert (strong <= weak + 1e-12).all()
