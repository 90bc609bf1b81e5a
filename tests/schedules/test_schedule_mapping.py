from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from policy_strategies import schedules

from noise_search.errors import CallerError
from noise_search.schedules import (
    Gate,
    Schedule,
    bare_on_read,
    mapping_mistakes,
    schedule_from_mapping,
    schedule_to_mapping,
)


@given(schedules())
def test_plain_data_of_a_schedule_give_it_back_also_through_json_and_yaml(schedule: Schedule) -> None:
    plain = schedule_to_mapping(schedule)
    assert schedule_from_mapping(plain) == schedule
    assert schedule_from_mapping(json.loads(json.dumps(plain))) == schedule
    assert schedule_from_mapping(yaml.safe_load(yaml.safe_dump(plain))) == schedule


def test_a_schedule_is_written_as_the_documentation_shows_it() -> None:
    schedule = Schedule("linear", (("a", 0.0), ("b", 1.0)), Gate(4, 0.5))
    assert schedule_to_mapping(schedule) == {
        "kind": "linear",
        "a": 0.0,
        "b": 1.0,
        "start": 0.0,
        "stop": 1.0,
        "every": {"cycles": 4, "on": 0.5},
    }
    assert schedule_to_mapping(Schedule("table", (("values", (0, 1)),))) == {"kind": "table", "values": [0.0, 1.0]}
    assert schedule_to_mapping(Schedule()) == {"kind": "constant"}


@pytest.mark.parametrize("on", ["on", "'on'", '"on"', "On", "true"])
def test_the_word_on_is_read_as_such_in_quotes_or_not(on: str) -> None:
    read = yaml.safe_load(f"{{kind: linear, every: {{cycles: 4, {on}: 0.25}}}}")
    assert schedule_from_mapping(read) == Schedule("linear", every=Gate(4, 0.25))


@pytest.mark.parametrize("gate", [None, [True], {"cycles": 4, "on": 0.5}, {True: 1, "on": 0.5}, {1: 0.5}, {"on": 1}])
def test_what_is_no_gate_with_a_bare_on_is_left_as_it_is(gate: Any) -> None:
    assert list(bare_on_read(gate) or ()) == list(gate or ())


AT = "here.every"
BAD: list[tuple[Any, list[str]]] = [
    (None, [f"{AT}: expected a mapping with ['cycles', 'on'], got None"]),
    ("none", [f"{AT}: expected a mapping with ['cycles', 'on'], got 'none'"]),
    ([4, 0.5], [f"{AT}: expected a mapping with ['cycles', 'on'], got [4, 0.5]"]),
    ({"cycles": 4}, [f"{AT}.on: expected a number in [0, 1], got None"]),
    ({"on": 0.5}, [f"{AT}.cycles: expected a whole number in [1, 1000], got None"]),
    (
        {"cycle": 4, "on": 0.5},
        [
            f"{AT}: expected one of ['cycles', 'on'], got 'cycle'; did you mean 'cycles'?",
            f"{AT}.cycles: expected a whole number in [1, 1000], got None",
        ],
    ),
    ({"cycles": 4, "on": 0.5, True: 0.7}, [f"{AT}: expected one of ['cycles', 'on'], got True"]),
    (
        {"cycles": 4, "on": 0.5, False: 0.7},  # a bare `off`
        [f"{AT}: expected one of ['cycles', 'on'], got False"],
    ),
    (
        {"cycles": -1, "on": "half"},
        [
            f"{AT}.cycles: expected a whole number in [1, 1000], got -1",
            f"{AT}.on: expected a number in [0, 1], got 'half'",
        ],
    ),
]


@pytest.mark.parametrize(("gate", "expected"), BAD)
def test_a_wrong_gate_is_told_everything_that_is_wrong(gate: Any, expected: list[str]) -> None:
    assert mapping_mistakes("here", {"kind": "linear", "every": gate}) == expected


def test_mistakes_of_the_curve_and_of_its_gate_are_told_together() -> None:
    wrong = {"kind": "steps", "k": 9, "every": {"cycles": 0, "on": 0.5}}
    expected = (
        "here.k: expected a whole number in [2, 6], got 9",
        "here.every.cycles: expected a whole number in [1, 1000], got 0",
    )
    with pytest.raises(CallerError) as error:
        schedule_from_mapping(wrong, "here")
    assert error.value.mistakes == expected
