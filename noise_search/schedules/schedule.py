"""A schedule: a curve of the registry with its parameters, perhaps under a gate."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from noise_search.errors import raise_if_any
from noise_search.schedules.checks import schedule_mistakes
from noise_search.schedules.curves import progress
from noise_search.schedules.gate import Gate
from noise_search.schedules.parameters import Number, Numbers, Parameter, Setting
from noise_search.schedules.registry import SCHEDULES


@dataclass(frozen=True, slots=True)
class Schedule:
    """A curve with its parameters: hashable, comparable, checked when made.

    Args:
        kind: Name in `SCHEDULES`.
        parameters: (name, value) pairs, sorted; missing ones are filled with the curve's defaults.
        every: Gate that multiplies the curve: on for a share of each of a few intervals of training.

    Raises:
        CallerError: For an unknown kind or parameter, one given twice or missing, or a value out of range.

    >>> Schedule("window", (("start", 0.5),)).parameters
    (('start', 0.5), ('stop', 1.0))
    >>> Schedule("linear", every=Gate(cycles=2, on=0.5)).factors(5)
    tensor([0.0000, 0.0000, 0.5000, 0.0000, 0.0000], dtype=torch.float64)
    """

    kind: str = "constant"
    parameters: tuple[tuple[str, Setting], ...] = ()
    every: Gate | None = None

    def __post_init__(self) -> None:
        names = [name for name, _ in self.parameters]
        twice = sorted({name for name in names if names.count(name) > 1})
        raise_if_any([f"schedule: expected each parameter once, got {name} twice" for name in twice])
        raise_if_any(schedule_mistakes("schedule", self.kind, dict(self.parameters)))
        known = SCHEDULES[self.kind].parameters
        defaults = {name: one.default for name, one in known.items() if not isinstance(one, Numbers)}
        filled = defaults | dict(self.parameters)
        plain = {name: _plain(known[name], value) for name, value in filled.items()}
        object.__setattr__(self, "parameters", tuple(sorted(plain.items())))

    def factors(self, steps: int) -> Tensor:
        """Factors at each of `steps` training steps, shape (steps,), float64, in [0, 1]."""
        moments = progress(steps)
        curve = SCHEDULES[self.kind].factors(moments, **dict(self.parameters))
        return curve if self.every is None else curve * self.every.factors(moments)


def _plain(parameter: Parameter, value: Setting) -> Setting:
    """The value as Python's own numbers, NumPy's would not go into a card, and lists as tuples."""
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple):
        return tuple(float(entry) for entry in value)
    whole = isinstance(parameter, Number) and parameter.integer
    return int(value) if whole else float(value)
