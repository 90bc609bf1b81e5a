from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from noise_setups import BATCH, CLASSES, clean_values, policy, run, term
from scipy import stats
from torch import Tensor

from noise_search.noises.mixing import MIXING_NOISES, mix, mixup
from noise_search.noises.registry import Mixing
from noise_search.seeds import Draws, generator

EVERY = pytest.mark.parametrize("name", MIXING_NOISES)
KEY = ("inputs", "mixup")
DRAWS = Draws((3,), "inputs", "mixup", 0, BATCH, BATCH, torch.device("cpu"), torch.float64)
# Sample i is the i-th unit vector: after mixing, row i reads its own weight at i and its partner's at the partner.
UNITS = torch.eye(BATCH, dtype=torch.float64)[None]
IMAGES = UNITS.reshape(1, BATCH, 1, 4, 8)


def alphas(value: float, size: int = BATCH) -> Tensor:
    return torch.full((1, size), value, dtype=torch.float64)


def own_weights(alpha: float, steps: int) -> np.ndarray:
    """Weights of samples themselves, read off mixed unit vectors whose partner is another sample."""
    weights: list[float] = []
    for step in range(steps):
        mixed, _ = mixup(UNITS, alphas(alpha), replace(DRAWS, step=step))
        own = mixed[0].diagonal()
        others = (mixed[0] - own.diag()).sum(1) > 0
        weights += own[others].tolist()
    return np.array(weights)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 10.0])
def test_own_weights_are_the_larger_share_of_a_beta_distribution(alpha: float) -> None:
    beta = stats.beta(alpha, alpha)

    def distribution(weight: np.ndarray) -> np.ndarray:
        """P(max(q, 1 - q) <= w) = F(w) - F(1 - w) for w of at least 1/2."""
        return np.where(weight < 0.5, 0.0, beta.cdf(weight) - beta.cdf(1 - weight))

    weights = own_weights(alpha, steps=100)
    assert len(weights) > 0.9 * 100 * (BATCH - 1)
    assert weights.min() >= 0.5
    assert stats.kstest(weights, distribution).pvalue > 0.001


@EVERY
@pytest.mark.parametrize("size", [1, 2, 7, BATCH])
def test_partners_are_a_permutation_of_the_batch_at_hand(name: str, size: int) -> None:
    for step in range(20):
        draws = replace(DRAWS, step=step, size=size, noise=name)
        _, mixing = MIXING_NOISES[name].apply(IMAGES[:, :size], alphas(1.0, size), draws)
        assert sorted(mixing.partner[0].tolist()) == list(range(size))


def test_every_sample_is_the_partner_of_any_other_equally_often() -> None:
    partners = [mixup(UNITS, alphas(1.0), replace(DRAWS, step=step))[1].partner[0] for step in range(400)]
    of_first = np.bincount(torch.stack(partners)[:, 0].numpy(), minlength=BATCH)
    assert stats.chisquare(of_first).pvalue > 0.001


@EVERY
@pytest.mark.parametrize("size", [1, 2, 7])
def test_the_weights_of_a_partial_batch_are_the_first_of_the_full_one(name: str, size: int) -> None:
    full = MIXING_NOISES[name].apply(IMAGES, alphas(0.7), DRAWS)[1].own
    partial = MIXING_NOISES[name].apply(IMAGES[:, :size], alphas(0.7, size), replace(DRAWS, size=size))[1].own
    assert torch.equal(partial, full[:, :size])


def test_a_batch_of_one_is_mixed_with_itself() -> None:
    clean = clean_values("inputs", torch.float64, batch=1)
    noisy = run("inputs", [policy(term(KEY, 1.0))], clean)
    torch.testing.assert_close(noisy, clean)


def test_inputs_and_targets_are_mixed_with_the_same_partner_and_weight() -> None:
    clean = clean_values("inputs", torch.float64)
    noisy = run("inputs", [policy(term(KEY, 1.0))], clean, step=5, seeds=[3])
    _, mixing = mixup(clean["inputs"], alphas(1.0), replace(DRAWS, step=5))
    own, partner = mixing.own[0].numpy(), mixing.partner[0].numpy()
    for name, value in clean.items():
        x = value[0].numpy()
        weight = own.reshape(-1, *[1] * (x.ndim - 1))
        np.testing.assert_allclose(noisy[name][0].numpy(), weight * x + (1 - weight) * x[partner], atol=1e-15)


def test_targets_tell_the_weight_and_partner_that_inputs_were_mixed_with() -> None:
    # One class for each sample: targets are then the very unit vectors that inputs are.
    noisy = run("inputs", [policy(term(KEY, 1.0))], {"inputs": UNITS, "targets": UNITS.clone()})
    assert torch.equal(noisy["inputs"], noisy["targets"])
    assert not torch.equal(noisy["inputs"], UNITS)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_targets_still_sum_to_1(dtype: torch.dtype) -> None:
    soft = torch.softmax(torch.randn((3, BATCH, CLASSES), generator=generator(0, "soft")), dim=-1).to(dtype)
    clean = {"inputs": clean_values("inputs", dtype, members=3)["inputs"], "targets": soft}
    noisy = run("inputs", [policy(term(KEY, alpha)) for alpha in (0.1, 1.0, 100.0)], clean)
    torch.testing.assert_close(noisy["targets"].sum(-1), soft.sum(-1), rtol=0, atol=1e-6)
    assert bool((noisy["targets"] >= 0).all())


def test_a_sample_not_chosen_keeps_its_input_and_target_but_may_be_a_partner() -> None:
    half = run("inputs", [policy(term(KEY, 1.0, 0.5))], {"inputs": UNITS, "targets": UNITS.clone()})["inputs"][0]
    kept = (half == UNITS[0]).all(1)
    assert 0 < int(kept.sum()) < BATCH
    lent = (half * ~torch.eye(BATCH, dtype=torch.bool)).sum(0) > 0
    assert bool((lent & kept).any())


def test_trials_of_one_seed_begin_from_the_same_generator_whatever_their_alpha() -> None:
    two = torch.cat([alphas(0.5), alphas(2.0)])
    _, together = mixup(UNITS.expand(2, -1, -1), two, replace(DRAWS, seeds=(3, 3)))
    for k, alpha in enumerate((0.5, 2.0)):
        assert torch.equal(together.own[k], mixup(UNITS, alphas(alpha), DRAWS)[1].own[0])


def test_a_weight_of_1_is_the_identity_even_beside_what_is_not_a_number() -> None:
    values = torch.tensor([[[1.0], [-0.0], [float("inf")]]])
    mixing = Mixing(torch.ones(1, 3), torch.tensor([[2, 2, 0]]))
    mixed = mix(values, mixing)
    assert torch.equal(mixed.view(torch.int32), values.view(torch.int32))


def test_half_and_half_is_the_mean_of_two_samples() -> None:
    mixing = Mixing(torch.full((1, 2), 0.5), torch.tensor([[1, 0]]))
    assert mix(torch.tensor([[[2.0], [4.0]]]), mixing).tolist() == [[[3.0], [3.0]]]
