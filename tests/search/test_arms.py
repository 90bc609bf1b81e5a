"""The winner's noise otherwise distributed in time."""

from __future__ import annotations

import math

import pytest
import torch

from noise_search.policy import Policy, Term
from noise_search.schedules import Gate, Schedule
from noise_search.search.arms import AT_MEAN, AT_RMS, REVERSED, SHUFFLED, has_schedule, ordering_arms

EPOCHS, STEPS = 6, 30
RISING = Schedule("linear", (("a", 0.0), ("b", 1.0), ("start", 0.0), ("stop", 1.0)))
GATED = Schedule("constant", every=Gate(cycles=3, on=0.5))
WINNER = Policy(
    (Term("inputs", "gaussian", 0.3, 0.6, "uniform", RISING), Term("weights", "relative", 0.1, schedule=GATED))
)


def arms(seed: int = 0) -> dict[str, Policy]:
    return ordering_arms(WINNER, steps=STEPS, epochs=EPOCHS, seed=seed)


def close(one: torch.Tensor, other: torch.Tensor) -> bool:
    return torch.allclose(one, other, rtol=0, atol=1e-12)


def test_a_policy_without_a_schedule_has_none_to_test() -> None:
    constant = Policy((Term("inputs", "gaussian", 0.3),))
    assert not has_schedule(constant, STEPS)
    assert ordering_arms(constant, steps=STEPS, epochs=EPOCHS, seed=0) == {}
    assert ordering_arms(Policy(), steps=STEPS, epochs=EPOCHS, seed=0) == {}


def test_a_gate_alone_is_a_schedule() -> None:
    assert has_schedule(Policy((WINNER.terms[1],)), STEPS)


def test_reversed_is_the_winner_read_from_its_end() -> None:
    found, before = arms()[REVERSED].tabulate(STEPS), WINNER.tabulate(STEPS)
    assert found.keys() == before.keys()
    assert all(close(found[key], before[key].flip(0)) for key in before)


def test_shuffled_has_the_epochs_of_the_winner_in_one_order_for_all_terms() -> None:
    found, before = arms()[SHUFFLED].tabulate(STEPS), WINNER.tabulate(STEPS)
    rows = {key: table.view(EPOCHS, -1) for key, table in before.items()}
    # The rising term tells which epoch went where; the other has to follow.
    order = [
        next(old for old in range(EPOCHS) if close(row, rows["inputs.gaussian"][old]))
        for row in found["inputs.gaussian"].view(EPOCHS, -1)
    ]
    assert sorted(order) == list(range(EPOCHS))
    assert close(found["weights.relative"].view(EPOCHS, -1), rows["weights.relative"][order])


def test_every_seed_is_shuffled_in_its_own_way_and_always_in_that() -> None:
    assert arms(0)[SHUFFLED] == arms(0)[SHUFFLED]
    assert len({arms(seed)[SHUFFLED] for seed in range(5)}) == 5


@pytest.mark.parametrize(("arm", "level"), [(AT_MEAN, 0.15), (AT_RMS, 0.3 * math.sqrt(59 / 174))])
def test_constant_arms_have_the_mean_or_the_root_mean_square_of_a_line(arm: str, level: float) -> None:
    # Squares of a line through n points from 0 to 1 have the mean (2 n - 1) / (6 (n - 1)); here n is 30.
    terms = {term.key: term for term in arms()[arm].terms}
    assert not has_schedule(arms()[arm], STEPS)
    assert terms["inputs.gaussian"].magnitude == pytest.approx(level, abs=1e-12)
    assert (terms["inputs.gaussian"].fraction, terms["inputs.gaussian"].level) == (0.6, "uniform")


def test_a_term_without_magnitude_stays_without() -> None:
    policy = Policy((Term("inputs", "gaussian", 0.0, schedule=RISING), WINNER.terms[1]))
    for arm in ordering_arms(policy, steps=STEPS, epochs=EPOCHS, seed=0).values():
        assert not arm.tabulate(STEPS)["inputs.gaussian"].any()
