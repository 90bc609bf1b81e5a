"""Noises that change one input value or pixel at a time, against their formulas and independent statistics."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from noise_setups import BATCH, IMAGE, Key, Values, policy, run, same_bits, term
from scipy import stats
from torch import Tensor

from noise_search.noises.inputs import INPUT_NOISES
from noise_search.seeds import generator

SPECKLE, UNIFORM, IMPULSE, SHOT = (("inputs", name) for name in ("speckle", "uniform", "impulse", "shot"))
SHAPE = (BATCH, 2, 9, 10)


def noisy_steps(key: Key, magnitude: float, value: float, steps: int) -> np.ndarray:
    """Images of one value with the noise at several steps, (steps * batch, ...)."""
    clean = {"inputs": torch.full((1, *SHAPE), value, dtype=torch.float64), "targets": torch.ones((1, BATCH, 1))}
    return np.concatenate([run_at(key, magnitude, clean, step).numpy() for step in range(steps)])


def run_at(key: Key, magnitude: float, clean: Values, step: int, seed: int = 0) -> Tensor:
    return run("inputs", [policy(term(key, magnitude))], clean, step=step, seeds=[seed])["inputs"][0]


def images(low: float = 0.0, high: float = 1.0) -> Values:
    rng = generator(0, "images")
    inputs = low + (high - low) * torch.rand((1, *SHAPE), generator=rng, dtype=torch.float64)
    return {"inputs": inputs, "targets": torch.ones((1, BATCH, 1))}


# --- speckle and uniform


@pytest.mark.parametrize("sigma", [0.05, 0.8, 10.0])
def test_speckle_is_normal_with_a_share_of_each_value_as_standard_deviation(sigma: float) -> None:
    clean = images(0.1)
    shares = torch.stack([(run_at(SPECKLE, sigma, clean, step) / clean["inputs"][0] - 1) for step in range(10)])
    assert stats.kstest(shares.flatten().numpy(), stats.norm(0, sigma).cdf).pvalue > 0.001


def test_speckle_is_the_value_times_the_draw_that_its_key_names() -> None:
    clean = images(-1.0)
    xi = torch.randn(SHAPE, generator=generator(8, *SPECKLE, "xi", 6), dtype=torch.float64)
    expected = clean["inputs"][0] * (1 + 0.3 * xi)
    torch.testing.assert_close(run_at(SPECKLE, 0.3, clean, 6, seed=8), expected, rtol=0, atol=1e-15)


def test_speckle_leaves_zeros_at_zero() -> None:
    assert not noisy_steps(SPECKLE, 0.8, 0.0, 3).any()


@pytest.mark.parametrize("half_width", [0.02, 0.6, 10.0])
def test_uniform_noise_is_even_within_its_half_width(half_width: float) -> None:
    added = noisy_steps(UNIFORM, half_width, 0.5, 10) - 0.5
    assert stats.kstest(added.ravel(), stats.uniform(-half_width, 2 * half_width).cdf).pvalue > 0.001


def test_uniform_noise_is_the_magnitude_times_the_draw_that_its_key_names() -> None:
    clean = images()
    u = torch.rand(SHAPE, generator=generator(8, *UNIFORM, "u", 6), dtype=torch.float64)
    expected = clean["inputs"][0] + 0.3 * (u - 0.5) / 0.5
    torch.testing.assert_close(run_at(UNIFORM, 0.3, clean, 6, seed=8), expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize("key", [SPECKLE, UNIFORM], ids=".".join)
def test_values_and_neighbouring_samples_get_draws_of_their_own(key: Key) -> None:
    added = noisy_steps(key, 0.5, 0.5, 20) - 0.5
    rows = added.reshape(len(added), -1)
    for one, other in ((rows[:-1], rows[1:]), (rows[:, :-1], rows[:, 1:])):
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 4 / math.sqrt(one.size)


# --- impulse


@pytest.mark.parametrize("share", [0.01, 0.3, 1.0])
def test_impulse_strikes_its_share_of_pixels_half_to_0_and_half_to_1(share: float) -> None:
    noisy = noisy_steps(IMPULSE, share, 0.5, 20)[:, 0]
    zeros, ones = int((noisy == 0).sum()), int((noisy == 1).sum())
    assert int((noisy == 0.5).sum()) == noisy.size - zeros - ones
    assert stats.binomtest(zeros + ones, noisy.size, share).pvalue > 0.001
    assert stats.binomtest(ones, zeros + ones, 0.5).pvalue > 0.001


def test_impulse_strikes_all_channels_of_a_pixel_together() -> None:
    noisy = noisy_steps(IMPULSE, 0.3, 0.5, 5)
    assert np.array_equal(noisy[:, 0], noisy[:, 1])


def test_a_stronger_impulse_strikes_the_same_pixels_to_the_same_value_and_more() -> None:
    few, many = (noisy_steps(IMPULSE, share, 0.5, 5) for share in (0.1, 0.4))
    struck = few != 0.5
    assert np.array_equal(few[struck], many[struck])
    assert (many != 0.5).sum() > struck.sum()


def test_impulse_strikes_pixels_independently_of_each_other() -> None:
    struck = (noisy_steps(IMPULSE, 0.3, 0.5, 40)[:, 0] != 0.5).astype(float)
    assert abs(np.corrcoef(struck[:, :, 1:].ravel(), struck[:, :, :-1].ravel())[0, 1]) < 4 / math.sqrt(struck.size)


# --- shot


@pytest.mark.parametrize(("photon", "value"), [(0.002, 1.0), (0.05, 0.4), (0.3, 0.9), (0.3, 0.05), (10.0, 1.0)])
def test_shot_noise_has_the_value_as_mean_and_value_times_magnitude_as_variance(photon: float, value: float) -> None:
    noisy = noisy_steps(SHOT, photon, value, 10)
    n, variance = noisy.size, value * photon
    assert abs(noisy.mean() - value) < 4 * math.sqrt(variance / n)
    # The variance of a sample variance: (kurtosis - 1) sigma^4 / n, with 3 + 1 / rate the kurtosis of a Poisson law
    spread = math.sqrt((2 + photon / value) / n) * variance
    assert abs(noisy.var() - variance) < 4 * spread


@pytest.mark.parametrize(("photon", "value"), [(0.3, 0.9), (0.05, 0.7)])
def test_shot_noise_is_a_poisson_count_of_photons(photon: float, value: float) -> None:
    counts = noisy_steps(SHOT, photon, value, 10) / photon
    np.testing.assert_allclose(counts, counts.round(), atol=1e-9)
    law, n = stats.poisson(value / photon), counts.size
    edges = [k for k in range(100) if n * law.pmf(k) > 10]
    observed = [int((counts.round() == k).sum()) for k in edges]
    expected = [n * law.pmf(k) for k in edges]
    rest = (n - sum(observed), n - sum(expected))
    assert stats.chisquare([*observed, rest[0]], [*expected, rest[1]]).pvalue > 0.001


def test_shot_noise_draws_pixels_and_channels_independently() -> None:
    noisy = noisy_steps(SHOT, 0.1, 0.5, 20)
    for one, other in ((noisy[:, 0], noisy[:, 1]), (noisy[..., 1:], noisy[..., :-1]), (noisy[1:], noisy[:-1])):
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 4 / math.sqrt(one.size)


def test_dark_has_no_shot_noise_and_less_than_dark_no_photons() -> None:
    assert not noisy_steps(SHOT, 0.3, 0.0, 2).any()
    assert not noisy_steps(SHOT, 0.3, -0.7, 2).any()


def test_photons_too_many_to_be_counted_leave_the_input_as_it_is() -> None:
    clean = images()
    assert same_bits({"inputs": run_at(SHOT, 1e-13, clean, 0)}, {"inputs": clean["inputs"][0]})
    noisy = run_at(SHOT, 2e-12, clean, 0)
    assert 0 < float((noisy - clean["inputs"][0]).abs().max()) < 1e-5


def test_trials_of_one_seed_begin_their_photons_from_the_same_generator_whatever_their_magnitude() -> None:
    clean = images()
    both = {name: value.expand(2, *value.shape[1:]) for name, value in clean.items()}
    noisy = run("inputs", [policy(term(SHOT, photon)) for photon in (0.02, 0.2)], both, step=4)["inputs"]
    for slot, photon in enumerate((0.02, 0.2)):
        assert torch.equal(noisy[slot], run_at(SHOT, photon, clean, 4))


def test_shot_noise_comes_before_noise_that_could_leave_less_than_nothing_to_count() -> None:
    names = list(INPUT_NOISES)
    assert names[0] == "shot"
    assert names.index("impulse") > names.index("gaussian")
    assert names[-1] == "erase"


@pytest.mark.parametrize("name", INPUT_NOISES)
def test_input_noises_leave_targets_alone(name: str) -> None:
    clean = {"inputs": torch.rand((1, BATCH, *IMAGE), generator=generator(0, "x")), "targets": torch.ones(1, BATCH, 3)}
    noisy = run("inputs", [policy(term(("inputs", name), 0.3))], clean)
    assert noisy["targets"] is clean["targets"]
