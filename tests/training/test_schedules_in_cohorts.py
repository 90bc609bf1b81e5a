"""Schedules in training: each kind in one cohort, and curves that are zero where they say so."""

from __future__ import annotations

import pytest
from training_examples import NO_NOISE, assert_same, bench, differing_keys, members, run

from noise_search.noises import NOISES
from noise_search.policy import Policy, Term
from noise_search.schedules import SCHEDULES, Gate, Numbers, Schedule
from noise_search.training import Resolved

modes = pytest.mark.parametrize("mode", ["fused", "looped"])
ZEROS = {
    "a table of zeros": Schedule("table", (("values", (0, 0, 0)),)),
    "knots that add nothing": Schedule("knots", (("values", (0, 0, 0)), ("monotone", "up"))),
    "a gate that is never on": Schedule("constant", every=Gate(4, 0)),
}


def every_noise(schedule: Schedule) -> Policy:
    """All noises at once at the upper end of their searched ranges."""
    return Policy(
        tuple(
            Term(site, name, noise.search[1], schedule=schedule)
            for site, noises in NOISES.items()
            for name, noise in noises.items()
        )
    )


def gaussian(schedule: Schedule) -> Policy:
    return Policy((Term("inputs", "gaussian", 0.4, schedule=schedule),))


def of_kind(kind: str) -> Schedule:
    lists = [name for name, one in SCHEDULES[kind].parameters.items() if isinstance(one, Numbers)]
    return Schedule(kind, tuple((name, (0.2, 0.9, 0.1, 1.0)) for name in lists), Gate(2, 0.7))


@modes
@pytest.mark.parametrize("zero", ZEROS.values(), ids=ZEROS)
def test_noise_that_is_scheduled_away_trains_bitwise_as_no_noise(zero: Schedule, mode: Resolved) -> None:
    results, states = run(bench("mlp", mode), members([every_noise(zero), NO_NOISE]))
    assert differing_keys(states[0], states[1]) == []
    assert results[0].scores == results[1].scores
    losses = [[row["train/loss"] for row in result.history] for result in results]
    assert losses[0] == losses[1]


@modes
def test_a_table_that_is_zero_at_first_trains_as_no_noise_until_it_is_not(mode: Resolved) -> None:
    workbench = bench("mlp", mode, epochs=4)  # 20 steps: progress passes 0.5 at the eleventh
    late = gaussian(Schedule("table", (("values", (0, 0, 1)),)))
    _, half = run(workbench, members([late, NO_NOISE]), stop=2)
    assert differing_keys(half[0], half[1]) == []
    _, whole = run(workbench, members([late, NO_NOISE]))
    assert "parameters/network.1.weight" in differing_keys(whole[0], whole[1])


@modes
def test_every_schedule_trains_the_same_in_a_cohort_as_alone(mode: Resolved) -> None:
    workbench = bench("mlp", mode)
    cohort = members([gaussian(of_kind(kind)) for kind in SCHEDULES])
    together = list(zip(*run(workbench, cohort), strict=True))
    for slot, member in enumerate(cohort):
        (alone,) = zip(*run(workbench, [member]), strict=True)
        assert_same(alone, together[slot])


@pytest.mark.parametrize("kind", SCHEDULES)
def test_the_history_shows_the_mean_of_the_curve_over_each_epoch(kind: str) -> None:
    workbench = bench("mlp")
    policy = gaussian(of_kind(kind))
    ((result,), _) = run(workbench, members([policy]))
    expected = policy.tabulate(10)["inputs.gaussian"].reshape(2, 5).mean(dim=1).tolist()
    assert [row["magnitude/inputs.gaussian"] for row in result.history] == pytest.approx(expected, rel=1e-6)
