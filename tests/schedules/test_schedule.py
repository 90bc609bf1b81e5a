from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from policy_strategies import schedules

from noise_search.errors import CallerError
from noise_search.schedules import SCHEDULES, Gate, Number, Numbers, Schedule, Word

KINDS = pytest.mark.parametrize("kind", SCHEDULES)


@KINDS
def test_the_defaults_and_searched_ranges_of_a_schedule_make_valid_schedules(kind: str) -> None:
    parameters = SCHEDULES[kind].parameters
    given_always = {name: (0.5,) * one.shortest for name, one in parameters.items() if isinstance(one, Numbers)}
    Schedule(kind, tuple(given_always.items()))
    ranges = {name: one.search for name, one in parameters.items() if isinstance(one, Number) and one.search}
    for end in (0, 1):
        Schedule(kind, (*given_always.items(), *((name, ends[end]) for name, ends in ranges.items())))


@KINDS
def test_every_word_of_a_schedule_makes_a_curve_of_its_own(kind: str) -> None:
    parameters = SCHEDULES[kind].parameters
    lists = tuple((name, (0.1, 0.2, 0.9)) for name, one in parameters.items() if isinstance(one, Numbers))
    for name, one in parameters.items():
        if isinstance(one, Word):
            curves = {tuple(Schedule(kind, ((name, word), *lists)).factors(9).tolist()) for word in one.choices}
            assert len(curves) == len(one.choices)


@KINDS
def test_whatever_is_searched_keeps_the_order_of_parameters(kind: str) -> None:
    curve = SCHEDULES[kind]
    if curve.increasing:
        first, second = (curve.parameters[name] for name in curve.increasing)
        assert isinstance(first, Number)
        assert isinstance(second, Number)
        assert (first.search or (0, first.default))[1] < (second.search or (second.default, 1))[0]


@KINDS
def test_what_is_searched_is_allowed_and_so_is_the_default(kind: str) -> None:
    for one in SCHEDULES[kind].parameters.values():
        if isinstance(one, Number):
            assert all(one.low <= end <= one.high for end in (one.default, *(one.search or ())))
        if isinstance(one, Word):
            assert one.default in one.choices


@given(schedules())
def test_equal_schedules_are_equal_however_their_parameters_were_ordered(schedule: Schedule) -> None:
    again = Schedule(schedule.kind, tuple(reversed(schedule.parameters)), schedule.every)
    assert again == schedule
    assert hash(again) == hash(schedule)


@pytest.mark.parametrize(
    ("kind", "given_values", "expected"),
    [
        ("linear", {"stop": 0.5}, {"a": 0.0, "b": 1.0, "start": 0.0, "stop": 0.5}),
        ("power", {"direction": "down"}, {"direction": "down", "q": 1.0}),
        ("knots", {"values": (0, 1, 0)}, {"monotone": "free", "values": (0.0, 1.0, 0.0)}),
    ],
)
def test_missing_parameters_take_the_curves_defaults(kind: str, given_values: Any, expected: Any) -> None:
    assert dict(Schedule(kind, tuple(given_values.items())).parameters) == expected


def test_values_are_kept_as_plain_numbers_of_their_kind_so_that_equal_ones_are_equal() -> None:
    assert Schedule("steps", (("k", 3.0),)) == Schedule("steps", (("k", 3),))
    assert type(dict(Schedule("steps", (("k", 3.0),)).parameters)["k"]) is int
    assert type(dict(Schedule("power", (("q", np.float64(2)),)).parameters)["q"]) is float
    listed: Any = [0, np.float64(1)]
    (_, values), *_ = Schedule("table", (("values", listed),)).parameters
    assert isinstance(values, tuple)
    assert [type(value) for value in values] == [float, float]


def test_another_gate_makes_another_schedule() -> None:
    made = {Schedule(every=gate) for gate in (None, Gate(4, 0.5), Gate(4, 0.25), Gate(2, 0.5), Gate(2, 0.5))}
    assert len(made) == 4


def test_a_schedule_and_a_gate_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        Schedule().kind = "linear"  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        Gate(4, 0.5).on = 1.0  # type: ignore[misc]


def test_a_wrong_schedule_cannot_be_made() -> None:
    with pytest.raises(CallerError, match=r"^schedule\.a: expected a number in \[0, 1\], got 2$"):
        Schedule("linear", (("a", 2),))


def test_a_parameter_given_twice_is_refused() -> None:
    with pytest.raises(CallerError, match=r"^schedule: expected each parameter once, got a twice$"):
        Schedule("linear", (("a", 0.2), ("a", 0.4)))
