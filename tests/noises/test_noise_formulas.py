"""Noises that act on one thing at a time, against their formulas and independent oracles."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from noise_setups import BATCH, CLASSES, clean_alone, policy, run, run_alone, term
from scipy import stats

from noise_search.seeds import generator

GAUSSIAN = ("inputs", "gaussian")
SMOOTHING = ("targets", "label_smoothing")
RELATIVE = ("weights", "relative")


@pytest.mark.parametrize("sigma", [0.02, 0.6, 10.0])
def test_gaussian_noise_is_normal_with_the_magnitude_as_standard_deviation(sigma: float) -> None:
    clean = clean_alone(GAUSSIAN)["inputs"]
    added = torch.stack([run_alone(GAUSSIAN, term(GAUSSIAN, sigma), step=step)["inputs"] - clean for step in range(20)])
    assert stats.kstest(added.flatten().numpy(), stats.norm(0, sigma).cdf).pvalue > 0.001
    # n s^2 / sigma^2 follows chi-square with n degrees of freedom
    n = added.numel()
    low, high = stats.chi2(n).ppf([0.0005, 0.9995])
    assert low < n * float(added.square().mean()) / sigma**2 < high


def test_gaussian_noise_is_the_magnitude_times_the_draw_that_its_key_names() -> None:
    xi = torch.randn((BATCH, 2, 3, 4), generator=generator(8, "inputs", "gaussian", "xi", 6), dtype=torch.float64)
    noisy = run_alone(GAUSSIAN, term(GAUSSIAN, 0.3), step=6, seed=8)["inputs"]
    assert torch.equal(noisy, clean_alone(GAUSSIAN)["inputs"] + 0.3 * xi)


def test_gaussian_noise_is_independent_between_samples_and_steps() -> None:
    clean = clean_alone(GAUSSIAN)["inputs"]
    added = [run_alone(GAUSSIAN, term(GAUSSIAN, 1.0), step=step)["inputs"] - clean for step in range(40)]
    rows = torch.cat([step.reshape(BATCH, -1) for step in added]).numpy()
    correlations = np.corrcoef(rows[:-1].ravel(), rows[1:].ravel())[0, 1]
    assert abs(correlations) < 4 / math.sqrt(rows[1:].size)


def test_gaussian_noise_leaves_targets_alone() -> None:
    noisy = run_alone(GAUSSIAN, term(GAUSSIAN, 1.0))["targets"]
    assert torch.equal(noisy, clean_alone(GAUSSIAN)["targets"])


@pytest.mark.parametrize("share", [0.01, 0.4, 1.0])
def test_label_smoothing_is_its_closed_form(share: float) -> None:
    clean = clean_alone(SMOOTHING)["targets"]
    expected = (1 - share) * clean.numpy() + share / CLASSES
    np.testing.assert_allclose(run_alone(SMOOTHING, term(SMOOTHING, share))["targets"].numpy(), expected, atol=1e-15)


def test_label_smoothing_of_a_one_hot_target_is_what_torch_smooths_its_loss_with() -> None:
    logits = torch.randn((BATCH, CLASSES), generator=generator(0, "logits"), dtype=torch.float64)
    labels = clean_alone(SMOOTHING)["targets"].argmax(1)
    soft = run_alone(SMOOTHING, term(SMOOTHING, 0.3))["targets"]
    expected = torch.nn.functional.cross_entropy(logits, labels, label_smoothing=0.3)
    torch.testing.assert_close(torch.nn.functional.cross_entropy(logits, soft), expected)


def test_label_smoothing_leaves_inputs_alone_and_targets_a_distribution() -> None:
    noisy = run_alone(SMOOTHING, term(SMOOTHING, 0.4, 0.5, "uniform"), dtype=torch.float32)
    assert torch.equal(noisy["inputs"], clean_alone(SMOOTHING, torch.float32)["inputs"])
    torch.testing.assert_close(noisy["targets"].sum(1), torch.ones(BATCH), rtol=0, atol=1e-6)
    assert bool((noisy["targets"] >= 0).all())


def rms(values: torch.Tensor) -> float:
    return float(values.double().square().mean().sqrt())


@pytest.mark.parametrize("share", [0.005, 0.2, 2.0])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_relative_noise_is_normal_with_a_share_of_each_layers_rms(share: float, scale: float) -> None:
    weight = {"w": scale * torch.randn((1, 60, 50), generator=generator(0, "w"), dtype=torch.float64)}
    noisy = run("weights", [policy(term(RELATIVE, share))], weight)
    added = (noisy["w"] - weight["w"]).flatten()
    sigma = share * rms(weight["w"])
    low, high = stats.chi2(added.numel()).ppf([0.0005, 0.9995])
    assert low < added.numel() * rms(added) ** 2 / sigma**2 < high
    assert stats.kstest(added.numpy(), stats.norm(0, sigma).cdf).pvalue > 0.001


def test_relative_noise_measures_each_layer_and_each_trial_by_itself() -> None:
    layer = torch.randn((40, 30), generator=generator(0, "w"), dtype=torch.float64)
    weights = {"small": torch.stack([layer, 10 * layer]), "large": 100 * torch.stack([layer, 10 * layer])}
    noisy = run("weights", [policy(term(RELATIVE, 0.1))] * 2, weights)
    for name, value in weights.items():
        for trial in range(2):
            ratio = rms(noisy[name][trial] - value[trial]) / rms(value[trial])
            assert ratio == pytest.approx(0.1, rel=0.08)
    # The trials have the same draws, so that what is added scales with the layer.
    added = noisy["small"] - weights["small"]
    torch.testing.assert_close(added[1], 10 * added[0])


def test_layers_have_draws_of_their_own() -> None:
    same = torch.ones((1, 6, 6), dtype=torch.float64)
    noisy = run("weights", [policy(term(RELATIVE, 0.1))], {"a": same, "b": same.clone()})
    assert not torch.equal(noisy["a"], noisy["b"])


def test_relative_noise_returns_biases_and_norms_as_the_very_tensors_they_were() -> None:
    parameters = {
        "weight": torch.ones(2, 3, 4),
        "bias": torch.ones(2, 3),
        "scale": torch.ones(2),
    }
    noisy = run("weights", [policy(term(RELATIVE, 0.5)), policy()], parameters)
    assert noisy["bias"] is parameters["bias"]
    assert noisy["scale"] is parameters["scale"]
    assert noisy["weight"] is not parameters["weight"]


def test_no_gradient_flows_through_the_rms() -> None:
    weight = torch.randn((1, 3, 4), generator=generator(0, "w"), dtype=torch.float64).requires_grad_()
    noisy = run("weights", [policy(term(RELATIVE, 0.5))], {"w": weight})["w"]
    upstream = torch.randn(noisy.shape, generator=generator(0, "up"), dtype=torch.float64)
    noisy.backward(upstream)  # type: ignore[no-untyped-call]
    assert weight.grad is not None
    assert torch.equal(weight.grad, upstream)


def test_a_layer_of_zeros_stays_zero_with_finite_gradients() -> None:
    weight = torch.zeros((1, 3, 4), requires_grad=True)
    noisy = run("weights", [policy(term(RELATIVE, 0.5))], {"w": weight})["w"]
    noisy.sum().backward()  # type: ignore[no-untyped-call]
    assert bool((noisy == 0).all())
    assert weight.grad is not None
    assert bool(weight.grad.isfinite().all())
