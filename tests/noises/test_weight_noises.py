"""Additive noise, dropped connections and noisy gradients, against their formulas and independent statistics."""

from __future__ import annotations

import math

import pytest
import torch
from noise_setups import policy, run, term
from scipy import stats
from torch import Tensor

from noise_search.seeds import generator

ADDITIVE, DROPCONNECT, GRADIENT = ("weights", "additive"), ("weights", "dropconnect"), ("gradients", "gaussian")


def layer(*shape: int) -> Tensor:
    return torch.randn((1, *shape), generator=generator(0, "layer"), dtype=torch.float64)


def rms(values: Tensor) -> float:
    return math.sqrt(float(values.double().square().mean()))


# --- additive


@pytest.mark.parametrize("sigma", [0.001, 0.1, 10.0])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_additive_noise_is_normal_with_the_magnitude_as_standard_deviation_in_any_layer(
    sigma: float, scale: float
) -> None:
    weights = {"w": scale * layer(60, 50)}
    added = (run("weights", [policy(term(ADDITIVE, sigma))], weights)["w"] - weights["w"]).flatten()
    assert stats.kstest(added.numpy(), stats.norm(0, sigma).cdf).pvalue > 0.001
    low, high = stats.chi2(added.numel()).ppf([0.0005, 0.9995])
    assert low < added.numel() * rms(added) ** 2 / sigma**2 < high


def test_additive_noise_is_the_magnitude_times_the_draw_that_its_key_names() -> None:
    weights = {"w": layer(6, 5)}
    xi = torch.randn((6, 5), generator=generator(8, *ADDITIVE, "w", 4), dtype=torch.float64)
    noisy = run("weights", [policy(term(ADDITIVE, 0.3))], weights, step=4, seeds=[8])["w"]
    torch.testing.assert_close(noisy, weights["w"] + 0.3 * xi, rtol=0, atol=1e-15)


# --- dropconnect


@pytest.mark.parametrize("probability", [0.01, 0.3, 0.9])
def test_dropconnect_drops_its_share_of_weights_and_scales_up_the_others(probability: float) -> None:
    weights = {"w": layer(60, 50)}
    noisy = run("weights", [policy(term(DROPCONNECT, probability))], weights)["w"]
    dropped = noisy == 0
    assert stats.binomtest(int(dropped.sum()), dropped.numel(), probability).pvalue > 0.001
    torch.testing.assert_close(noisy[~dropped], weights["w"][~dropped] / (1 - probability), rtol=1e-14, atol=0)


@pytest.mark.parametrize("probability", [0.1, 0.5])
def test_dropconnect_keeps_the_mean_of_every_weight(probability: float) -> None:
    weights, steps = {"w": layer(8, 6)}, 3000
    of_step = [
        run("weights", [policy(term(DROPCONNECT, probability))], weights, step=step % 400, seeds=[step // 400])["w"]
        for step in range(steps)
    ]
    mean = torch.stack(of_step).mean(0)
    # A weight w is 0 or w / (1 - m): variance w^2 m / (1 - m)
    spread = weights["w"].abs() * math.sqrt(probability / (1 - probability) / steps)
    assert bool(((mean - weights["w"]).abs() < 4.5 * spread).all())


def test_a_larger_probability_drops_the_same_weights_and_more() -> None:
    weights = {"w": layer(60, 50)}
    few, many = (run("weights", [policy(term(DROPCONNECT, share))], weights)["w"] == 0 for share in (0.1, 0.3))
    assert bool((many | ~few).all())
    assert int(many.sum()) > int(few.sum())


@pytest.mark.parametrize("key", [ADDITIVE, DROPCONNECT], ids=".".join)
def test_biases_and_norms_stay_the_very_tensors_they_were_and_layers_have_draws_of_their_own(
    key: tuple[str, str],
) -> None:
    parameters = {
        "a": torch.ones(2, 30, 4),
        "b": torch.ones(2, 30, 4),
        "bias": torch.ones(2, 30),
        "scale": torch.ones(2),
    }
    noisy = run("weights", [policy(term(key, 0.5)), policy()], parameters)
    assert noisy["bias"] is parameters["bias"]
    assert noisy["scale"] is parameters["scale"]
    assert not torch.equal(noisy["a"], noisy["b"])


# --- gradients


@pytest.mark.parametrize("share", [0.01, 1.0, 10.0])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e3])
def test_gradient_noise_is_normal_with_a_share_of_the_layers_rms(share: float, scale: float) -> None:
    gradients = {"w": scale * layer(60, 50)}
    added = (run("gradients", [policy(term(GRADIENT, share))], gradients)["w"] - gradients["w"]).flatten()
    sigma = share * rms(gradients["w"])
    assert stats.kstest(added.numpy(), stats.norm(0, sigma).cdf).pvalue > 0.001
    low, high = stats.chi2(added.numel()).ppf([0.0005, 0.9995])
    assert low < added.numel() * rms(added) ** 2 / sigma**2 < high


def test_gradients_of_biases_norms_and_scalars_get_noise_too_each_tensor_by_its_own_rms() -> None:
    gradients = {"w": 10 * layer(6, 5), "bias": 0.1 * layer(400), "scale": layer()}
    noisy = run("gradients", [policy(term(GRADIENT, 0.2))], gradients, step=4, seeds=[8])
    for name, value in gradients.items():
        xi = torch.randn(value.shape[1:], generator=generator(8, *GRADIENT, name, 4), dtype=torch.float64)
        torch.testing.assert_close(noisy[name][0], value[0] + 0.2 * rms(value) * xi, rtol=1e-12, atol=0)


def test_each_trial_is_measured_by_itself() -> None:
    both = torch.cat([layer(40, 30), 10 * layer(40, 30)])
    added = run("gradients", [policy(term(GRADIENT, 0.1))] * 2, {"w": both})["w"] - both
    torch.testing.assert_close(added[1], 10 * added[0])


def test_a_gradient_of_zeros_gets_no_noise() -> None:
    assert not run("gradients", [policy(term(GRADIENT, 1.0))], {"w": torch.zeros(1, 3, 4)})["w"].any()
