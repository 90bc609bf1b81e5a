from __future__ import annotations

import math

import pytest
import torch
from corruption_examples import rng

from noise_search.corruptions import images_noise


def grey(level: float, samples: int = 50) -> torch.Tensor:
    return torch.full((samples, 1, 32, 32), level, dtype=torch.float64)


@pytest.mark.parametrize(("level", "photon"), [(0.25, 0.01), (0.5, 0.02), (0.2, 0.1)])
def test_shot_noise_keeps_the_mean_and_has_the_variance_of_counted_photons(level: float, photon: float) -> None:
    noisy = images_noise.shot(grey(level), photon, rng())
    n = noisy.numel()
    variance = level * photon
    assert noisy.mean().item() == pytest.approx(level, abs=5 * math.sqrt(variance / n))
    # A Poisson count of rate r has a kurtosis of 3 + 1 / r, which makes its variance known to sqrt((2 + 1 / r) / n).
    assert noisy.var().item() == pytest.approx(variance, rel=5 * math.sqrt((2 + photon / level) / n))


def test_shot_noise_counts_whole_photons_and_none_where_it_is_dark() -> None:
    counts = images_noise.shot(grey(0.3), 0.125, rng()) / 0.125
    assert torch.equal(counts, counts.round())
    assert images_noise.shot(grey(0.0), 0.3, rng()).count_nonzero() == 0


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_impulse_noise_strikes_the_stated_share_black_and_white_alike(share: float) -> None:
    noisy = images_noise.impulse(grey(0.4), share, rng())
    n = noisy.numel()
    for value in (0.0, 1.0):
        found = (noisy == value).double().mean().item()
        assert found == pytest.approx(share / 2, abs=5 * math.sqrt(share / 2 / n))
    assert ((noisy == 0) | (noisy == 1) | (noisy == 0.4)).all()


def test_stronger_impulse_noise_keeps_what_weaker_one_struck() -> None:
    weak, strong = (images_noise.impulse(grey(0.4), share, rng()) for share in (0.1, 0.3))
    struck = weak != 0.4
    assert torch.equal(strong[struck], weak[struck])


def test_impulse_noise_strikes_all_channels_of_a_pixel() -> None:
    noisy = images_noise.impulse(torch.full((4, 3, 16, 16), 0.4), 0.5, rng())
    assert torch.equal(noisy[:, :1].expand_as(noisy), noisy)


def test_brown_noise_has_the_stated_rms_in_every_channel_and_no_mean() -> None:
    noise = images_noise.brown(torch.full((5, 3, 32, 32), 0.5, dtype=torch.float64), 0.05, rng()) - 0.5
    rms = noise.square().mean(dim=(2, 3)).sqrt()
    torch.testing.assert_close(rms, torch.full_like(rms, 0.05), rtol=1e-4, atol=0)
    torch.testing.assert_close(noise.mean(dim=(2, 3)), torch.zeros_like(rms), atol=1e-7, rtol=0)


def test_the_power_of_brown_noise_falls_with_the_square_of_frequency() -> None:
    noise = images_noise.brown(torch.full((200, 1, 64, 64), 0.5, dtype=torch.float64), 0.01, rng()) - 0.5
    power = torch.fft.fft2(noise).abs().square().mean(dim=(0, 1))
    frequency = torch.hypot(torch.fft.fftfreq(64)[:, None], torch.fft.fftfreq(64)).double()
    band = (frequency > 0.05) & (frequency < 0.45)
    x, y = frequency[band].log(), power[band].log()
    slope = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()
    assert slope.item() == pytest.approx(-2, abs=0.05)


def test_brown_noise_adds_one_field_scaled_by_the_strength() -> None:
    weak, strong = (images_noise.brown(grey(0.5, 2), s, rng()) - 0.5 for s in (0.01, 0.04))
    torch.testing.assert_close(4 * weak, strong)
