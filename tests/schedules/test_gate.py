from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from policy_strategies import FRACTIONS, GATES, schedules

from noise_search.errors import CallerError
from noise_search.schedules import SCHEDULES, Gate, Schedule, progress

KINDS = pytest.mark.parametrize("kind", SCHEDULES)


def test_a_gate_is_on_at_the_beginning_of_each_interval_and_off_at_its_end() -> None:
    assert Gate(2, 0.5).factors(progress(9)).tolist() == [1, 1, 0, 0, 1, 1, 0, 0, 0]
    assert Gate(1, 0.25).factors(progress(9)).tolist() == [1, 1, 0, 0, 0, 0, 0, 0, 0]


@given(st.integers(1, 12), FRACTIONS)
def test_a_gate_is_on_for_its_share_of_training(cycles: int, on: float) -> None:
    steps = 20_000
    share = float(Gate(cycles, on).factors(progress(steps)).mean())
    assert share == pytest.approx(on, abs=2 * cycles / steps)  # each interval is right to a step at either end


@given(st.integers(1, 1000), st.integers(1, 12), st.integers(2, 40))
def test_steps_at_which_an_interval_begins_or_the_gate_shuts_are_not_lost_to_rounding(
    cycles: int, parts: int, steps_a_part: int
) -> None:
    on = parts // 2 / parts
    found = Gate(cycles, on).factors(progress(cycles * parts * steps_a_part + 1))[:-1].reshape(cycles, -1)
    expected = [1.0] * (parts // 2 * steps_a_part) + [0.0] * ((parts - parts // 2) * steps_a_part)
    assert (found == torch.tensor(expected, dtype=torch.float64)).all()


@given(GATES, st.integers(1, 500))
def test_a_gate_is_on_or_off_and_nothing_between(gate: Gate, steps: int) -> None:
    factors = gate.factors(progress(steps))
    assert (factors.shape, factors.dtype) == ((steps,), torch.float64)
    assert set(factors.tolist()) <= {0.0, 1.0}


@given(st.integers(1, 1000), st.integers(1, 500))
def test_a_gate_that_is_always_on_changes_nothing_and_one_always_off_leaves_nothing(cycles: int, steps: int) -> None:
    assert Gate(cycles, 1).factors(progress(steps)).tolist() == [1.0] * steps
    assert Gate(cycles, 0).factors(progress(steps)).tolist() == [0.0] * steps


@KINDS
@given(data=st.data(), gate=GATES, steps=st.integers(1, 200))
def test_a_gate_multiplies_the_curve_it_stands_over(kind: str, data: st.DataObject, gate: Gate, steps: int) -> None:
    curve = data.draw(schedules((kind,), st.none()))
    gated = Schedule(curve.kind, curve.parameters, gate)
    moments = [Fraction(step * gate.cycles, max(steps - 1, 1)) for step in range(steps)]
    since = np.array([float(moment - min(math.floor(moment), gate.cycles - 1)) for moment in moments])
    expected = np.where((since < gate.on - 1e-9) | (gate.on == 1), curve.factors(steps).numpy(), 0.0)
    np.testing.assert_array_equal(gated.factors(steps).numpy(), expected)


@pytest.mark.parametrize(("epochs", "length", "on"), [(12, 3, 1), (12, 3, 2), (10, 2, 1), (100, 5, 3), (7, 7, 1)])
@pytest.mark.parametrize("steps_an_epoch", [1, 2, 5, 79])
def test_a_gate_in_whole_epochs_turns_between_epochs(epochs: int, length: int, on: int, steps_an_epoch: int) -> None:
    factors = Gate(epochs // length, on / length).factors(progress(epochs * steps_an_epoch))
    by_epoch = factors.reshape(epochs, steps_an_epoch)
    assert by_epoch.mean(dim=1).tolist() == [float(epoch % length < on) for epoch in range(epochs)]


@pytest.mark.parametrize(
    ("cycles", "on", "expected"),
    [
        (0, 0.5, ["every.cycles: expected a whole number in [1, 1000], got 0"]),
        (1001, 0.5, ["every.cycles: expected a whole number in [1, 1000], got 1001"]),
        (2.5, 0.5, ["every.cycles: expected a whole number in [1, 1000], got 2.5"]),
        (True, 0.5, ["every.cycles: expected a whole number in [1, 1000], got True"]),
        (math.inf, 0.5, ["every.cycles: expected a whole number in [1, 1000], got inf"]),
        (4, 1.1, ["every.on: expected a number in [0, 1], got 1.1"]),
        (4, math.nan, ["every.on: expected a number in [0, 1], got nan"]),
        (
            "4",
            None,
            [
                "every.cycles: expected a whole number in [1, 1000], got '4'",
                "every.on: expected a number in [0, 1], got None",
            ],
        ),
    ],
)
def test_a_wrong_gate_cannot_be_made(cycles: Any, on: Any, expected: list[str]) -> None:
    with pytest.raises(CallerError) as error:
        Gate(cycles, on)
    assert list(error.value.mistakes) == expected
