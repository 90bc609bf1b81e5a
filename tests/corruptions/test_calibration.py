from __future__ import annotations

import doctest
import math
import random
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest

from noise_search.corruptions import CORRUPTIONS, Corruption, calibration
from noise_search.corruptions.calibration import TARGETS, calibrate, increasing
from noise_search.errors import CallerError

GAUSSIAN = CORRUPTIONS["gaussian"]
PIXELATE = CORRUPTIONS["pixelate"]

# Falling curves with their inverses in closed form: strength -> accuracy, accuracy -> strength, search range.
CURVES: dict[str, tuple[Callable[[float], float], Callable[[float], float], tuple[float, float]]] = {
    "exponential": (lambda s: math.exp(-s / 0.3), lambda a: -0.3 * math.log(a), (0.0, 2.0)),
    "logistic": (
        lambda s: (1 + math.exp(-8)) / (1 + math.exp(16 * (s - 0.5))),
        lambda a: 0.5 + math.log((1 + math.exp(-8)) / a - 1) / 16,
        (0.0, 2.0),
    ),
    "line": (lambda s: 1 - s, lambda a: 1 - a, (0.0, 1.0)),
    "blocks": (lambda b: 1 / b, lambda a: 1 / a, (1.0, 16.0)),
}


def counted(curve: Callable[[float], float]) -> tuple[Callable[[float], float], list[float]]:
    calls: list[float] = []

    def measure(strength: float) -> float:
        calls.append(strength)
        return curve(strength)

    return measure, calls


def over(search: tuple[float, float], kind: Corruption = GAUSSIAN) -> Corruption:
    return replace(kind, search=search)


@pytest.mark.parametrize("name", CURVES)
def test_known_strengths_are_found(name: str) -> None:
    curve, inverse, search = CURVES[name]
    found = calibrate(over(search), curve)
    assert found.calibrated
    assert found.strengths == pytest.approx([inverse(target) for target in TARGETS], rel=0.01)
    assert found.achieved == pytest.approx(TARGETS, abs=0.005)


def test_about_forty_measurements_suffice() -> None:
    measure, calls = counted(CURVES["logistic"][0])
    calibrate(GAUSSIAN, measure)
    assert len(calls) <= 40


def test_achieved_is_measured_at_the_rounded_strengths() -> None:
    curve = CURVES["exponential"][0]
    found = calibrate(GAUSSIAN, curve)
    assert all(strength == float(f"{strength:.4g}") for strength in found.strengths)
    assert found.achieved == tuple(map(curve, found.strengths))


@pytest.mark.parametrize("seed", range(20))
def test_an_accuracy_that_wavers_and_comes_in_steps_is_met_within_its_noise(seed: int) -> None:
    # As 3 seeds on 360 samples give it: steps of about a thousandth, ups and downs of a point or two.
    noise = random.Random(seed)
    phases = [noise.uniform(0, 2 * math.pi) for _ in range(5)]

    def wavering(strength: float) -> float:
        ripple = sum(math.sin((40 + 17 * k) * strength + phase) for k, phase in enumerate(phases)) / 5
        return round((math.exp(-strength / 0.4) + (0.03 * ripple if strength > 0 else 0)) * 972) / 972

    found = calibrate(GAUSSIAN, wavering)
    assert found.calibrated
    assert all(a < b for a, b in pairwise(found.strengths))
    assert found.achieved == pytest.approx(TARGETS, abs=0.05)


def test_a_kind_that_cannot_take_half_of_the_accuracy_keeps_its_literature_strengths() -> None:
    found = calibrate(GAUSSIAN, lambda s: 0.51 + 0.49 * math.exp(-s / 0.1))
    assert not found.calibrated
    assert found.strengths == GAUSSIAN.literature
    assert found.achieved == pytest.approx([0.51 + 0.49 * math.exp(-s / 0.1) for s in GAUSSIAN.literature])


def test_one_stray_measurement_under_half_does_not_count_as_reaching_it() -> None:
    measure, calls = counted(lambda b: 0.4 if 5.0 < b < 5.5 else 0.6 + 0.4 / b)
    assert not calibrate(PIXELATE, measure).calibrated
    assert any(5.0 < b < 5.5 for b in calls)


def test_a_target_that_is_out_of_reach_gets_the_end_of_the_range() -> None:
    found = calibrate(GAUSSIAN, lambda s: 0.4 + 0.6 * math.exp(-s / 0.2))
    assert found.calibrated
    assert found.strengths[-1] == GAUSSIAN.search[1]
    assert found.strengths[:-1] == pytest.approx(
        [-0.2 * math.log((target - 0.4) / 0.6) for target in TARGETS[:-1]], rel=0.02
    )


def test_a_sudden_fall_still_gives_rising_strengths_around_it() -> None:
    found = calibrate(GAUSSIAN, lambda s: 1.0 if s < 0.7 else 0.0)
    assert found.calibrated
    assert all(a < b for a, b in pairwise(found.strengths))
    assert found.strengths == pytest.approx([0.7] * 5, abs=0.02)


def test_other_targets_can_be_asked_for() -> None:
    found = calibrate(GAUSSIAN, CURVES["exponential"][0], targets=(0.9, 0.4))
    assert found.achieved == pytest.approx((0.9, 0.4), abs=0.005)


def test_an_accuracy_that_was_not_divided_by_the_clean_one_is_refused() -> None:
    with pytest.raises(CallerError, match=r"gaussian: expected accuracy 1 at 0\.0, where nothing changes, got 0\.9;"):
        calibrate(GAUSSIAN, lambda s: 0.9 * math.exp(-s))


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ([0.123449, 0.5], (0.1234, 0.5)),
        ([1.0, 1.0, 1.0], (1.0, 1.001, 1.002)),
        ([0.9999, 0.9999, 0.9999], (0.9999, 1.0, 1.001)),
        ([12.3449, 12.3401], (12.34, 12.35)),
    ],
)
def test_equal_strengths_are_told_apart_by_their_last_digit(raw: list[float], expected: tuple[float, ...]) -> None:
    assert increasing(raw) == expected


def test_the_examples_in_the_documentation_hold() -> None:
    assert doctest.testmod(calibration).failed == 0
