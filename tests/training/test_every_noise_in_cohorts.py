"""Cohorts in which every trial has another noise: bitwise the same numbers wherever and beside whomever it trains."""

from __future__ import annotations

import math

import pytest
import torch
from training_examples import (
    NO_NOISE,
    SHIPPED,
    assert_same,
    bench,
    curve,
    differing_keys,
    fresh_states,
    members,
    run,
    scaled,
)

from noise_search.noises import NOISES
from noise_search.policy import Policy, Term
from noise_search.schedules import Schedule
from noise_search.seeds import stable_hash
from noise_search.training import Resolved

KEYS = [(site, name) for site, noises in NOISES.items() for name in noises]
models = pytest.mark.parametrize("model", SHIPPED)
modes = pytest.mark.parametrize("mode", ["fused", "looped"])
EVERY = pytest.mark.parametrize(("site", "noise"), KEYS, ids=[".".join(key) for key in KEYS])


def alone(site: str, noise: str, schedule: Schedule | None = None) -> Policy:
    """One noise at the upper end of its searched range, on a part of the samples where it can be."""
    entry = NOISES[site][noise]
    fraction = 0.7 if "fraction" in entry.knobs else 1.0
    level = "uniform" if "level" in entry.knobs else "fixed"
    return Policy((Term(site, noise, entry.search[1], fraction, level, schedule or curve("cosine", a=0.3, b=1.0)),))


MIXED = members([*(alone(*key) for key in KEYS), NO_NOISE, Policy(tuple(alone(*key).terms[0] for key in KEYS))])


@models
def test_fused_trials_with_a_noise_each_give_the_same_numbers_alone_and_in_any_slot_and_width(model: str) -> None:
    workbench = bench(model, epochs=1)
    together = list(zip(*run(workbench, MIXED), strict=True))
    shuffled = sorted(range(len(MIXED)), key=stable_hash)
    halves = [shuffled[: len(MIXED) // 2], shuffled[len(MIXED) // 2 :]]
    for order in (shuffled, *halves, *([slot] for slot in range(len(MIXED)))):
        again = zip(*run(workbench, [MIXED[slot] for slot in order]), strict=True)
        for slot, member in zip(order, again, strict=True):
            assert_same(member, together[slot])


@EVERY
@modes
def test_a_noise_changes_what_is_trained(site: str, noise: str, mode: Resolved) -> None:
    _, states = run(bench("mlp", mode, epochs=1), members([alone(site, noise), NO_NOISE]))
    assert "parameters/network.1.weight" in differing_keys(states[0], states[1])


@EVERY
@modes
def test_a_noise_that_starts_late_equals_no_noise_until_then(site: str, noise: str, mode: Resolved) -> None:
    workbench = bench("mlp", mode, epochs=4)  # 20 steps: progress reaches 0.5 at the eleventh
    late = alone(site, noise, curve("window", start=0.5, stop=1.0))
    results, states = run(workbench, members([late, NO_NOISE]), stop=2)
    assert differing_keys(states[0], states[1]) == []
    assert results[0].scores == results[1].scores
    _, whole = run(workbench, members([late, NO_NOISE]))
    assert "parameters/network.1.weight" in differing_keys(whole[0], whole[1])


@modes
def test_gradient_noise_wakes_no_member_that_diverged(mode: Resolved) -> None:
    workbench = bench("mlp", mode)
    noisy = alone("gradients", "gaussian")
    states = fresh_states(workbench, [0, 0])
    _, broken = run(workbench, members([noisy, noisy]), [scaled(states[0], math.nan), states[1]], stop=1)
    dead = {key: torch.nan_to_num(value, nan=0.5) if "param" in key else value for key, value in broken[0].items()}
    results, states = run(workbench, members([noisy, noisy]), [dead, broken[1]], start=1)
    assert [result.diverged for result in results] == [True, False]
    # Its gradients are zeros: no step of the optimiser, apart from weight decay, moves what it was.
    for key, value in dead.items():
        if key.startswith("parameters/"):
            assert bool((states[0][key].abs() <= value.abs()).all())
