"""Trainings drawn item by item, against the numbers that they are said to have in the mean."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from noise_search.config.held_out import held_out_suite
from noise_search.corruptions.suites import families
from noise_search.execute.simulated_items import Effect, ItemsExecutor, World, robust_accuracy
from noise_search.metrics import counts_unpacked, unpacked
from noise_search.policy import Policy, Term
from noise_search.training import Job, Member, Result

SUITE = held_out_suite("digits", "images")
NO_NOISE, NOISE = Policy(), Policy((Term("inputs", "gaussian", 0.2),))
EPOCHS, SAMPLES = 3, 200


def world(*, seed: int = 0, seed_sd: float = 0.03, robust: float = 0.0, clean: float = 0.0) -> World:
    effect = Effect(robust, clean)
    return World(seed, 0.95, seed_sd, effect=lambda policy: effect if policy.terms else Effect())


def train(of: World, *members: tuple[Policy, int], split: str = "test", samples: int = SAMPLES) -> list[Result]:
    slots = tuple(Member(str(slot), policy, seed) for slot, (policy, seed) in enumerate(members))
    executor = ItemsExecutor(of, SUITE, split=split, samples=samples)
    return executor.run(Job(slots, 0, EPOCHS, hits=True), lambda _: None)


def robust(found: list[Result]) -> NDArray[np.float64]:
    return np.array([one.scores["robust"] for one in found])


def correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return float(((one - one.mean()) * (other - other.mean())).mean() / (one.std() * other.std()))


def test_hits_and_right_answers_are_the_accuracies_counted_by_sample() -> None:
    (found,) = train(world(), (NOISE, 1))
    assert unpacked(found.correct[EPOCHS])[:SAMPLES].mean() == pytest.approx(found.cells["clean"][0])
    for family, kinds in families(SUITE).items():
        counts = counts_unpacked(found.hits[family])
        assert len(counts) == SAMPLES
        assert counts.sum() == pytest.approx(SAMPLES * sum(sum(found.cells[kind]) for kind in kinds))


def test_a_training_gives_the_same_whatever_trains_beside_it_and_another_with_another_seed() -> None:
    together = train(world(), (NO_NOISE, 1), (NOISE, 1), (NOISE, 2))
    (alone,) = train(world(), (NOISE, 1))
    assert together[1].hits == alone.hits
    assert together[2].hits != alone.hits
    assert train(world(seed=1), (NOISE, 1))[0].hits != alone.hits


def test_without_an_effect_accuracy_is_the_same_for_every_policy_and_varies_between_seeds_as_it_is_said_to() -> None:
    of, seeds = world(), range(400)
    both = [robust(train(of, *((policy, seed) for seed in seeds), samples=2_000)) for policy in (NO_NOISE, NOISE)]
    for own in both:
        assert own.std(ddof=1) == pytest.approx(of.seed_sd, rel=0.15)
    difference = both[0] - both[1]
    # What a policy does to 2,000 items adds about 0.3 points, which no number of seeds takes away.
    assert abs(difference.mean()) < 4 * difference.std(ddof=1) / np.sqrt(len(seeds)) + 4 * 0.003
    assert correlation(*both) == pytest.approx(0.3, abs=0.2)


def test_an_effect_is_added_to_what_it_is_an_effect_on() -> None:
    gains = []
    for seed in range(60):
        one, other = train(world(seed=seed, seed_sd=0.01, robust=0.04, clean=-0.02), (NOISE, 0), (NO_NOISE, 0))
        gains.append([one.scores[key] - other.scores[key] for key in ("robust", "clean")])
    mean, error = np.mean(gains, axis=0), np.std(gains, axis=0, ddof=1) / np.sqrt(len(gains))
    assert np.all(np.abs(mean - [0.04, -0.02]) < 4 * error)
    assert np.all(np.abs(mean) > 4 * error)


def test_splits_have_other_items_and_the_same_models() -> None:
    of, seeds = world(), range(200)
    test, validation = (robust(train(of, *((NOISE, s) for s in seeds), split=name)) for name in ("test", "validation"))
    assert correlation(test, validation) > 0.5
    assert not np.array_equal(test, validation)


def test_robust_accuracy_is_what_large_suites_find() -> None:
    of = world(seed_sd=1e-9)
    (found,) = train(of, (NO_NOISE, 0), samples=200_000)
    assert found.scores["robust"] == pytest.approx(float(robust_accuracy(of, np.zeros(1))[0]), abs=0.005)


def test_some_items_are_harder_than_others_in_every_training() -> None:
    found = train(world(), *((NO_NOISE, seed) for seed in range(40)))
    right = np.array([unpacked(one.correct[EPOCHS])[:SAMPLES] for one in found])
    accuracy = right.mean()
    assert right.mean(axis=0).var() > 4 * accuracy * (1 - accuracy) / len(found)  # were all items alike
