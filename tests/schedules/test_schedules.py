from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from policy_strategies import schedules

from noise_search.errors import CallerError
from noise_search.schedules import SCHEDULES, Schedule, progress, schedule_mistakes

Values = Mapping[str, float]
STEPS = st.integers(1, 500)
KINDS = pytest.mark.parametrize("kind", SCHEDULES)


def of_kind(kind: str) -> st.SearchStrategy[Schedule]:
    return schedules((kind,))


def ramp(t: float, of: Values) -> float:
    return min(max((t - of["start"]) / (of["stop"] - of["start"]), 0.0), 1.0)


# Each curve at one moment, in plain Python. A schedule added to the registry needs its line here.
CLOSED_FORMS: dict[str, Callable[[float, Values], float]] = {
    "constant": lambda t, of: 1.0,  # noqa: ARG005
    "linear": lambda t, of: of["a"] * (1 - ramp(t, of)) + of["b"] * ramp(t, of),
    "cosine": lambda t, of: (of["a"] + of["b"]) / 2 + (of["a"] - of["b"]) / 2 * math.cos(math.pi * ramp(t, of)),
    "window": lambda t, of: float(of["start"] <= t <= of["stop"]),
}

# (kind, parameters, factors at 5 steps: progress 0, 1/4, 1/2, 3/4, 1)
AT_FIVE_STEPS: list[tuple[str, Values, list[float]]] = [
    ("constant", {}, [1, 1, 1, 1, 1]),
    ("linear", {}, [0, 0.25, 0.5, 0.75, 1]),
    ("linear", {"a": 1, "b": 0.2}, [1, 0.8, 0.6, 0.4, 0.2]),
    ("linear", {"start": 0.25, "stop": 0.75}, [0, 0, 0.5, 1, 1]),
    ("linear", {"a": 0.3, "b": 0.3}, [0.3] * 5),
    ("cosine", {}, [0, 0.5 - math.sqrt(0.125), 0.5, 0.5 + math.sqrt(0.125), 1]),
    ("cosine", {"a": 1, "b": 0, "start": 0.5}, [1, 1, 1, 0.5, 0]),
    ("window", {}, [1, 1, 1, 1, 1]),
    ("window", {"start": 0.25, "stop": 0.5}, [0, 1, 1, 0, 0]),
    ("window", {"start": 0.75}, [0, 0, 0, 1, 1]),
]


def test_every_schedule_has_a_closed_form_to_be_compared_with() -> None:
    assert sorted(CLOSED_FORMS) == sorted(SCHEDULES)
    assert {kind for kind, *_ in AT_FIVE_STEPS} == set(SCHEDULES)


@KINDS
@given(data=st.data(), steps=STEPS)
def test_factors_lie_in_the_unit_range_at_every_step(kind: str, data: st.DataObject, steps: int) -> None:
    factors = data.draw(of_kind(kind)).factors(steps)
    assert (factors.shape, factors.dtype) == ((steps,), torch.float64)
    assert bool(((factors >= 0) & (factors <= 1)).all())


@KINDS
@given(data=st.data(), steps=STEPS)
def test_factors_follow_the_closed_form(kind: str, data: st.DataObject, steps: int) -> None:
    schedule = data.draw(of_kind(kind))
    moments = [step / max(steps - 1, 1) for step in range(steps)]
    expected = [CLOSED_FORMS[kind](t, dict(schedule.parameters)) for t in moments]
    np.testing.assert_allclose(schedule.factors(steps).numpy(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("kind", "values", "expected"), AT_FIVE_STEPS)
def test_factors_at_five_steps_are_those_of_the_formula(kind: str, values: Values, expected: list[float]) -> None:
    factors = Schedule(kind, tuple(values.items())).factors(5)
    np.testing.assert_allclose(factors.numpy(), expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize("kind", ["linear", "cosine"])
@given(a=st.floats(0, 1), b=st.floats(0, 1), steps=st.integers(2, 500))
def test_a_ramp_over_all_of_training_begins_at_a_and_ends_at_b(kind: str, a: float, b: float, steps: int) -> None:
    factors = Schedule(kind, (("a", a), ("b", b))).factors(steps)
    assert factors[0] == a
    assert float(factors[-1]) == pytest.approx(b, abs=1e-15)


@pytest.mark.parametrize("kind", ["linear", "cosine"])
@given(data=st.data())
def test_a_ramp_is_flat_outside_its_window_and_goes_one_way_inside(kind: str, data: st.DataObject) -> None:
    schedule = data.draw(of_kind(kind))
    of, factors, moments = dict(schedule.parameters), schedule.factors(101), progress(101)
    assert bool((factors[moments <= of["start"]] == of["a"]).all())
    after = factors[moments >= of["stop"]]
    torch.testing.assert_close(after, torch.full_like(after, of["b"]), rtol=0, atol=1e-15)
    steps = factors.diff() * (1 if of["b"] >= of["a"] else -1)
    assert bool((steps >= -1e-15).all())


@given(STEPS)
def test_progress_runs_from_exactly_0_to_exactly_1_in_equal_steps(steps: int) -> None:
    np.testing.assert_array_equal(progress(steps).numpy(), np.arange(steps) / max(steps - 1, 1))


def test_the_only_step_of_a_training_of_one_step_is_its_beginning() -> None:
    assert progress(1).tolist() == [0.0]
    assert Schedule("window", (("start", 0.5),)).factors(1).tolist() == [0.0]


@KINDS
@given(data=st.data(), steps=st.integers(2, 60), finer=st.integers(2, 8))
def test_a_finer_table_agrees_on_the_shared_moments(kind: str, data: st.DataObject, steps: int, finer: int) -> None:
    schedule = data.draw(of_kind(kind))
    coarse, fine = schedule.factors(steps), schedule.factors(finer * (steps - 1) + 1)
    torch.testing.assert_close(fine[::finer], coarse, rtol=0, atol=1e-12)


@given(st.lists(schedules(), min_size=1, max_size=4), STEPS)
def test_a_table_does_not_depend_on_the_tables_made_before_it(made: list[Schedule], steps: int) -> None:
    together = [schedule.factors(steps) for schedule in made]
    alone = [schedule.factors(steps) for schedule in reversed(made)]
    assert all(torch.equal(first, second) for first, second in zip(together, reversed(alone), strict=True))


@KINDS
def test_the_defaults_and_searched_ranges_of_a_schedule_make_valid_schedules(kind: str) -> None:
    Schedule(kind)
    ranges = {name: of.search for name, of in SCHEDULES[kind].parameters.items() if of.search}
    for end in (0, 1):
        Schedule(kind, tuple((name, ends[end]) for name, ends in ranges.items()))


@KINDS
def test_whatever_is_searched_keeps_the_order_of_parameters(kind: str) -> None:
    curve = SCHEDULES[kind]
    if curve.increasing:
        first, second = (curve.parameters[name] for name in curve.increasing)
        assert (first.search or (0, first.default))[1] < (second.search or (second.default, 1))[0]


@given(schedules())
def test_equal_schedules_are_equal_however_their_parameters_were_ordered(schedule: Schedule) -> None:
    again = Schedule(schedule.kind, tuple(reversed(schedule.parameters)))
    assert again == schedule
    assert hash(again) == hash(schedule)


def test_missing_parameters_take_the_curves_defaults() -> None:
    assert Schedule("linear", (("stop", 0.5),)).parameters == (("a", 0.0), ("b", 1.0), ("start", 0.0), ("stop", 0.5))


def test_a_schedule_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        Schedule().kind = "linear"  # type: ignore[misc]


FRACTION = "expected a number in [0, 1], got"
BAD: list[tuple[object, dict[str, Any], list[str]]] = [
    (
        "liner",
        {},
        ["here.kind: expected one of ['constant', 'cosine', 'linear', 'window'], got 'liner'; did you mean 'linear'?"],
    ),
    (None, {}, ["here.kind: expected one of ['constant', 'cosine', 'linear', 'window'], got None"]),
    (["linear"], {}, ["here.kind: expected one of ['constant', 'cosine', 'linear', 'window'], got ['linear']"]),
    ("constant", {"a": 0.5}, ["here.constant: expected one of [], got 'a'"]),
    ("window", {"stp": 1.0}, ["here.window: expected one of ['start', 'stop'], got 'stp'; did you mean 'stop'?"]),
    ("linear", {"a": 1.5}, [f"here.a: {FRACTION} 1.5"]),
    ("linear", {"a": -0.1, "b": "1"}, [f"here.a: {FRACTION} -0.1", f"here.b: {FRACTION} '1'"]),
    ("linear", {"a": math.nan}, [f"here.a: {FRACTION} nan"]),
    ("linear", {"a": math.inf}, [f"here.a: {FRACTION} inf"]),
    ("linear", {"a": True}, [f"here.a: {FRACTION} True"]),
    ("linear", {"a": None}, [f"here.a: {FRACTION} None"]),
    ("linear", {"a": 10**400}, [f"here.a: {FRACTION} {10**400}"]),
    ("linear", {"start": 0.5, "stop": 0.5}, ["here: expected start < stop, got start=0.5, stop=0.5"]),
    ("cosine", {"start": 1.0}, ["here: expected start < stop, got start=1.0, stop=1.0"]),
    ("window", {"stop": 0}, ["here: expected start < stop, got start=0.0, stop=0"]),
]


@pytest.mark.parametrize(("kind", "values", "expected"), BAD)
def test_a_wrong_schedule_is_told_everything_that_is_wrong(
    kind: object, values: dict[str, Any], expected: list[str]
) -> None:
    assert schedule_mistakes("here", kind, values) == expected


def test_a_wrong_schedule_cannot_be_made() -> None:
    with pytest.raises(CallerError, match=r"^schedule\.a: expected a number in \[0, 1\], got 2$"):
        Schedule("linear", (("a", 2),))


def test_a_parameter_given_twice_is_refused() -> None:
    with pytest.raises(CallerError, match=r"^schedule: expected each parameter once, got a twice$"):
        Schedule("linear", (("a", 0.2), ("a", 0.4)))
