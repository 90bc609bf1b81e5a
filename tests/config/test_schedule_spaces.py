"""What the `schedule` node of a space can say, and how what it says wrong is told."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from noise_search.config import build, check, compose, parse_space
from noise_search.errors import CallerError
from noise_search.schedules import SCHEDULES
from noise_search.spec import Choices, NoiseBranch, Range, Several, Value

Node = dict[str, Any]
EPOCHS = 12
UNIT = Range(0.0, 1.0)
AT = "space.terms.inputs.schedule"


def space_node(schedule: Any) -> Node:
    return {"terms": {"inputs": {"noise": "gaussian", "schedule": schedule}}}


def branch(schedule: Any, epochs: int | None = EPOCHS) -> NoiseBranch:
    (site,) = parse_space(space_node(schedule), epochs=epochs).sites
    return site.branches["gaussian"]


def parameters(kind: str, **body: Any) -> dict[str, Value | Several]:
    return dict(branch({"kind": kind, **body}).curves[kind])


def mistakes_of(schedule: Any, epochs: int | None = EPOCHS) -> list[str]:
    with pytest.raises(CallerError) as error:
        branch(schedule, epochs)
    return list(error.value.mistakes)


# --- parameters


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("constant", {}),
        ("power", {"q": Range(0.3, 3.0, log=True), "direction": Choices(("up", "down"))}),
        ("exponential", {"g": Range(-5.0, 5.0)}),
        ("steps", {"k": Range(2, 6, integer=True), "direction": Choices(("up", "down"))}),
        ("warmup_hold", {"w": Range(0.05, 1.0)}),
        ("cyclic", {"c": Range(1, 6, integer=True)}),
        (
            "knots",
            {"values": Several(Range(3, 6, integer=True), (UNIT,) * 6), "monotone": Choices(("up", "down", "free"))},
        ),
    ],
)
def test_what_a_space_does_not_say_of_a_schedule_is_searched(kind: str, expected: Node) -> None:
    assert parameters(kind) == expected
    assert branch(kind).curves == {kind: expected}
    assert branch({"choices": ["window", kind]}).curves[kind] == expected


def test_no_direction_is_baked_in() -> None:
    """Wherever a schedule has a direction, a space that does not say searches all of them."""
    for kind, curve in SCHEDULES.items():
        for name in curve.parameters.keys() & {"direction", "monotone"}:
            searched = parameters(kind)[name]
            assert isinstance(searched, Choices)
            assert {"up", "down"} <= set(searched.options)
    assert [parameters("linear")[name] for name in "ab"] == [UNIT, UNIT]


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (4, 4),
        (4.0, 4),
        ({"low": 3, "high": 5}, Range(3, 5, integer=True)),
        ({"low": 2, "high": 6, "log": True}, Range(2, 6, log=True, integer=True)),
        ({"choices": [2, 6]}, Choices((2, 6))),
    ],
)
def test_a_whole_number_is_fixed_searched_or_picked(node: Any, expected: Value) -> None:
    found = parameters("steps", k=node, direction="down")
    assert found == {"k": expected, "direction": "down"}
    if isinstance(expected, int):
        assert type(found["k"]) is int


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"k": 4}, Several(4, (UNIT,) * 6)),
        ({"k": {"choices": [3, 5]}}, Several(Choices((3, 5)), (UNIT,) * 6)),
        ({"k": 3, "values": {"low": 0.2, "high": 0.9}}, Several(3, (Range(0.2, 0.9),) * 6)),
        ({"values": {"choices": [0, 1]}}, Several(Range(3, 6, integer=True), (Choices((0.0, 1.0)),) * 6)),
        ({"values": [0, 0.5, 1]}, Several(3, (0.0, 0.5, 1.0))),
        ({"values": [0, {"low": 0.2, "high": 0.9}, 1, 1]}, Several(4, (0.0, Range(0.2, 0.9), 1.0, 1.0))),
    ],
)
def test_knots_are_counted_and_searched_or_given_one_by_one(body: Node, expected: Several) -> None:
    assert parameters("knots", **body, monotone="up") == {"values": expected, "monotone": "up"}


def test_a_table_is_given() -> None:
    assert parameters("table", values=[0, 1]) == {"values": Several(2, (0.0, 1.0))}
    by_kind = branch({"choices": ["constant", "table"], "table": {"values": [0.5] * 1000}})
    assert by_kind.curves["table"] == {"values": Several(1000, (0.5,) * 1000)}


# --- the gate

ON = Range(0.2, 0.8)
CYCLES = Range(2, 8, integer=True)


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        ("none", None),
        (None, None),
        ({}, {"cycles": CYCLES, "on": ON}),
        ({"cycles": 4, "on": 0.5}, {"cycles": 4, "on": 0.5}),
        ({"cycles": 4, True: 0.5}, {"cycles": 4, "on": 0.5}),  # what YAML makes of a bare `on`
        ({"cycles": {"low": 2, "high": 5}}, {"cycles": Range(2, 5, integer=True), "on": ON}),
        ({"on": {"low": 0.1, "high": 1}}, {"cycles": CYCLES, "on": Range(0.1, 1.0)}),
        ({"cycles": {"choices": ["none", 2, 4]}}, {"cycles": Choices(("none", 2, 4)), "on": ON}),
        ({"cycles": "none"}, {"cycles": "none", "on": ON}),
        ({"epochs": 3, "on_epochs": 1}, {"cycles": 4, "on": 1 / 3}),
        ({"epochs": 12, "on_epochs": 12}, {"cycles": 1, "on": 1.0}),
        ({"epochs": 1, "on_epochs": 1}, {"cycles": 12, "on": 1.0}),
    ],
)
def test_a_gate_is_fixed_searched_picked_or_given_in_epochs(node: Any, expected: Node | None) -> None:
    assert branch({"kind": "linear", "every": node}).every == expected
    assert branch({"choices": ["linear", "cosine"], "every": node}).every == expected


def test_a_schedule_that_does_not_say_has_no_gate() -> None:
    assert branch("linear").every is None
    assert branch({"choices": ["linear", "cosine"]}).every is None


@pytest.mark.parametrize("on", ["on", "'on'"])
def test_a_gate_in_a_file_is_read_with_the_word_on_in_quotes_or_not(on: str, tmp_path: Path) -> None:
    (tmp_path / "space").mkdir()
    schedule = f"{{kind: linear, every: {{cycles: 4, {on}: {{low: 0.3, high: 0.6}}}}}}"
    (tmp_path / "space" / "gated.yaml").write_text(f"terms: {{inputs: {{noise: gaussian, schedule: {schedule}}}}}\n")
    config = compose(["space=gated"], config_dir=tmp_path)
    assert config["space"]["terms"]["inputs"]["schedule"]["every"] == {"cycles": 4, "on": {"low": 0.3, "high": 0.6}}
    gate = {"cycles": 4, "on": Range(0.3, 0.6)}
    assert build(config).space.sites[0].branches["gaussian"].every == gate
    again = yaml.safe_load(yaml.safe_dump(config["space"]))
    assert parse_space(again) == parse_space(config["space"])


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("{cycles: 4, on: 0.5}", {"cycles": 4, "on": 0.5}),
        (
            "{cycles: {choices: [none, 2]}, on: {low: 0.1, high: 0.2}}",
            {"cycles": Choices(("none", 2)), "on": Range(0.1, 0.2)},
        ),
        ("{epochs: 5, on_epochs: 2}", {"cycles": 2, "on": 0.4}),
    ],
)
def test_a_gate_can_be_given_on_the_command_line(override: str, expected: Node) -> None:
    config = compose(["space=gaussian", f"+space.terms.inputs.schedule.every={override}", "train.epochs=10"])
    assert build(config).space.sites[0].branches["gaussian"].every == expected


def test_a_gate_in_epochs_is_told_when_they_do_not_divide_those_of_the_training() -> None:
    config = compose(
        ["space=gaussian", "+space.terms.inputs.schedule.every={epochs: 3, on_epochs: 1}", "train.epochs=10"]
    )
    assert check(config) == [
        f"{AT}.every.epochs: expected a divisor of train.epochs, such as one of [1, 2, 5, 10], got 3"
    ]


# --- mistakes

KNOTS = "expected a list of 3 to 6 numbers in [0, 1], got"
TABLE = "expected a list of at least 2 numbers in [0, 1], got"
GATE_KEYS = "expected one of ['cycles', 'on'], got"
BAD: dict[str, tuple[Any, list[str]]] = {
    "a number out of range": (
        {"kind": "power", "q": 4},
        [f"{AT}.power.q: expected a number in [0.3, 3], got 4"],
    ),
    "a range out of range": (
        {"kind": "exponential", "g": {"low": -30, "high": 0}},
        [f"{AT}.exponential.g.low: expected a number in [-20, 20], got -30"],
    ),
    "a number that is none": (
        {"kind": "exponential", "g": math.nan},
        [f"{AT}.exponential.g: expected a number in [-20, 20], got nan"],
    ),
    "nothing for a number": (
        {"kind": "exponential", "g": None},
        [f"{AT}.exponential.g: expected a number in [-20, 20], got None"],
    ),
    "a warmup of no length": (
        {"kind": "warmup_hold", "w": {"low": 0, "high": 0.5}},
        [f"{AT}.warmup_hold.w.low: expected a number in (0, 1], got 0"],
    ),
    "half a stair": (
        {"kind": "steps", "k": {"low": 2.5, "high": 4}},
        [f"{AT}.steps.k.low: expected a whole number in [2, 6], got 2.5"],
    ),
    "a stair too many among choices": (
        {"kind": "steps", "k": {"choices": [2, 7]}},
        [f"{AT}.steps.k: expected a whole number in [2, 6], got 7"],
    ),
    "an unknown direction": (
        {"kind": "steps", "direction": {"choices": ["up", "dwn"]}},
        [f"{AT}.steps.direction: expected one of ['down', 'up'], got 'dwn'; did you mean 'down'?"],
    ),
    "a range of words": (
        {"kind": "steps", "direction": {"low": "down", "high": "up"}},
        [f"{AT}.steps.direction: expected one word or {{choices: [...]}}, got a range"],
    ),
    "a knot too many": (
        {"kind": "knots", "k": {"low": 3, "high": 7}},
        [f"{AT}.knots.k.high: expected a whole number in [3, 6], got 7"],
    ),
    "knots too few": ({"kind": "knots", "values": [0, 1]}, [f"{AT}.knots.values: {KNOTS} 2"]),
    "knots beyond what is allowed": (
        {"kind": "knots", "values": [0, 2, {"low": -1, "high": 0.5}]},
        [
            f"{AT}.knots.values[1]: expected a number in [0, 1], got 2",
            f"{AT}.knots.values[2].low: expected a number in [0, 1], got -1",
        ],
    ),
    "a count beside the knots themselves": (
        {"kind": "knots", "k": 3, "values": [0, 1, 0]},
        [f"{AT}.knots.k: a list says by itself how many it holds; remove the key"],
    ),
    "a count of another schedule": (
        {"kind": "linear", "k": 3},
        [f"{AT}.linear: expected one of ['a', 'b', 'start', 'stop'], got 'k'"],
    ),
    "a table without values": ("table", [f"{AT}.table.values: {TABLE} none"]),
    "a table without values among others": (
        {"choices": ["constant", "table"]},
        [f"{AT}.table.values: {TABLE} none"],
    ),
    "a table of one value": ({"kind": "table", "values": [1]}, [f"{AT}.table.values: {TABLE} 1"]),
    "a table that is searched": (
        {"kind": "table", "values": {"low": 0, "high": 1}},
        [f"{AT}.table.values: {TABLE} {{'low': 0, 'high': 1}}"],
    ),
    "a gate that is a number": (
        {"kind": "linear", "every": 4},
        [f"{AT}.every: expected a mapping with keys of ['cycles', 'on'], got 4"],
    ),
    "an unknown key of a gate": (
        {"kind": "linear", "every": {"cycle": 4}},
        [f"{AT}.every: {GATE_KEYS} 'cycle'; did you mean 'cycles'?"],
    ),
    "a gate of two shares": ({"kind": "linear", "every": {"on": 0.4, True: 0.5}}, [f"{AT}.every: {GATE_KEYS} True"]),
    "a gate out of range": (
        {"kind": "linear", "every": {"cycles": 0, "on": {"low": 0.5, "high": 1.5}}},
        [
            f"{AT}.every.cycles: expected a whole number in [1, 1000], got 0",
            f"{AT}.every.on.high: expected a number in [0, 1], got 1.5",
        ],
    ),
    "a range that begins with no gate": (
        {"kind": "linear", "every": {"cycles": {"low": "none", "high": 4}}},
        [f"{AT}.every.cycles: expected one word or {{choices: [...]}}, got a range"],
    ),
    "epochs that do not divide": (
        {"kind": "linear", "every": {"epochs": 5, "on_epochs": 1}},
        [f"{AT}.every.epochs: expected a divisor of train.epochs, such as one of [1, 2, 3, 4, 6, 12], got 5"],
    ),
    "half an epoch": (
        {"kind": "linear", "every": {"epochs": 0.5, "on_epochs": 1}},
        [f"{AT}.every.epochs: expected a divisor of train.epochs, such as one of [1, 2, 3, 4, 6, 12], got 0.5"],
    ),
    "on for longer than there is": (
        {"kind": "linear", "every": {"epochs": 3, "on_epochs": 4}},
        [f"{AT}.every.on_epochs: expected a whole number in [1, 3], got 4"],
    ),
    "epochs alone": (
        {"kind": "linear", "every": {"epochs": 3}},
        [f"{AT}.every.on_epochs: expected a whole number in [1, 3], got None"],
    ),
    "epochs and shares": (
        {"kind": "linear", "every": {"epochs": 3, "on_epochs": 1, "on": 0.5}},
        [f"{AT}.every: expected one of ['epochs', 'on_epochs'], got 'on'"],
    ),
}


@pytest.mark.parametrize(("schedule", "expected"), BAD.values(), ids=BAD)
def test_a_wrong_schedule_is_told_every_mistake(schedule: Any, expected: list[str]) -> None:
    assert mistakes_of(schedule) == expected


def test_a_gate_in_epochs_of_a_training_that_is_not_known_is_told_the_other_way() -> None:
    assert mistakes_of({"kind": "linear", "every": {"epochs": 3, "on_epochs": 1}}, epochs=None) == [
        f"{AT}.every.epochs: expected train.epochs to divide, got none; give cycles and on instead"
    ]


def test_a_gate_in_epochs_of_more_intervals_than_a_gate_has_is_told() -> None:
    assert mistakes_of({"kind": "linear", "every": {"epochs": 1, "on_epochs": 1}}, epochs=2000) == [
        f"{AT}.every.cycles: expected a whole number in [1, 1000], got 2000"
    ]
