from __future__ import annotations

import math

import pytest
import torch
from corruption_examples import SIZES, pictures, rng

from noise_search.corruptions import pixels


@pytest.mark.parametrize("exponent", [1.0, 2.0, 4.0])
def test_the_power_of_a_field_falls_as_stated(exponent: float) -> None:
    power = torch.fft.fft2(pixels.power_law_field((200, 64, 64), exponent, rng()).double()).abs().square().mean(dim=0)
    frequency = torch.hypot(torch.fft.fftfreq(64)[:, None], torch.fft.fftfreq(64)).double()
    band = (frequency > 0.05) & (frequency < 0.45)
    x, y = frequency[band].log(), power[band].log()
    slope = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()
    assert slope.item() == pytest.approx(-exponent, abs=0.05)


@SIZES
def test_fields_have_rms_one_and_no_mean(shape: tuple[int, ...]) -> None:
    field = pixels.power_law_field(shape, 2.0, rng())
    ones = torch.ones(shape[:2])
    torch.testing.assert_close(field.square().mean(dim=(2, 3)).sqrt(), ones)
    torch.testing.assert_close(field.mean(dim=(2, 3)), 0 * ones, atol=1e-6, rtol=0)


def test_signs_go_either_way_alike() -> None:
    found = pixels.signs((10_000,), rng(), torch.empty(0))
    assert set(found.tolist()) == {-1.0, 1.0}
    assert abs(found.mean().item()) < 5 / math.sqrt(10_000)


@SIZES
def test_a_filter_that_passes_everything_gives_the_picture_back(shape: tuple[int, ...]) -> None:
    clean = pictures(*shape)
    torch.testing.assert_close(pixels.mirrored_filter(clean, torch.ones((), dtype=torch.float64)), clean)


@SIZES
def test_positions_are_counted_from_the_middle(shape: tuple[int, ...]) -> None:
    rows, columns = pixels.positions(pictures(*shape))
    assert rows.flatten().tolist() == [row - (shape[2] - 1) / 2 for row in range(shape[2])]
    assert columns.tolist() == [column - (shape[3] - 1) / 2 for column in range(shape[3])]
