from __future__ import annotations

import colorsys
import math

import pytest
import torch
from corruption_examples import SIZES, pictures, rng

from noise_search.corruptions import images_tone


@pytest.mark.parametrize("strength", [0.05, 0.5, 1.0])
def test_brightness_adds_to_every_value_up_to_white(strength: float) -> None:
    clean = pictures(2, 3, 8, 8)
    assert torch.equal(images_tone.brightness(clean, strength, rng()), (clean + strength).clamp(max=1))


def test_brightness_of_grey_is_that_of_its_value_in_hsv() -> None:
    for level in (0.1, 0.4, 0.7):
        hue, saturation, value = colorsys.rgb_to_hsv(level, level, level)
        expected = colorsys.hsv_to_rgb(hue, saturation, min(1.0, value + 0.2))
        found = images_tone.brightness(torch.full((1, 3, 8, 8), level, dtype=torch.float64), 0.2, rng())
        assert found[0, :, 0, 0].tolist() == pytest.approx(expected)


@SIZES
@pytest.mark.parametrize("strength", [0.3, 2.0])
def test_fog_mixes_clouds_in_by_their_weight(shape: tuple[int, ...], strength: float) -> None:
    clean = pictures(*shape)
    clouds = images_tone.clouds(shape[0], shape[2], shape[3], rng())
    share = strength / (1 + strength)
    torch.testing.assert_close(images_tone.fog(clean, strength, rng()), (1 - share) * clean + share * clouds.double())


@SIZES
def test_clouds_reach_from_black_to_white_in_every_picture(shape: tuple[int, ...]) -> None:
    clouds = images_tone.clouds(shape[0], shape[2], shape[3], rng())
    assert torch.equal(clouds.amin(dim=(1, 2, 3)), torch.zeros(shape[0]))
    assert torch.equal(clouds.amax(dim=(1, 2, 3)), torch.ones(shape[0]))


def test_clouds_are_smooth() -> None:
    # Power of f^-4 lies in the lowest frequencies: neighbours differ by little of what the whole field spans.
    clouds = images_tone.clouds(50, 32, 32, rng())
    assert clouds.diff(dim=-1).abs().mean() < 0.1


@pytest.mark.parametrize("strength", [0.5, 2.0])
def test_saturate_multiplies_the_distance_from_grey(strength: float) -> None:
    clean = 0.5 + 0.1 * (pictures(2, 3, 8, 8) - 0.5)  # far from clipping
    found = images_tone.saturate(clean, strength, rng())
    grey = clean.mean(dim=1, keepdim=True)
    torch.testing.assert_close(found - grey, (1 + strength) * (clean - grey))


def test_saturate_leaves_grey_pictures_as_they_are() -> None:
    grey = pictures(2, 1, 8, 8).expand(2, 3, 8, 8)
    torch.testing.assert_close(images_tone.saturate(grey, 64.0, rng()), grey)


def test_saturate_keeps_the_hue_of_a_colour_that_is_not_clipped() -> None:
    clean = torch.tensor([0.5, 0.45, 0.4], dtype=torch.float64).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    found = images_tone.saturate(clean, 3.0, rng())[0, :, 0, 0].tolist()
    (hue, saturation, _), (new_hue, new_saturation, _) = (
        colorsys.rgb_to_hsv(*rgb) for rgb in ([0.5, 0.45, 0.4], found)
    )
    assert new_hue == pytest.approx(hue)
    assert new_saturation > saturation


@pytest.mark.parametrize("share", [0.1, 0.6])
def test_inverse_shows_the_stated_share_of_images_as_their_negative(share: float) -> None:
    clean = pictures(2_000, 1, 8, 8)
    found = images_tone.inverse(clean, share, rng())
    inverted = (found == 1 - clean).flatten(1).all(dim=1)
    assert torch.equal(found[~inverted], clean[~inverted])
    spread = math.sqrt(share * (1 - share) / len(clean))
    assert inverted.double().mean().item() == pytest.approx(share, abs=5 * spread)


def test_a_stronger_inverse_inverts_the_same_images_and_more() -> None:
    clean = pictures(200, 1, 8, 8)
    weak, strong = (images_tone.inverse(clean, share, rng()) for share in (0.3, 0.6))
    changed = (weak != clean).flatten(1).any(dim=1)
    assert torch.equal(strong[changed], weak[changed])
    assert torch.equal(images_tone.inverse(clean, 1.0, rng()), 1 - clean)
