"""Strengths of a corruption that cost a reference model stated shares of its clean accuracy."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sklearn.isotonic import isotonic_regression

from noise_search.corruptions import Corruption
from noise_search.errors import CallerError

TARGETS = (0.95, 0.85, 0.70, 0.50, 0.30)
REACH = 0.5  # a kind that leaves the reference more than this, whatever the strength, is not calibrated
GRID_POINTS = 20
REFINEMENTS = 3
DIGITS = 4  # significant digits of a frozen strength


@dataclass(frozen=True, slots=True)
class Calibration:
    """Strengths found for one corruption.

    Args:
        strengths: One for each target, strictly increasing, 4 significant digits.
        achieved: Normalised accuracy measured at exactly these strengths.
        calibrated: False where the strengths are the literature's.
    """

    strengths: tuple[float, ...]
    achieved: tuple[float, ...]
    calibrated: bool


def calibrate(
    corruption: Corruption,
    normalised_accuracy: Callable[[float], float],
    targets: Sequence[float] = TARGETS,
) -> Calibration:
    """Strengths at which `normalised_accuracy` is about each of `targets`.

    Accuracy falls with strength roughly, not strictly, and in small steps. It is therefore measured on a grid
    over `corruption.search` that is denser near the identity, made monotone by isotonic regression, and
    measured again inside the interval where the regression crosses each target, a few times over: 40
    evaluations in all at the usual five targets. A target under all of them gets the end of the range.

    Args:
        corruption: What is calibrated; `search[0]` is the identity.
        normalised_accuracy: Accuracy above chance at a strength as a share of the same on clean data.
        targets: Falling shares of clean accuracy.

    Raises:
        CallerError: The accuracy at the identity is not above every target.

    Source: own; isotonic regression after Barlow et al. 1972.
    """
    measured = {strength: normalised_accuracy(strength) for strength in _grid(*corruption.search)}
    _check_identity(corruption, measured[corruption.search[0]], targets)
    if min(_monotone(measured).values()) > REACH:
        return Calibration(corruption.literature, tuple(normalised_accuracy(s) for s in corruption.literature), False)
    for _ in range(REFINEMENTS):
        for target in targets:
            left, right, _ = _crossing(_monotone(measured), target)
            middle = (left + right) / 2
            if middle not in measured:
                measured[middle] = normalised_accuracy(middle)
    monotone = _monotone(measured)
    strengths = increasing([_interpolated(monotone, target) for target in targets])
    return Calibration(strengths, tuple(normalised_accuracy(strength) for strength in strengths), True)


def increasing(strengths: Sequence[float]) -> tuple[float, ...]:
    """Strengths to 4 significant digits, each at least one unit of its last digit above the one before.

    >>> increasing([0.123456, 0.123457, 2.0])
    (0.1235, 0.1236, 2.0)
    """
    rounded: list[float] = []
    for strength in strengths:
        value = float(f"{strength:.{DIGITS}g}")
        if rounded and value <= rounded[-1]:
            value = _next_above(rounded[-1])
        rounded.append(value)
    return tuple(rounded)


def _check_identity(corruption: Corruption, accuracy: float, targets: Sequence[float]) -> None:
    if accuracy <= max(targets):
        raise CallerError(
            f"calibration of {corruption.name}: expected accuracy 1 at {corruption.search[0]}, where "
            f"nothing changes, got {accuracy:g}; divide by the accuracy on clean data"
        )


def _next_above(strength: float) -> float:
    if strength == 0:
        return 10.0 ** (1 - DIGITS)
    unit = 10.0 ** (math.floor(math.log10(strength)) - DIGITS + 1)
    return float(f"{strength + unit:.{DIGITS}g}")


def _grid(low: float, high: float) -> list[float]:
    # Squares: small strengths matter more, and a range that is too wide then costs little.
    return [low + (high - low) * (i / (GRID_POINTS - 1)) ** 2 for i in range(GRID_POINTS)]


def _monotone(measured: Mapping[float, float]) -> dict[float, float]:
    """Nearest falling curve through what was measured, by strength."""
    strengths = sorted(measured)
    fitted = isotonic_regression([measured[strength] for strength in strengths], increasing=False)
    return dict(zip(strengths, map(float, fitted), strict=True))


def _crossing(monotone: Mapping[float, float], target: float) -> tuple[float, float, float]:
    """Neighbouring strengths around `target` and where between them it lies, as a share of the way."""
    points = list(monotone.items())
    after = next((i for i, (_, value) in enumerate(points) if value <= target), None)
    if after is None:
        return points[-1][0], points[-1][0], 0.0
    (left, high), (right, low) = points[after - 1], points[after]
    return left, right, (high - target) / (high - low)


def _interpolated(monotone: Mapping[float, float], target: float) -> float:
    left, right, share = _crossing(monotone, target)
    return left + share * (right - left)
