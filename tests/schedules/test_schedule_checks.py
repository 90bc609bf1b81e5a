from __future__ import annotations

import math
from typing import Any

import pytest

from noise_search.schedules import SCHEDULES, schedule_mistakes

KINDS = sorted(SCHEDULES)
FRACTION = "expected a number in [0, 1], got"
KNOTS = "expected a list of 3 to 6 numbers in [0, 1], got"
TABLE = "expected a list of at least 2 numbers in [0, 1], got"
BAD: list[tuple[object, dict[str, Any], list[str]]] = [
    ("liner", {}, [f"here.kind: expected one of {KINDS}, got 'liner'; did you mean 'linear'?"]),
    ("exponentail", {}, [f"here.kind: expected one of {KINDS}, got 'exponentail'; did you mean 'exponential'?"]),
    (None, {}, [f"here.kind: expected one of {KINDS}, got None"]),
    (["linear"], {}, [f"here.kind: expected one of {KINDS}, got ['linear']"]),
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
    ("power", {"q": 0.2}, ["here.q: expected a number in [0.3, 3], got 0.2"]),
    ("power", {"q": 3.1}, ["here.q: expected a number in [0.3, 3], got 3.1"]),
    ("power", {"direction": "upp"}, ["here.direction: expected one of ['down', 'up'], got 'upp'; did you mean 'up'?"]),
    ("power", {"direction": True}, ["here.direction: expected one of ['down', 'up'], got True"]),
    ("exponential", {"g": 20.5}, ["here.g: expected a number in [-20, 20], got 20.5"]),
    ("exponential", {"g": -math.inf}, ["here.g: expected a number in [-20, 20], got -inf"]),
    ("steps", {"k": 1}, ["here.k: expected a whole number in [2, 6], got 1"]),
    ("steps", {"k": 7}, ["here.k: expected a whole number in [2, 6], got 7"]),
    ("steps", {"k": 2.5}, ["here.k: expected a whole number in [2, 6], got 2.5"]),
    ("steps", {"k": [2]}, ["here.k: expected a whole number in [2, 6], got [2]"]),
    ("warmup_hold", {"w": 0}, ["here.w: expected a number in (0, 1], got 0"]),
    ("warmup_hold", {"w": 1.01}, ["here.w: expected a number in (0, 1], got 1.01"]),
    ("cyclic", {"c": 0}, ["here.c: expected a whole number in [1, 6], got 0"]),
    ("cyclic", {"c": math.nan}, ["here.c: expected a whole number in [1, 6], got nan"]),
    ("knots", {}, [f"here.values: {KNOTS} none"]),
    ("knots", {"values": [0, 1]}, [f"here.values: {KNOTS} 2"]),
    ("knots", {"values": [0] * 7}, [f"here.values: {KNOTS} 7"]),
    ("knots", {"values": 0.5}, [f"here.values: {KNOTS} 0.5"]),
    ("knots", {"values": "0.1"}, [f"here.values: {KNOTS} '0.1'"]),
    (
        "knots",
        {"values": [0, 0.5, 1], "monotone": "dwn"},
        ["here.monotone: expected one of ['down', 'free', 'up'], got 'dwn'; did you mean 'down'?"],
    ),
    ("table", {}, [f"here.values: {TABLE} none"]),
    ("table", {"values": [1]}, [f"here.values: {TABLE} 1"]),
    ("table", {"values": {"0": 1}}, [f"here.values: {TABLE} {{'0': 1}}"]),
    ("table", {"values": None}, [f"here.values: {TABLE} None"]),
    (
        "table",
        {"values": [0, 1.5, math.nan, 1]},
        [f"here.values[1]: {FRACTION} 1.5", f"here.values[2]: {FRACTION} nan"],
    ),
    (
        "table",
        {"values": [True, "a", None, -1, math.inf]},
        [
            f"here.values[0]: {FRACTION} True",
            f"here.values[1]: {FRACTION} 'a'",
            f"here.values[2]: {FRACTION} None",
            "here.values: ... and 2 more entries",
        ],
    ),
]


@pytest.mark.parametrize(("kind", "values", "expected"), BAD)
def test_a_wrong_schedule_is_told_everything_that_is_wrong(
    kind: object, values: dict[str, Any], expected: list[str]
) -> None:
    assert schedule_mistakes("here", kind, values) == expected


GOOD: list[tuple[str, dict[str, Any]]] = [
    ("power", {"q": 0.3}),
    ("power", {"q": 3, "direction": "down"}),
    ("exponential", {"g": -20}),
    ("exponential", {"g": 0}),
    ("steps", {"k": 2}),
    ("steps", {"k": 6.0}),
    ("warmup_hold", {"w": 5e-324}),
    ("cyclic", {"c": 6}),
    ("knots", {"values": (0, 1, 0), "monotone": "up"}),
    ("knots", {"values": [0.0] * 6}),
    ("table", {"values": [0, 1]}),
    ("table", {"values": [0.5] * 10_000}),
]


@pytest.mark.parametrize(("kind", "values"), GOOD)
def test_what_stands_at_the_very_ends_is_allowed(kind: str, values: dict[str, Any]) -> None:
    assert schedule_mistakes("here", kind, values) == []
