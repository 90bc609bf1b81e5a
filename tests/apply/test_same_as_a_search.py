"""A plain loop with a bound card ends where the trial of a search ends that has the card's policy."""

from __future__ import annotations

import pytest
import torch
from apply_examples import ADAMW, EVERY_NOISE, IMAGES, MODELS, SGD, Training, differing, searched, workbench
from torch import nn

from noise_search.noises import NOISES
from noise_search.policy import Card, Policy
from noise_search.spec import OptimizerSpec

OPTIMIZERS = pytest.mark.parametrize("optimizer", [ADAMW, SGD], ids=lambda spec: spec.name)
EVERY_MODEL = pytest.mark.parametrize("model", MODELS)


@EVERY_MODEL
@OPTIMIZERS
def test_every_noise_at_once_gives_the_bits_of_a_search(model: str, optimizer: OptimizerSpec) -> None:
    bench = workbench(model, optimizer)
    training = Training(bench, Card(EVERY_NOISE, IMAGES), seed=3)
    training.run()
    assert differing(dict(training.model.state_dict()), searched(bench, EVERY_NOISE, seed=3)) == []


def test_the_policy_of_these_tests_has_every_noise_and_changes_the_outcome() -> None:
    assert {term.key for term in EVERY_NOISE.terms} == {f"{site}.{name}" for site in NOISES for name in NOISES[site]}
    bench = workbench("mlp", SGD)
    assert differing(searched(bench, EVERY_NOISE, seed=3), searched(bench, Policy(), seed=3))


@pytest.mark.parametrize("key", [f"{term.site}.{term.noise}" for term in EVERY_NOISE.terms])
def test_each_noise_alone_gives_the_bits_of_a_search(key: str) -> None:
    policy = Policy(tuple(term for term in EVERY_NOISE.terms if term.key == key))
    bench = workbench("mlp", SGD)
    training = Training(bench, Card(policy, IMAGES), seed=0)
    training.run()
    assert differing(dict(training.model.state_dict()), searched(bench, policy, seed=0)) == []


@EVERY_MODEL
def test_clipping_by_torch_gives_the_numbers_of_a_search(model: str) -> None:
    bench = workbench(model, SGD, clip=0.5, dtype=torch.float64)
    training = Training(bench, Card(EVERY_NOISE, IMAGES), seed=1)
    training.run()
    found, expected = training.model.state_dict(), searched(bench, EVERY_NOISE, seed=1)
    torch.testing.assert_close(dict(found), expected, rtol=1e-9, atol=1e-12)


def test_normalised_inputs_give_the_numbers_of_raw_ones() -> None:
    bench = workbench("mlp", SGD, dtype=torch.float64)
    mean, std = bench.dataset.statistics.mean, bench.dataset.statistics.std
    raw = Training(bench, Card(EVERY_NOISE, IMAGES), seed=1)
    raw.run()
    other = Training(bench, Card(EVERY_NOISE, IMAGES), seed=1, normalize=(mean, std))
    other.model.normalise = nn.Identity()  # inputs are normalised already
    other.run(prepared=lambda inputs: (inputs - mean) / std)
    for one, same in zip(raw.model.parameters(), other.model.parameters(), strict=True):
        torch.testing.assert_close(one, same, rtol=1e-5, atol=1e-7)
