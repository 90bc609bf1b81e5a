from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noise_search.config import parse_space
from noise_search.errors import CallerError
from noise_search.noises import NOISES
from noise_search.schedules import SCHEDULES

Node = dict[str, Any]
KINDS = sorted(SCHEDULES)
INPUTS = sorted([*NOISES["inputs"], "none"])
SITES = list(NOISES)


def mistakes_of(node: Any, modality: str | None = "images") -> list[str]:
    with pytest.raises(CallerError) as error:
        parse_space(node, modality=modality)
    assert all("\n" not in mistake for mistake in error.value.mistakes)
    return list(error.value.mistakes)


def mistakes_at_inputs(**body: Any) -> list[str]:
    return mistakes_of({"terms": {"inputs": {"noise": "gaussian", **body}}})


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.sampled_from(["gaussian", "none", "linear", "low", "knots", "table", "up"]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "terms",
                        "inputs",
                        "noise",
                        "magnitude",
                        "fraction",
                        "level",
                        "schedule",
                        "kind",
                        "choices",
                        "low",
                        "high",
                        "log",
                        "linear",
                        "gaussian",
                        "a",
                        "stop",
                        "knots",
                        "k",
                        "values",
                        "every",
                        "cycles",
                        "on",
                        "epochs",
                        "on_epochs",
                    ]
                )
                | st.integers()
                | st.booleans(),
                inner,
                max_size=4,
            )
        ),
        max_leaves=20,
    )
)
def test_whatever_is_given_is_read_or_told_what_is_wrong(node: Any) -> None:
    body = {"noise": "gaussian", "magnitude": node, "level": node, "schedule": node}
    gated = {"noise": "gaussian", "schedule": {"choices": ["steps", "knots"], "knots": node, "every": node}}
    sites = [node, {"inputs": node}, {"inputs": body}, {"inputs": gated}]
    for space in (node, *({"terms": site} for site in sites)):
        found = mistakes_if_any(space)
        assert all(mistake.startswith("space") and "\n" not in mistake for mistake in found)
        assert len(set(found)) == len(found)


def mistakes_if_any(space: Any) -> tuple[str, ...]:
    try:
        parse_space(space, epochs=12)
    except CallerError as error:
        return error.mistakes
    return ()


AT = "space.terms.inputs"
NUMBER = "expected a number in [0, 10], got"
BAD_BODIES: dict[str, tuple[Node, list[str]]] = {
    "an unknown key": (
        {"magnitud": 1},
        [
            f"{AT}: expected one of ['fraction', 'level', 'magnitude', 'noise', 'schedule'], got 'magnitud'; "
            "did you mean 'magnitude'?"
        ],
    ),
    "an unknown noise": (
        {"noise": "gausian"},
        [f"{AT}.noise: expected one of {INPUTS}, got 'gausian'; did you mean 'gaussian'?"],
    ),
    "an unknown noise among others": (
        {"noise": {"choices": ["none", "fog"]}},
        [f"{AT}.noise: expected one of {INPUTS}, got 'fog'"],
    ),
    "no noise": ({"noise": None}, [f"{AT}.noise: expected one of {INPUTS}, got None"]),
    "no choice": ({"noise": {"choices": []}}, [f"{AT}.noise.choices: expected a list with at least one entry, got []"]),
    "choices that are no list": (
        {"noise": {"choices": "gaussian"}},
        [f"{AT}.noise.choices: expected a list with at least one entry, got 'gaussian'"],
    ),
    "a choice twice": (
        {"noise": {"choices": ["gaussian", "gaussian"]}},
        [f"{AT}.noise.choices: expected each entry once, got ['gaussian', 'gaussian']"],
    ),
    "a number twice": (
        {"fraction": {"choices": [1, 1.0]}},
        [f"{AT}.fraction.choices: expected each entry once, got [1, 1.0]"],
    ),
    "a magnitude over the limit": ({"magnitude": 11}, [f"{AT}.magnitude: {NUMBER} 11"]),
    "a negative magnitude": ({"magnitude": -0.1}, [f"{AT}.magnitude: {NUMBER} -0.1"]),
    "a magnitude that is no number": ({"magnitude": math.nan}, [f"{AT}.magnitude: {NUMBER} nan"]),
    "a magnitude beyond floating point": ({"magnitude": 10**400}, [f"{AT}.magnitude: {NUMBER} {10**400}"]),
    "a magnitude that is true": ({"magnitude": True}, [f"{AT}.magnitude: {NUMBER} True"]),
    "a magnitude that is a word": ({"magnitude": "high"}, [f"{AT}.magnitude: {NUMBER} 'high'"]),
    "a range over the limit, by noise": (
        {"magnitude": {"gaussian": {"low": 0.1, "high": 20}}},
        [f"{AT}.magnitude.gaussian.high: {NUMBER} 20"],
    ),
    "a range without an end": ({"magnitude": {"low": 0.1}}, [f"{AT}.magnitude.high: {NUMBER} None"]),
    "a range from high to low": (
        {"magnitude": {"low": 0.5, "high": 0.1}},
        [f"{AT}.magnitude: expected low < high, got low=0.5, high=0.1"],
    ),
    "a range of one point": (
        {"fraction": {"low": 0.5, "high": 0.5}},
        [f"{AT}.fraction: expected low < high, got low=0.5, high=0.5"],
    ),
    "a log range from 0": (
        {"magnitude": {"low": 0, "high": 1, "log": True}},
        [f"{AT}.magnitude.low: expected more than 0 on a log scale, got 0"],
    ),
    "a log that is a word": (
        {"magnitude": {"low": 0.1, "high": 1, "log": "yes"}},
        [f"{AT}.magnitude.log: expected true or false, got 'yes'"],
    ),
    "a range with an unknown key": (
        {"magnitude": {"low": 0.1, "high": 1, "lg": True}},
        [f"{AT}.magnitude: expected one of ['high', 'log', 'low'], got 'lg'; did you mean 'log'?"],
    ),
    "a range and choices": (
        {"magnitude": {"choices": [0.1], "low": 0.1}},
        [f"{AT}.magnitude: expected one of ['choices'], got 'low'"],
    ),
    "a fraction over 1": ({"fraction": 1.1}, [f"{AT}.fraction: expected a number in [0, 1], got 1.1"]),
    "a fraction among choices under 0": (
        {"fraction": {"choices": [0.5, -1]}},
        [f"{AT}.fraction: expected a number in [0, 1], got -1"],
    ),
    "an unknown level": (
        {"level": "unifrm"},
        [f"{AT}.level: expected one of ['fixed', 'uniform'], got 'unifrm'; did you mean 'uniform'?"],
    ),
    "a range of words": (
        {"level": {"low": "fixed", "high": "uniform"}},
        [f"{AT}.level: expected one word or {{choices: [...]}}, got a range"],
    ),
    "a range of schedules": (
        {"schedule": {"kind": {"low": "constant", "high": "linear"}}},
        [f"{AT}.schedule.kind: expected one word or {{choices: [...]}}, got a range"],
    ),
    "a magnitude for another noise": (
        {"magnitude": {"mixup": 1}},
        [f"{AT}.magnitude: expected one of ['gaussian'], got 'mixup'"],
    ),
    "one magnitude for noises of two units": (
        {"noise": {"choices": ["gaussian", "mixup"]}, "magnitude": 0.2},
        [
            f"{AT}.magnitude: expected one for each of ['gaussian', 'mixup'], whose units differ, got 0.2; "
            "write {gaussian: ...}",
            f"{AT}.magnitude: expected one for each of ['gaussian', 'mixup'], whose units differ, got 0.2; "
            "write {mixup: ...}",
        ],
    ),
    "a knob that the only noise does not have": (
        {"noise": "mixup", "level": "fixed"},
        [f"{AT}.level: inputs.mixup has no such knob; remove the key"],
    ),
    "a knob given by noise to one that does not have it": (
        {"noise": {"choices": ["gaussian", "mixup"]}, "level": {"mixup": "fixed"}},
        [f"{AT}.level: expected one of ['gaussian'], got 'mixup'"],
    ),
    "an unknown schedule": (
        {"schedule": "linaer"},
        [f"{AT}.schedule.kind: expected one of {KINDS}, got 'linaer'; did you mean 'linear'?"],
    ),
    "an unknown schedule of several noises": (
        {"noise": {"choices": ["gaussian", "mixup"]}, "schedule": {"choices": ["constant", "?"]}},
        [f"{AT}.schedule.kind: expected one of {KINDS}, got '?'"],
    ),
    "a schedule without a kind": ({"schedule": {"a": 0}}, [f"{AT}.schedule.kind: expected one of {KINDS}, got None"]),
    "a schedule that is a list": (
        {"schedule": ["linear"]},
        [f"{AT}.schedule.kind: expected one of {KINDS}, got ['linear']"],
    ),
    "a parameter of another schedule": (
        {"schedule": {"kind": "window", "a": 0}},
        [f"{AT}.schedule.window: expected one of ['start', 'stop'], got 'a'"],
    ),
    "parameters of a kind that is not picked": (
        {"schedule": {"choices": ["constant", "window"], "linear": {"a": 0}}},
        [f"{AT}.schedule: expected one of ['constant', 'window'], got 'linear'"],
    ),
    "parameters that are no mapping": (
        {"schedule": {"choices": ["constant", "window"], "window": 1}},
        [f"{AT}.schedule.window: expected a mapping with keys of ['start', 'stop'], got 1"],
    ),
    "a parameter out of range": (
        {"schedule": {"kind": "linear", "a": 2}},
        [f"{AT}.schedule.linear.a: expected a number in [0, 1], got 2"],
    ),
    "a parameter that is a word": (
        {"schedule": {"kind": "linear", "stop": "end"}},
        [f"{AT}.schedule.linear.stop: expected a number in [0, 1], got 'end'"],
    ),
    "a fixed schedule that stops before it starts": (
        {"schedule": {"kind": "linear", "start": 0.6, "stop": 0.5}},
        [f"{AT}.schedule.linear: expected start < stop whatever is searched, got start = 0.6 and stop = 0.5"],
    ),
    "a searched schedule that could stop before it starts": (
        {"schedule": {"kind": "window", "start": {"choices": [0.1, 0.8]}, "stop": 0.7}},
        [f"{AT}.schedule.window: expected start < stop whatever is searched, got start in [0.1, 0.8] and stop = 0.7"],
    ),
    "a schedule that could stop before a start left to its default": (
        {"schedule": {"kind": "window", "stop": 0.4}},
        [f"{AT}.schedule.window: expected start < stop whatever is searched, got start in 0 to 0.5 and stop = 0.4"],
    ),
    "many mistakes": (
        {"magnitude": -1, "fraction": 2, "level": 3, "schedule": "?", "extra": 0},
        [
            f"{AT}: expected one of ['fraction', 'level', 'magnitude', 'noise', 'schedule'], got 'extra'",
            f"{AT}.schedule.kind: expected one of {KINDS}, got '?'",
            f"{AT}.magnitude: {NUMBER} -1",
            f"{AT}.fraction: expected a number in [0, 1], got 2",
            f"{AT}.level: expected one of ['fixed', 'uniform'], got 3",
        ],
    ),
}


@pytest.mark.parametrize(("body", "expected"), BAD_BODIES.values(), ids=BAD_BODIES)
def test_a_wrong_site_is_told_every_mistake(body: Node, expected: list[str]) -> None:
    assert mistakes_at_inputs(**body) == expected


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (None, "space: expected a mapping with keys of ['terms'], got None"),
        ([], "space: expected a mapping with keys of ['terms'], got []"),
        ({}, f"space.terms: expected a mapping with keys of {SITES}, got None"),
        ({"terms": {}}, f"space.terms: expected at least one of {SITES}, got none"),
        (
            {"terms": {"input": {}}},
            f"space.terms: expected one of {sorted(SITES)}, got 'input'; did you mean 'inputs'?",
        ),
        (
            {"terms": {"inputs": {"noise": "gaussian"}}, "trems": 1},
            "space: expected one of ['terms'], got 'trems'; did you mean 'terms'?",
        ),
        (
            {"terms": {"inputs": "gaussian"}},
            f"{AT}: expected a mapping with keys of ['noise', 'magnitude', 'fraction', 'level', 'schedule'], "
            "got 'gaussian'",
        ),
    ],
)
def test_a_wrong_space_is_told_what_one_is(node: Any, expected: str) -> None:
    assert mistakes_of(node)[0] == expected


def test_mistakes_at_every_site_are_told_together() -> None:
    bad = {"inputs": {"noise": "gaussian", "magnitude": -1}, "weights": {"noise": "relative", "magnitude": 3}}
    assert mistakes_of({"terms": bad}) == [
        f"{AT}.magnitude: {NUMBER} -1",
        "space.terms.weights.magnitude: expected a number in [0, 2], got 3",
    ]


def test_a_noise_for_another_modality_is_refused() -> None:
    (mistake,) = mistakes_of({"terms": {"inputs": {"noise": "gaussian"}}}, modality="video")
    assert mistake == f"{AT}.noise: gaussian works on ['audio', 'images', 'tabular'], got data of modality 'video'"
