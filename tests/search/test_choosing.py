"""Who races in stage 1 of a confirmation, who drops out, who wins."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import sweep_examples
from scipy import stats

from noise_search.errors import CallerError
from noise_search.policy import Policy, Term, policy_to_list
from noise_search.search.choosing import CONSTANT, FRONT, RANDOM, candidates, choose, still_racing
from noise_search.search.fronts import FrontRow
from noise_search.store import Confirmed


def row(trial: int, clean: float, robust: float, *, on_front: bool = True) -> FrontRow:
    policy = policy_to_list(Policy((Term("inputs", "gaussian", 0.1 * (1 + trial % 5)),)))
    return FrontRow(trial, None, clean, robust, robust, robust, (clean + robust) / 2, on_front, policy)


def training(arm: str, seed: int, clean: float, robust: float) -> Confirmed:
    scores = {"clean": clean, "robust": robust, "worst_family": robust, "score": (clean + robust) / 2}
    return Confirmed("choose", arm, seed, [], scores, {}, "", {}, diverged=False)


def test_the_best_of_both_fronts_race_and_random_policies_beside_them() -> None:
    front = [row(3, 0.9, 0.5), row(1, 0.8, 0.8), row(2, 0.7, 0.85), row(9, 0.99, 0.99, on_front=False)]
    constants = [row(4, 0.9, 0.4), row(5, 0.6, 0.6)]
    found = candidates(front, constants, sweep_examples.spec().space, top=2, randoms=3, seed=7)
    drawn = [f"random {number}" for number in (1, 2, 3)]
    assert [one.name for one in found] == ["trial 1", "trial 2", "constant 4", "constant 5", *drawn]
    assert [one.group for one in found] == [FRONT, FRONT, CONSTANT, CONSTANT, RANDOM, RANDOM, RANDOM]


def test_a_control_that_a_rule_names_races_by_its_name_and_wins_by_it() -> None:
    control = replace(row(0, 0.9, 0.5), trial=None, control="constant_1")
    (first, *_) = candidates([control], [], sweep_examples.spec().space, top=1, randoms=1, seed=7)
    assert (first.group, first.name) == (FRONT, "control constant_1")
    found = {first.name: [training(first.name, seed, 0.6, 0.4) for seed in (1, 2)]}
    assert choose([control], found, "control=constant_1") == first.name


def test_random_policies_depend_on_the_seed_alone() -> None:
    def drawn(seed: int) -> list[Policy]:
        found = candidates([row(0, 0.9, 0.5)], [], sweep_examples.spec().space, top=1, randoms=3, seed=seed)
        return [one.policy for one in found if one.group == RANDOM]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


def test_an_empty_front_is_refused() -> None:
    with pytest.raises(CallerError, match="expected a front with at least one complete trial, got none"):
        candidates([row(0, 0.9, 0.5, on_front=False)], [], sweep_examples.spec().space, top=1, randoms=1, seed=0)


def by_least_significant_difference(scores: Any) -> list[bool]:
    """The leader against everybody by the residual of a two-way analysis of variance, summed cell by cell."""
    arms, seeds = scores.shape
    residual = sum(
        (scores[i, j] - scores[i].mean() - scores[:, j].mean() + scores.mean()) ** 2
        for i in range(arms)
        for j in range(seeds)
    )
    df = (arms - 1) * (seeds - 1)
    reach = stats.t.ppf(0.975, df) * (2 * residual / df / seeds) ** 0.5
    best = max(scores[i].mean() for i in range(arms))
    return [best - scores[i].mean() <= reach for i in range(arms)]


@pytest.mark.parametrize("shape", [(2, 2), (4, 2), (4, 3), (8, 5)])
def test_who_is_behind_the_leader_for_certain_drops_out(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        scores = rng.normal(size=(shape[0], 1)) + rng.normal(size=(1, shape[1])) + 0.4 * rng.normal(size=shape)
        assert still_racing(scores) == by_least_significant_difference(scores)


def test_the_best_never_drops_out_and_rarely_one_as_good() -> None:
    rng = np.random.default_rng(1)
    lost = 0
    for _ in range(2000):
        scores = rng.normal(size=(2, 3))
        racing = still_racing(scores)
        assert racing[int(scores.mean(axis=1).argmax())]
        lost += not all(racing)
    assert lost / 2000 == pytest.approx(0.05, abs=0.015)  # three standard errors of a share of 2,000


@pytest.mark.parametrize("shape", [(1, 3), (3, 1)])
def test_without_another_arm_or_a_second_seed_nobody_drops_out(shape: tuple[int, int]) -> None:
    assert still_racing(np.arange(3.0).reshape(shape)) == [True] * shape[0]


def test_the_winner_is_picked_by_means_over_fresh_seeds_and_not_by_what_was_searched() -> None:
    front = [row(1, 0.9, 0.9), row(2, 0.5, 0.5)]
    found = {
        "trial 1": [training("trial 1", seed, 0.6, 0.4) for seed in (1, 2)],
        "trial 2": [training("trial 2", seed, 0.8, robust) for seed, robust in ((1, 0.3), (2, 0.5))],
    }
    assert choose(front, found, "best") == "trial 2"
    assert choose(front, found, "min-clean=0.7") == "trial 2"
    assert choose([replace(one, on_front=False) for one in front], found, "best") == "trial 2"


def test_a_rule_that_nobody_meets_on_fresh_seeds_is_refused() -> None:
    found = {"trial 1": [training("trial 1", seed, 0.6, 0.4) for seed in (1, 2)]}
    expected = r"expected a bound that a trial on the front meets, got 0\.7; the highest clean is 0\.6000, of trial 1"
    with pytest.raises(CallerError, match=expected):
        choose([row(1, 0.9, 0.9)], found, "min-clean=0.7")
