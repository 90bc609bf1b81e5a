"""Schedules: pure curves from training progress in [0, 1] to a factor in [0, 1] of a noise's magnitude.

A schedule is data: a name in `SCHEDULES` and numbers. Before training it is tabulated in float64, one trial
at a time, into a `(steps,)` curve. The training loop only reads rows of that table, so any mix of schedules
trains in one cohort, resuming is an index, and a card rescales to another number of steps by tabulating again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from noise_search.errors import expected_one_of, raise_if_any


def constant(progress: Tensor) -> Tensor:
    """Factor 1 throughout.

    >>> constant(torch.tensor([0.0, 1.0]))
    tensor([1., 1.])
    """
    return torch.ones_like(progress)


def linear(progress: Tensor, a: float, b: float, start: float, stop: float) -> Tensor:
    """Factor moving from `a` to `b` along a straight line over [start, stop], flat outside.

    Args:
        progress: Fraction of training done, in [0, 1], shape (steps,).
        a, b: Factors of the magnitude before `start` and after `stop`.
        start, stop: Fractions of training, start < stop.

    >>> linear(torch.tensor([0.0, 0.5, 1.0]), a=0, b=1, start=0, stop=0.5)
    tensor([0., 1., 1.])
    """
    return a + (b - a) * _ramp(progress, start, stop)


def cosine(progress: Tensor, a: float, b: float, start: float, stop: float) -> Tensor:
    """Factor moving from `a` to `b` along half a cosine over [start, stop], flat outside and at both ends.

    Source: Loshchilov & Hutter 2017, arXiv:1608.03983, without restarts.

    >>> cosine(torch.tensor([0.0, 0.5, 1.0]), a=1, b=0.2, start=0, stop=1)
    tensor([1.0000, 0.6000, 0.2000])
    """
    return a + (b - a) * 0.5 * (1.0 - torch.cos(math.pi * _ramp(progress, start, stop)))


def window(progress: Tensor, start: float, stop: float) -> Tensor:
    """Factor 1 inside [start, stop], both ends included, and 0 outside: late on, early off, off at the end.

    >>> window(torch.tensor([0.0, 0.5, 1.0]), start=0.5, stop=1)
    tensor([0., 1., 1.])
    """
    return ((progress >= start) & (progress <= stop)).to(progress.dtype)


def _ramp(progress: Tensor, start: float, stop: float) -> Tensor:
    return ((progress - start) / (stop - start)).clamp(0.0, 1.0)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One number of a schedule: its default, and what a search space uses when it says nothing.

    `search` is a (low, high) range, or None where the default is kept fixed. All lie in [0, 1].
    """

    default: float
    search: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Curve:
    """Registry entry of a schedule; `increasing` names parameters of which the first must be the smaller."""

    factors: Callable[..., Tensor]
    parameters: Mapping[str, Parameter]
    increasing: tuple[str, str] | None
    summary: str


_FROM_A_TO_B = {
    "a": Parameter(0.0, (0.0, 1.0)),
    "b": Parameter(1.0, (0.0, 1.0)),
    "start": Parameter(0.0, None),
    "stop": Parameter(1.0, (0.3, 1.0)),
}

SCHEDULES: dict[str, Curve] = {
    "constant": Curve(constant, {}, None, "the full magnitude throughout"),
    "linear": Curve(linear, _FROM_A_TO_B, ("start", "stop"), "from a to b in a straight line"),
    "cosine": Curve(cosine, _FROM_A_TO_B, ("start", "stop"), "from a to b along half a cosine"),
    "window": Curve(
        window,
        {"start": Parameter(0.0, (0.0, 0.5)), "stop": Parameter(1.0, (0.55, 1.0))},
        ("start", "stop"),
        "on inside [start, stop] only",
    ),
}


@dataclass(frozen=True, slots=True)
class Schedule:
    """A curve with its numbers: hashable, comparable, checked when made.

    Args:
        kind: Name in `SCHEDULES`.
        parameters: (name, value) pairs, sorted; missing ones are filled with the curve's defaults.

    Raises:
        CallerError: For an unknown kind or parameter, one given twice, or a value out of range.

    >>> Schedule("window", (("start", 0.5),)).parameters
    (('start', 0.5), ('stop', 1.0))
    """

    kind: str = "constant"
    parameters: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        names = [name for name, _ in self.parameters]
        twice = sorted({name for name in names if names.count(name) > 1})
        raise_if_any([f"schedule: expected each parameter once, got {name} twice" for name in twice])
        raise_if_any(schedule_mistakes("schedule", self.kind, dict(self.parameters)))
        defaults = {name: parameter.default for name, parameter in SCHEDULES[self.kind].parameters.items()}
        filled = defaults | {name: float(value) for name, value in self.parameters}
        object.__setattr__(self, "parameters", tuple(sorted(filled.items())))

    def factors(self, steps: int) -> Tensor:
        """Factors at each of `steps` training steps, shape (steps,), float64, in [0, 1]."""
        return SCHEDULES[self.kind].factors(progress(steps), **dict(self.parameters))


def progress(steps: int) -> Tensor:
    """Fraction of training done at each step, from exactly 0 to exactly 1, shape (steps,), float64.

    >>> progress(3)
    tensor([0.0000, 0.5000, 1.0000], dtype=torch.float64)
    """
    return torch.arange(steps, dtype=torch.float64) / max(steps - 1, 1)


def schedule_mistakes(where: str, kind: object, parameters: Mapping[str, object]) -> list[str]:
    """Everything wrong with a schedule from outside, each message beginning with `where`."""
    if not isinstance(kind, str) or kind not in SCHEDULES:
        return [expected_one_of(f"{where}.kind", SCHEDULES, kind)]
    curve = SCHEDULES[kind]
    mistakes = [
        expected_one_of(f"{where}.{kind}", curve.parameters, name)
        for name in parameters
        if name not in curve.parameters
    ]
    mistakes += [
        f"{where}.{name}: expected a number in [0, 1], got {value!r}"
        for name, value in parameters.items()
        if name in curve.parameters and not _is_fraction(value)
    ]
    return mistakes or _order_mistakes(where, curve, parameters)


def _order_mistakes(where: str, curve: Curve, parameters: Mapping[str, object]) -> list[str]:
    if curve.increasing is None:
        return []
    first, second = curve.increasing
    low = parameters.get(first, curve.parameters[first].default)
    high = parameters.get(second, curve.parameters[second].default)
    if low < high:  # type: ignore[operator]  # both are numbers: checked above
        return []
    return [f"{where}: expected {first} < {second}, got {first}={low!r}, {second}={high!r}"]


def _is_fraction(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0.0 <= value <= 1.0
