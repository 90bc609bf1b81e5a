"""The schedules there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from noise_search.schedules import curves
from noise_search.schedules.parameters import Number, Numbers, Parameter, Word


@dataclass(frozen=True, slots=True)
class Curve:
    """Registry entry of a schedule.

    Args:
        factors: Pure function of progress, shape (steps,), and the parameters by name.
        parameters: What it takes, by name.
        formula: Factor at progress t, for people.
        summary: In a few words.
        increasing: Names of two numbers of which the first must be the smaller.
    """

    factors: Callable[..., Tensor]
    parameters: Mapping[str, Parameter]
    formula: str
    summary: str
    increasing: tuple[str, str] | None = None


_FROM_A_TO_B = {
    "a": Number(0.0, (0.0, 1.0)),
    "b": Number(1.0, (0.0, 1.0)),
    "start": Number(0.0, None),
    "stop": Number(1.0, (0.3, 1.0)),
}
_DIRECTION = Word("up", ("up", "down"))

SCHEDULES: dict[str, Curve] = {
    "constant": Curve(curves.constant, {}, "1", "the full magnitude throughout"),
    "linear": Curve(
        curves.linear,
        _FROM_A_TO_B,
        "a + (b - a) r, r from 0 to 1 over [start, stop]",
        "from a to b in a straight line",
        ("start", "stop"),
    ),
    "cosine": Curve(
        curves.cosine,
        _FROM_A_TO_B,
        "a + (b - a) (1 - cos(pi r)) / 2, r from 0 to 1 over [start, stop]",
        "from a to b along half a cosine",
        ("start", "stop"),
    ),
    "power": Curve(
        curves.power,
        {"q": Number(1.0, (0.3, 3.0), 0.3, 3.0, log=True), "direction": _DIRECTION},
        "t^q up, (1 - t)^q down",
        "rising or falling, early or late",
    ),
    "exponential": Curve(
        curves.exponential,
        {"g": Number(1.0, (-5.0, 5.0), -20.0, 20.0)},
        "(e^(g t) - 1) / (e^g - 1), t at g = 0",
        "rising late (g > 0) or early (g < 0)",
    ),
    "steps": Curve(
        curves.steps,
        {"k": Number(3, (2, 6), 2, 6, integer=True), "direction": _DIRECTION},
        "i / (k - 1) up, 1 - i / (k - 1) down, i = min(floor(k t), k - 1)",
        "k equal stairs, rising or falling",
    ),
    "warmup_hold": Curve(
        curves.warmup_hold,
        {"w": Number(0.5, (0.05, 1.0), positive=True)},
        "min(1, t / w)",
        "up in a straight line, then held",
    ),
    "window": Curve(
        curves.window,
        {"start": Number(0.0, (0.0, 0.5)), "stop": Number(1.0, (0.55, 1.0))},
        "1 in [start, stop], else 0",
        "on inside [start, stop] only",
        ("start", "stop"),
    ),
    "cyclic": Curve(
        curves.cyclic,
        {"c": Number(1, (1, 6), 1, 6, integer=True)},
        "(1 - cos(2 pi c t)) / 2",
        "c waves from 0 to 1 and back",
    ),
    "knots": Curve(
        curves.knots,
        {"values": Numbers(3, 6, search=True), "monotone": Word("free", ("up", "down", "free"))},
        "linear through k values at equal spacing, or through their running sums over the total: "
        "from the beginning (up), from the end (down)",
        "a free curve, or one that goes one way",
    ),
    "table": Curve(
        curves.table,
        {"values": Numbers(2, None, search=False)},
        "linear through the values at equal spacing",
        "any curve given as values",
    ),
}

# Of the gate `every`, under which any schedule can run.
GATE: dict[str, Number] = {
    "cycles": Number(4, (2, 8), 1, 1000, integer=True),
    "on": Number(0.5, (0.2, 0.8)),
}
