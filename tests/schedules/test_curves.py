from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from itertools import accumulate
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from policy_strategies import FRACTIONS, schedules

from noise_search.schedules import SCHEDULES, Schedule, progress

Values = Mapping[str, Any]
STEPS = st.integers(1, 500)
KINDS = pytest.mark.parametrize("kind", SCHEDULES)
KNOTS = st.lists(FRACTIONS, min_size=3, max_size=6)


def of_kind(kind: str) -> st.SearchStrategy[Schedule]:
    return schedules((kind,), st.none())


def made(kind: str, **values: Any) -> Schedule:
    return Schedule(kind, tuple(values.items()))


def ramp(t: float, of: Values) -> float:
    return float(min(max((t - of["start"]) / (of["stop"] - of["start"]), 0.0), 1.0))


def up_or_down(t: float, direction: str) -> float:
    return t if direction == "up" else 1.0 - t


def growth(t: float, g: float) -> float:
    # By the series t + g t (t - 1) / 2 + ... where g is so small that g t would lose its digits.
    return math.expm1(g * t) / math.expm1(g) if abs(g) > 1e-13 else t


def stairs(t: float, of: Values) -> float:
    height = float(min(math.floor(t * of["k"]), of["k"] - 1) / (of["k"] - 1))
    return height if of["direction"] == "up" else 1 - height


def heights(of: Values) -> Sequence[float]:
    values = list(of["values"])
    if of["monotone"] == "free":
        return values
    sums = list(accumulate(values if of["monotone"] == "up" else reversed(values)))
    shares = [one / sums[-1] if sums[-1] else 0.0 for one in sums]
    return shares if of["monotone"] == "up" else shares[::-1]


def between(t: float, values: Sequence[float]) -> float:
    return float(np.interp(t, np.linspace(0, 1, len(values)), values))


# Each curve at one moment, in plain Python. A schedule added to the registry needs its line here.
CLOSED_FORMS: dict[str, Callable[[float, Values], float]] = {
    "constant": lambda t, of: 1.0,  # noqa: ARG005
    "linear": lambda t, of: of["a"] * (1 - ramp(t, of)) + of["b"] * ramp(t, of),
    "cosine": lambda t, of: (of["a"] + of["b"]) / 2 + (of["a"] - of["b"]) / 2 * math.cos(math.pi * ramp(t, of)),
    "power": lambda t, of: math.pow(up_or_down(t, of["direction"]), of["q"]),
    "exponential": lambda t, of: growth(t, of["g"]),
    "steps": stairs,
    "warmup_hold": lambda t, of: t / of["w"] if t < of["w"] else 1.0,
    "window": lambda t, of: float(of["start"] <= t <= of["stop"]),
    "cyclic": lambda t, of: math.sin(math.pi * of["c"] * t) ** 2,
    "knots": lambda t, of: between(t, heights(of)),
    "table": lambda t, of: between(t, of["values"]),
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
    ("power", {}, [0, 0.25, 0.5, 0.75, 1]),
    ("power", {"q": 2}, [0, 0.0625, 0.25, 0.5625, 1]),
    ("power", {"q": 2, "direction": "down"}, [1, 0.5625, 0.25, 0.0625, 0]),
    ("power", {"q": 0.5, "direction": "down"}, [1, math.sqrt(0.75), math.sqrt(0.5), 0.5, 0]),
    ("exponential", {"g": 0}, [0, 0.25, 0.5, 0.75, 1]),
    ("exponential", {"g": 4 * math.log(2)}, [0, 1 / 15, 3 / 15, 7 / 15, 1]),
    ("exponential", {"g": -4 * math.log(2)}, [0, 8 / 15, 12 / 15, 14 / 15, 1]),
    ("steps", {"k": 2}, [0, 0, 1, 1, 1]),
    ("steps", {"k": 3}, [0, 0, 0.5, 1, 1]),
    ("steps", {"k": 4, "direction": "down"}, [1, 2 / 3, 1 / 3, 0, 0]),
    ("warmup_hold", {"w": 0.5}, [0, 0.5, 1, 1, 1]),
    ("warmup_hold", {"w": 1}, [0, 0.25, 0.5, 0.75, 1]),
    ("window", {}, [1, 1, 1, 1, 1]),
    ("window", {"start": 0.25, "stop": 0.5}, [0, 1, 1, 0, 0]),
    ("window", {"start": 0.75}, [0, 0, 0, 1, 1]),
    ("cyclic", {}, [0, 0.5, 1, 0.5, 0]),
    ("cyclic", {"c": 2}, [0, 1, 0, 1, 0]),
    ("knots", {"values": (0.5, 0, 1)}, [0.5, 0.25, 0, 0.5, 1]),
    ("knots", {"values": (0, 0.5, 0.5), "monotone": "up"}, [0, 0.25, 0.5, 0.75, 1]),
    ("knots", {"values": (0.25, 0.75, 0), "monotone": "down"}, [1, 0.875, 0.75, 0.375, 0]),
    ("knots", {"values": (0, 0, 0), "monotone": "up"}, [0] * 5),
    ("table", {"values": (1, 0)}, [1, 0.75, 0.5, 0.25, 0]),
    ("table", {"values": (0.1, 0.2, 0.3, 0.2, 1)}, [0.1, 0.2, 0.3, 0.2, 1]),
]


def test_every_schedule_has_a_closed_form_to_be_compared_with() -> None:
    assert sorted(CLOSED_FORMS) == sorted(SCHEDULES)
    assert {kind for kind, *_ in AT_FIVE_STEPS} == set(SCHEDULES)


@KINDS
@given(data=st.data(), steps=STEPS)
def test_factors_lie_in_the_unit_range_at_every_step(kind: str, data: st.DataObject, steps: int) -> None:
    factors = data.draw(schedules((kind,))).factors(steps)
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
    np.testing.assert_allclose(made(kind, **values).factors(5).numpy(), expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize("kind", ["linear", "cosine"])
@given(a=st.floats(0, 1), b=st.floats(0, 1), steps=st.integers(2, 500))
def test_a_ramp_over_all_of_training_begins_at_a_and_ends_at_b(kind: str, a: float, b: float, steps: int) -> None:
    factors = made(kind, a=a, b=b).factors(steps)
    assert factors[0] == a
    assert float(factors[-1]) == pytest.approx(b, abs=1e-15)


@pytest.mark.parametrize("kind", ["linear", "cosine"])
@given(data=st.data())
def test_a_ramp_is_flat_outside_its_window_and_goes_one_way_inside(kind: str, data: st.DataObject) -> None:
    schedule = data.draw(of_kind(kind))
    of, factors, moments = dict[str, Any](schedule.parameters), schedule.factors(101), progress(101)
    assert bool((factors[moments <= of["start"]] == of["a"]).all())
    after = factors[moments >= of["stop"]]
    torch.testing.assert_close(after, torch.full_like(after, of["b"]), rtol=0, atol=1e-15)
    steps = factors.diff() * (1 if of["b"] >= of["a"] else -1)
    assert bool((steps >= -1e-15).all())


# --- rising and falling


@given(st.floats(0.3, 3), st.integers(2, 500))
def test_a_power_begins_and_ends_at_exactly_0_and_1_and_down_is_up_read_backwards(q: float, steps: int) -> None:
    up, down = (made("power", q=q, direction=word).factors(steps) for word in ("up", "down"))
    assert (float(up[0]), float(up[-1]), float(down[0]), float(down[-1])) == (0, 1, 1, 0)
    torch.testing.assert_close(down, up.flip(0), rtol=0, atol=1e-12)


@given(st.floats(-20, 20), st.integers(2, 500))
def test_an_exponential_rises_from_exactly_0_to_exactly_1(g: float, steps: int) -> None:
    factors = made("exponential", g=g).factors(steps)
    assert (float(factors[0]), float(factors[-1])) == (0, 1)
    assert bool((factors.diff() >= -1e-15).all())


@given(st.floats(-1e-9, 1e-9), st.integers(2, 500))
def test_an_exponential_of_hardly_any_growth_is_a_straight_line(g: float, steps: int) -> None:
    factors = made("exponential", g=g).factors(steps)
    torch.testing.assert_close(factors, progress(steps), rtol=0, atol=1e-9)


@given(st.floats(0.1, 20), st.integers(2, 500))
def test_an_exponential_of_negative_growth_is_the_positive_one_turned_about_its_middle(g: float, steps: int) -> None:
    early, late = made("exponential", g=-g).factors(steps), made("exponential", g=g).factors(steps)
    torch.testing.assert_close(early, 1 - late.flip(0), rtol=0, atol=1e-12)


@pytest.mark.parametrize("direction", ["up", "down"])
@pytest.mark.parametrize("k", range(2, 7))
@given(steps=st.integers(2, 500))
def test_a_stair_begins_at_the_first_step_that_is_not_before_its_time(k: int, direction: str, steps: int) -> None:
    """In exact fractions: which stair a step is on must not hang on rounding."""
    on = [min(Fraction(step, steps - 1) * k // 1, k - 1) for step in range(steps)]
    expected = [float(i if direction == "up" else k - 1 - i) / (k - 1) for i in on]
    assert made("steps", k=k, direction=direction).factors(steps).tolist() == expected


@pytest.mark.parametrize("k", range(2, 7))
def test_every_stair_lasts_equally_long(k: int) -> None:
    _, counts = np.unique(made("steps", k=k).factors(60 * k).numpy(), return_counts=True)
    assert counts.tolist() == [60] * k


@given(st.floats(0, 1, exclude_min=True), st.integers(2, 500))
def test_a_warmup_is_held_at_exactly_1_from_its_end_on(w: float, steps: int) -> None:
    factors, moments = made("warmup_hold", w=w).factors(steps), progress(steps)
    assert bool((factors[moments >= w] == 1).all())
    assert bool((factors[moments < w] < 1).all())


@pytest.mark.parametrize("c", range(1, 7))
def test_a_cycle_goes_up_to_1_and_back_to_0_as_often_as_it_says(c: int) -> None:
    factors = made("cyclic", c=c).factors(240 * c + 1)
    np.testing.assert_allclose(factors[::240].numpy(), np.zeros(c + 1), atol=1e-15)
    np.testing.assert_allclose(factors[120::240].numpy(), np.ones(c), atol=1e-15)
    turns = np.flatnonzero(np.diff(np.sign(np.diff(factors.numpy()))))
    assert len(turns) == 2 * c - 1


# --- curves through values


@pytest.mark.parametrize("kind", ["knots", "table"])
@given(values=KNOTS, finer=st.integers(1, 20))
def test_a_curve_passes_through_its_values_and_lies_between_neighbours(
    kind: str, values: list[float], finer: int
) -> None:
    factors = made(kind, values=tuple(values)).factors(finer * (len(values) - 1) + 1)
    np.testing.assert_allclose(factors[::finer].numpy(), values, rtol=0, atol=1e-12)
    for index in range(len(values) - 1):
        part = factors[index * finer : (index + 1) * finer + 1]
        low, high = sorted(values[index : index + 2])
        assert low - 1e-12 <= float(part.min()) <= float(part.max()) <= high + 1e-12


@pytest.mark.parametrize(("monotone", "sign"), [("up", 1), ("down", -1)])
@given(values=KNOTS, steps=st.integers(2, 500))
def test_monotone_knots_go_one_way_only(monotone: str, sign: int, values: list[float], steps: int) -> None:
    factors = made("knots", values=tuple(values), monotone=monotone).factors(steps)
    assert bool((sign * factors.diff() >= -1e-15).all())
    assert float(factors.max()) == (1.0 if any(values) else 0.0)


@given(KNOTS, st.integers(2, 500))
def test_falling_knots_are_rising_ones_read_backwards(values: list[float], steps: int) -> None:
    down = made("knots", values=tuple(values), monotone="down").factors(steps)
    up = made("knots", values=tuple(reversed(values)), monotone="up").factors(steps)
    torch.testing.assert_close(down, up.flip(0), rtol=0, atol=1e-12)


@KINDS
@given(data=st.data(), steps=st.integers(2, 200))
def test_the_table_of_a_schedule_is_a_schedule_of_the_same_factors(kind: str, data: st.DataObject, steps: int) -> None:
    factors = data.draw(schedules((kind,))).factors(steps)
    copied = made("table", values=tuple(factors.tolist()))
    torch.testing.assert_close(copied.factors(steps), factors, rtol=0, atol=1e-12)


# --- progress and tables


@given(STEPS)
def test_progress_runs_from_exactly_0_to_exactly_1_in_equal_steps(steps: int) -> None:
    np.testing.assert_array_equal(progress(steps).numpy(), np.arange(steps) / max(steps - 1, 1))


def test_the_only_step_of_a_training_of_one_step_is_its_beginning() -> None:
    assert progress(1).tolist() == [0.0]
    assert made("window", start=0.5).factors(1).tolist() == [0.0]


@KINDS
@given(data=st.data(), steps=st.integers(2, 60), finer=st.integers(2, 8))
def test_a_finer_table_agrees_on_the_shared_moments(kind: str, data: st.DataObject, steps: int, finer: int) -> None:
    schedule = data.draw(of_kind(kind))
    coarse, fine = schedule.factors(steps), schedule.factors(finer * (steps - 1) + 1)
    torch.testing.assert_close(fine[::finer], coarse, rtol=0, atol=1e-12)


@given(st.lists(schedules(), min_size=1, max_size=4), STEPS)
def test_a_table_does_not_depend_on_the_tables_made_before_it(several: list[Schedule], steps: int) -> None:
    together = [schedule.factors(steps) for schedule in several]
    alone = [schedule.factors(steps) for schedule in reversed(several)]
    assert all(torch.equal(first, second) for first, second in zip(together, reversed(alone), strict=True))
