from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noise_search.policy import Policy, Term
from noise_search.schedules import Schedule
from noise_search.search.stopping import (
    Standing,
    Verdict,
    crowding,
    exposures,
    front_ranks,
    is_protected,
    judge,
    ranked,
    rung_epochs,
    silent_steps,
)
from noise_search.spec import StoppingSpec

ONE, TWO = StoppingSpec("halving"), StoppingSpec("pareto_halving")
POINTS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=40)


def standings(*points: tuple[float, float]) -> list[Standing]:
    return [Standing(number, sum(point) / 2, point) for number, point in enumerate(points)]


def scored(*scores: float) -> list[Standing]:
    return standings(*((score, score) for score in scores))


def going(found: dict[int, Verdict] | object) -> set[int]:
    assert isinstance(found, dict)
    return {number for number, verdict in found.items() if verdict.goes_on}


def judged(given: list[Standing], spec: StoppingSpec, first: int | None = None) -> dict[int, Verdict]:
    return dict(judge(ranked(given, spec), spec, judged_first=len(given) if first is None else first))


def acting(start: float, stop: float = 1.0, magnitude: float = 0.1) -> Policy:
    window = Schedule("window", (("start", start), ("stop", stop)))
    return Policy((Term("inputs", "gaussian", magnitude, schedule=window),))


# --- rungs ---


@pytest.mark.parametrize(
    ("epochs", "factor", "rungs", "expected"),
    [(9, 3, 3, (1, 3, 9)), (30, 3, 3, (3, 10, 30)), (12, 2, 4, (2, 3, 6, 12)), (2, 3, 3, (1, 2)), (1, 3, 3, (1,))],
)
def test_each_rung_has_a_factor_of_the_epochs_of_the_one_before(
    epochs: int, factor: int, rungs: int, expected: tuple[int, ...]
) -> None:
    assert rung_epochs(StoppingSpec("halving", factor=factor, rungs=rungs), epochs) == expected


@pytest.mark.parametrize(
    ("epochs", "at", "expected"),
    [
        (9, (0.11, 0.33, 0.67), (1, 3, 6, 9)),
        (30, (0.67, 0.1), (3, 20, 30)),
        (2, (0.1, 0.3), (1, 2)),
        (3, (0.9,), (3,)),
    ],
)
def test_rungs_lie_at_the_given_shares_of_the_training(
    epochs: int, at: tuple[float, ...], expected: tuple[int, ...]
) -> None:
    assert rung_epochs(StoppingSpec("halving", at=at), epochs) == expected


@pytest.mark.parametrize(("factor", "go_on"), [(2.0, 10), (2.5, 8), (3.0, 6)])
def test_one_of_factor_goes_on(factor: float, go_on: int) -> None:
    found = judged(scored(*(n / 20 for n in range(20))), StoppingSpec("halving", factor=factor))
    assert going(found) == set(range(20 - go_on, 20))


def test_without_stopping_the_last_epoch_is_the_only_rung() -> None:
    assert rung_epochs(StoppingSpec("none"), 30) == (30,)


# --- ranks in two objectives ---


def _slow_ranks(points: list[tuple[float, float]]) -> list[int]:
    left, ranks, front = set(range(len(points))), [0] * len(points), 0
    while left:
        beaten = {
            k
            for k in left
            if any(
                points[j] != points[k] and points[j][0] >= points[k][0] and points[j][1] >= points[k][1] for j in left
            )
        }
        for k in left - beaten:
            ranks[k] = front
        left, front = beaten, front + 1
    return ranks


@given(POINTS)
def test_fronts_are_those_that_peeling_them_off_one_by_one_gives(points: list[tuple[float, float]]) -> None:
    assert front_ranks(np.array(points, dtype=float)) == _slow_ranks(points)


def test_room_on_a_front_is_the_distance_between_both_neighbours() -> None:
    points = np.array([(0.0, 1.0), (0.2, 0.9), (0.9, 0.4), (1.0, 0.0)])
    room = crowding(points, [0, 0, 0, 0])
    assert room[0] == room[3] == math.inf
    assert room[1] == pytest.approx(0.9 + 0.6)
    assert room[2] == pytest.approx(0.8 + 0.9)


# --- verdicts ---


def test_the_best_third_by_score_goes_on() -> None:
    found = judged(scored(0.1, 0.9, 0.5, 0.7, 0.3, 0.2, 0.4, 0.6, 0.8), ONE)
    assert going(found) == {1, 8, 3}
    assert found[2].reason == "place 5 of 9, of which 3 go on"


def test_of_equal_scores_the_earlier_trial_goes_on() -> None:
    assert going(judged(scored(*[0.5] * 6), ONE)) == {0, 1}


def test_a_front_goes_on_whole_however_large() -> None:
    front = [(0.1 * k, 1 - 0.1 * k) for k in range(5)]
    found = judged(standings(*front, (0.0, 0.1), (0.1, 0.0)), TWO)
    assert going(found) == {0, 1, 2, 3, 4}
    assert found[0].reason == "on the front"


def test_with_two_objectives_room_on_the_second_front_decides() -> None:
    first, second = [(1.0, 1.0)], [(0.9, 0.1), (0.5, 0.5), (0.45, 0.55), (0.1, 0.9)]
    found = judged(standings(*first, *second, (0.0, 0.0), (0.0, 0.0), (0.0, 0.0), (0.0, 0.0)), TWO)
    assert going(found) == {0, 1, 4}


def test_at_least_an_eighth_of_the_trials_train_to_the_end() -> None:
    last = scored(*[0.01 * k for k in range(27)])
    assert len(going(judged(last, ONE, first=81))) == 10  # a third of 27 would be 9 of 81


def test_a_trial_alone_goes_on() -> None:
    assert going(judged(scored(0.2), ONE)) == {0}


def test_an_overused_trial_does_not_go_on_and_the_next_one_does() -> None:
    given = scored(0.9, 0.8, 0.7, 0.6, 0.5, 0.4)
    given[1] = replace(given[1], overuse="clean accuracy 3.0 points under no noise")
    found = judged(given, ONE)
    assert going(found) == {0, 2}
    assert found[1].reason.startswith("overuse: clean accuracy 3.0 points under no noise, place 2 of 6")


def test_what_is_on_the_front_goes_on_although_it_is_overused() -> None:
    given = standings((0.2, 0.9), (0.9, 0.2), (0.1, 0.1), (0.1, 0.0), (0.0, 0.1), (0.0, 0.0))
    given[0] = replace(given[0], overuse="loss has risen")
    assert 0 in going(judged(given, TWO))


def test_with_two_objectives_an_overused_trial_comes_after_the_others_of_its_own_front() -> None:
    front, second = [(0.5, 0.9), (0.9, 0.5)], [(0.3, 0.45), (0.4, 0.4), (0.45, 0.3)]  # the ends have most room
    given = standings(*front, *second, *[(0.1, 0.1 - n / 100) for n in range(4)])
    assert going(judged(given, TWO)) == {0, 1, 2}
    given[2] = replace(given[2], overuse="clean accuracy 3.0 points under no noise")
    found = judged(given, TWO)
    assert going(found) == {0, 1, 4}
    assert found[2].reason.startswith("overuse: clean accuracy 3.0 points under no noise, place 5 of 9")
    assert 2 in going(judged(given, replace(TWO, factor=1.5)))


def over_limits(given: list[Standing], over: dict[int, float]) -> list[Standing]:
    return [replace(one, over=over.get(one.number, 0.0)) for one in given]


@pytest.mark.parametrize("spec", [ONE, TWO], ids=["one", "two"])
def test_those_over_a_limit_come_after_all_that_keep_to_it_by_how_far_over(spec: StoppingSpec) -> None:
    given = over_limits(scored(0.9, 0.8, 0.7, 0.3, 0.2, 0.1), {0: 0.02, 1: 0.01, 2: 0.03})
    found = judged(given, spec)
    assert sorted(found, key=lambda number: found[number].place) == [3, 4, 5, 1, 0, 2]
    assert going(found) == {3, 4}
    assert found[3].reason == "on the front"
    assert found[0].reason == "constraint: over by 0.020, place 5 of 6, of which 2 go on"


@pytest.mark.parametrize("spec", [ONE, TWO], ids=["one", "two"])
def test_where_all_are_over_a_limit_none_is_on_the_front_and_the_least_over_go_on(spec: StoppingSpec) -> None:
    found = judged(over_limits(scored(0.9, 0.8, 0.7), {0: 0.3, 1: 0.2, 2: 0.1}), spec)
    assert going(found) == {2}
    assert all(verdict.reason.startswith("constraint: ") for verdict in found.values())


@given(POINTS, st.lists(st.integers(0, 2), min_size=40, max_size=40))
def test_with_limits_the_front_is_that_of_those_that_keep_to_them(
    points: list[tuple[float, float]], over: list[int]
) -> None:
    given = over_limits(standings(*points), dict(enumerate(over)))
    within = [one for one in given if over[one.number] == 0]
    ranks = _slow_ranks([one.point for one in within])
    front = {number for number, verdict in judged(given, TWO).items() if verdict.reason == "on the front"}
    assert front == {one.number for one, rank in zip(within, ranks, strict=True) if rank == 0}


def test_a_diverged_trial_neither_goes_on_nor_counts() -> None:
    given = scored(0.9, 0.8, 0.7, 0.6, 0.5, 0.4)
    given[0] = replace(given[0], diverged=True)
    found = judged(given, ONE, first=1)
    assert going(found) == {1}
    assert found[0].reason == "diverged"
    assert found[2].reason == "place 2 of 5, of which 1 go on"


def test_a_protected_trial_goes_on_and_does_not_count() -> None:
    given = scored(0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)
    given[6] = replace(given[6], protected=True)
    found = judged(given, ONE)
    assert going(found) == {0, 1, 6}
    assert found[1].reason == "place 2 of 6, of which 2 go on"


def test_a_quarter_of_the_trials_at_a_rung_is_protected_at_most() -> None:
    given = [replace(one, protected=True) for one in scored(*[0.1] * 4, *[0.9] * 4)]
    found = judged(given, ONE, first=0)
    protected = {number for number, verdict in found.items() if verdict.reason.startswith("protected")}
    assert protected == {0, 1}
    assert going(found) == {0, 1, 4, 5}


# --- exposure ---


def test_exposure_is_the_share_of_the_noise_that_has_acted() -> None:
    assert exposures(acting(0.0).tabulate(100), [10, 50, 100]) == pytest.approx((0.1, 0.5, 1.0))
    assert exposures(acting(0.5).tabulate(100), [10, 50, 100])[:1] == (0.0,)


def test_of_several_terms_the_one_that_has_acted_most_counts() -> None:
    both = Policy((*acting(0.0).terms, Term("weights", "relative", 0.1, schedule=acting(0.5).terms[0].schedule)))
    assert exposures(both.tabulate(100), [20]) == pytest.approx((0.2,))


def test_without_any_noise_there_is_nothing_to_wait_for() -> None:
    assert exposures(Policy().tabulate(100), [1]) == (1.0,)
    assert exposures(acting(0.0, magnitude=0.0).tabulate(100), [1]) == (1.0,)


def test_noise_that_begins_late_is_silent_until_then() -> None:
    assert silent_steps(acting(0.5).tabulate(101), 101) == 50
    assert silent_steps(acting(0.0).tabulate(101), 101) == 0
    assert silent_steps(Policy().tabulate(101), 101) == 101


@pytest.mark.parametrize(
    ("exposure", "expected"),
    [
        ((0.05, 0.4, 1.0), True),
        ((0.15, 0.4, 1.0), False),
        ((0.0, 0.05, 1.0), False),  # no rung would be left that judges it
        ((0.0, 1.0), False),
    ],
)
def test_little_noise_so_far_protects_if_a_later_rung_can_judge(exposure: tuple[float, ...], expected: bool) -> None:
    assert is_protected(exposure, 0) is expected
