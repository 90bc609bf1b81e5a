"""One member of a cohort of 16 diverges: the others end with the bits that they have beside one that does not."""

from __future__ import annotations

import math
from functools import cache

import pytest
from training_examples import States, assert_same, bench, fresh_states, members, policies, run, scaled

from noise_search.training import Resolved, Result

WIDTH = 16
COHORT = members(policies(WIDTH))

models = pytest.mark.parametrize("model", ["mlp", "cnn batch"])
modes = pytest.mark.parametrize("mode", ["fused", "looped"])


@cache
def calm(model: str, mode: Resolved) -> tuple[States, list[Result], States]:
    """States after the first epoch, and what the second ends with: a cohort in which nobody diverges."""
    workbench = bench(model, mode)
    _, between = run(workbench, COHORT, fresh_states(workbench, [0] * WIDTH), stop=1)
    return between, *run(workbench, COHORT, between, start=1)


def assert_only_one_differs(found: tuple[list[Result], States], model: str, mode: Resolved, slot: int) -> None:
    _, *expected = calm(model, mode)
    pairs, calm_pairs = (list(zip(*one, strict=True)) for one in (found, expected))
    assert not any(result.diverged for result, _ in calm_pairs)
    assert [result.diverged for result, _ in pairs] == [other == slot for other in range(WIDTH)]
    for other in range(WIDTH):
        if other != slot:
            assert_same(pairs[other], calm_pairs[other])


@models
@modes
def test_a_member_whose_weights_overflow_from_the_start_changes_no_bit_of_the_others(
    model: str, mode: Resolved
) -> None:
    workbench, slot = bench(model, mode), 6
    states = fresh_states(workbench, [0] * WIDTH)
    states[slot] = scaled(states[slot], 1e30)
    _, between = run(workbench, COHORT, states, stop=1)
    assert_only_one_differs(run(workbench, COHORT, between, start=1), model, mode, slot)


@models
@modes
def test_a_member_that_stops_being_finite_half_way_changes_no_bit_of_the_others(model: str, mode: Resolved) -> None:
    slot = 15
    states = list(calm(model, mode)[0])
    states[slot] = scaled(states[slot], math.inf)
    assert_only_one_differs(run(bench(model, mode), COHORT, states, start=1), model, mode, slot)
