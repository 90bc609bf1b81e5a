from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noise_search.errors import CallerError
from noise_search.search.fronts import FrontRow, pareto
from noise_search.search.pick import by_trial, pick_row, rule_named

GAUSSIAN: list[dict[str, object]] = [
    {"site": "inputs", "noise": "gaussian", "magnitude": 0.2, "fraction": 1.0, "level": "fixed",
     "schedule": {"kind": "constant"}}
]  # fmt: skip


def row(trial: int | None, clean: float, robust: float, *, on_front: bool = True, weight: float = 0.5) -> FrontRow:
    """A trial with these scores, or the no-noise control."""
    score = weight * clean + (1 - weight) * robust
    control = "no_noise" if trial is None else None
    return FrontRow(trial, control, clean, robust, robust, robust, score, on_front, GAUSSIAN)


ROWS = [
    row(3, 0.60, 0.90),
    row(1, 0.88, 0.80),
    row(7, 0.90, 0.60),
    row(0, 0.99, 0.99, on_front=False),
    row(None, 0.99, 0.99, on_front=False),
]


def test_best_is_the_highest_score_on_the_front() -> None:
    assert pick_row(ROWS, "best").trial == 1


def test_best_of_equal_scores_is_the_cleanest() -> None:
    assert pick_row([row(0, 0.5, 0.75), row(1, 0.75, 0.5)], "best").trial == 1


def test_the_most_robust_trial_that_is_clean_enough_is_picked() -> None:
    picked = [pick_row(ROWS, f"min-clean={bound}").trial for bound in ("0", "0.6", "0.61", "0.88", "0.9")]
    assert picked == [3, 3, 1, 1, 7]


@pytest.mark.parametrize("bound", ["nan", "1.01", "-0.1", "inf", "x", "0,5", "90%"])
def test_a_bound_that_is_no_share_is_refused(bound: str) -> None:
    with pytest.raises(CallerError, match=r"pick rule min-clean: expected a number in \[0, 1\], got '"):
        pick_row(ROWS, f"min-clean={bound}")


def test_a_bound_that_no_trial_meets_is_refused_with_the_best_there_is() -> None:
    with pytest.raises(
        CallerError,
        match=r"expected a bound that a trial on the front meets, got 0\.95; the highest clean is 0\.9000, of trial 7",
    ):
        pick_row(ROWS, "min-clean=0.95")


@pytest.mark.parametrize(
    ("rule", "near"),
    [
        ("bset", "best"),
        ("kne", "knee"),
        ("min-clean", "min-clean=X"),
        ("weight", "weight=W"),
        ("best=1", "best"),
        ("", None),
    ],
)
def test_an_unknown_rule_is_refused_with_the_nearest(rule: str, near: str | None) -> None:
    with pytest.raises(CallerError, match="pick rule: expected one of") as caught:
        pick_row(ROWS, rule)
    assert near is None or f"did you mean '{near}'?" in str(caught.value)


@pytest.mark.parametrize("rule", ["best", "knee", "min-clean=0", "max-drop=1", "weight=0"])
def test_without_a_trial_on_the_front_there_is_nothing_to_pick(rule: str) -> None:
    with pytest.raises(CallerError, match="expected a front with at least one complete trial, got none"):
        pick_row([row(None, 0.9, 0.9, on_front=False)], rule)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, unique=True))
def test_the_knee_is_the_trial_farthest_beyond_the_line_between_the_ends(points: list[tuple[float, float]]) -> None:
    front_points = sorted(pareto(points))
    rows = [row(number, *point) for number, point in enumerate(front_points)]
    picked = pick_row(rows, "knee")
    (low, top), (high, bottom) = front_points[0], front_points[-1]
    if low == high or top == bottom:
        assert picked == pick_row(rows, "best")
        return

    def beyond(one: FrontRow) -> float:
        x, y = (one.clean - low) / (high - low), (one.robust - bottom) / (top - bottom)
        return (x + y - 1) / math.sqrt(2)  # signed distance from the line through (0, 1) and (1, 0)

    assert beyond(picked) >= max(beyond(one) for one in rows) - 1e-12


def test_the_knee_of_a_bent_front_is_its_corner() -> None:
    assert pick_row(ROWS, "knee").trial == 1


def test_the_highest_score_among_those_that_lose_little_is_picked() -> None:
    drops = {3: -0.30, 1: 0.08, 7: 0.30}  # clean minus robust
    assert {one.trial: round(one.clean - one.robust, 2) for one in ROWS[:3]} == drops
    assert [pick_row(ROWS, f"max-drop={bound}").trial for bound in ("0", "0.07", "0.09", "1")] == [3, 3, 1, 1]


def test_a_drop_that_no_trial_keeps_to_is_refused_with_the_smallest_there_is() -> None:
    expected = r"got 0\.2; the smallest drop, clean minus robust, is 0\.3000, of trial 7"
    with pytest.raises(CallerError, match=expected):
        pick_row([ROWS[2]], "max-drop=0.2")


def test_a_weight_of_ones_own_takes_the_place_of_the_scores() -> None:
    picked = [pick_row(ROWS, f"weight={weight}").trial for weight in ("0", "0.2", "0.7", "1")]
    expected = [max(ROWS[:3], key=lambda one: w * one.clean + (1 - w) * one.robust).trial for w in (0, 0.2, 0.7, 1)]
    assert picked == expected == [3, 3, 1, 7]


def test_any_complete_trial_can_be_picked_by_its_number_and_a_control_cannot() -> None:
    assert pick_row(ROWS, "trial=0") == ROWS[3]
    with pytest.raises(
        CallerError, match=r"pick rule trial: expected a complete trial, got 2; complete are 3, 1, 7, 0$"
    ):
        pick_row(ROWS, "trial=2")
    with pytest.raises(CallerError, match="got 2; complete are none yet"):
        pick_row([ROWS[4]], "trial=2")
    with pytest.raises(CallerError, match=r"complete are 0, 1, .*11, \.\.\. 30 in all"):
        pick_row([row(number, 0.5, 0.5) for number in range(30)], "trial=99")


@pytest.mark.parametrize("rule", ["max-drop=x", "max-drop=-1", "weight=nan", "weight=1.5", "trial=-1", "trial=1.0"])
def test_a_bound_that_is_none_is_refused_by_the_name_of_its_rule(rule: str) -> None:
    name, _, bound = rule.partition("=")
    kind = r"the number of a trial" if name == "trial" else r"a number in \[0, 1\]"
    with pytest.raises(CallerError, match=f"pick rule {name}: expected {kind}, got '{bound}'"):
        rule_named(rule)


@pytest.mark.parametrize(("one", "other"), [("min-clean=0.9", "min-clean=.90"), ("trial=7", "trial=07")])
def test_one_rule_in_two_spellings_is_one_rule(one: str, other: str) -> None:
    assert rule_named(one) == rule_named(other)


def test_two_rules_that_pick_the_same_trial_are_one_entry() -> None:
    four, five = row(4, 0.9, 0.5), row(5, 0.8, 0.6)
    assert by_trial({"best": four, "knee": four}) == {"best and knee": four}
    assert by_trial({"best": four, "knee": five, "most robust": four}, joined=", ") == {
        "best, most robust": four,
        "knee": five,
    }


CONTROLS = [
    replace(row(None, 0.9, 0.9, on_front=False), control="constant_1"),
    replace(row(None, math.nan, math.nan, on_front=False), control="constant_2", state="infeasible"),
]


def test_a_control_is_picked_by_its_name() -> None:
    assert pick_row([*ROWS, *CONTROLS], "control=constant_1") is CONTROLS[0]
    assert rule_named("control=constant_1").text == "control=constant_1"


@pytest.mark.parametrize("name", ["constant_2", "random_1", "constant_"])
def test_a_control_that_is_not_there_or_not_complete_is_refused_with_those_that_are(name: str) -> None:
    with pytest.raises(CallerError, match=rf"pick rule control: expected one of \['constant_1'\], got '{name}'"):
        pick_row([*ROWS, *CONTROLS], f"control={name}")


def test_there_is_no_card_of_training_without_noise() -> None:
    with pytest.raises(CallerError, match="got 'no_noise'; that is training without any noise"):
        pick_row([*ROWS, *CONTROLS], "control=no_noise")
