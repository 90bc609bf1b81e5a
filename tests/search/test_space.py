from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noise_search.config import compose, parse_space
from noise_search.noises import NOISES
from noise_search.policy import Policy, policy_from_list, policy_to_list
from noise_search.schedules import SCHEDULES, Gate, Number, Word
from noise_search.search.space import Picked, Quantile, Stored, constant_policies, policy_of
from noise_search.spec import Range, Space

_IMAGES = {
    site: [name for name, noise in noises.items() if "images" in noise.modalities] for site, noises in NOISES.items()
}
IMAGES = {site: names for site, names in _IMAGES.items() if names}


GATES: list[Any] = ["none", {}, {"cycles": 4}, {"cycles": {"choices": ["none", 2, 4]}}, {"cycles": "none", "on": 0.5}]
TABLES = st.lists(st.floats(0, 1) | st.just({"low": 0.2, "high": 0.6}), min_size=2, max_size=5)


@cache
def shipped(name: str) -> Space:
    """A space of the shipped configuration."""
    return parse_space(compose([f"space={name}"])["space"])


def space_of(**terms: object) -> Space:
    """Space over the given sites."""
    return parse_space({"terms": terms})


class Drawn:
    """Chooser that takes what Hypothesis draws, and remembers it by name."""

    def __init__(self, data: st.DataObject) -> None:
        self._data = data
        self.parameters: dict[str, Picked] = {}

    def number(self, name: str, within: Range) -> float:
        if within.integer:
            return float(self._remember(name, st.integers(int(within.low), int(within.high))))
        return float(self._remember(name, st.floats(within.low, within.high)))

    def option(self, name: str, options: Sequence[Picked]) -> Picked:
        return self._remember(name, st.sampled_from(list(options)))

    def _remember(self, name: str, strategy: st.SearchStrategy[Any]) -> Picked:
        assert name not in self.parameters, f"{name} was asked for twice"
        self.parameters[name] = self._data.draw(strategy, label=name)
        return self.parameters[name]


@st.composite
def spaces(draw: st.DrawFn) -> Space:
    """Space over any of the image noises, schedules and gates, everything it does not say searched by default."""
    sites = draw(st.lists(st.sampled_from(sorted(IMAGES)), min_size=1, unique=True))
    return parse_space({"terms": {site: draw(_site(IMAGES[site])) for site in sites}})


@st.composite
def _site(draw: st.DrawFn, noises: list[str]) -> dict[str, Any]:
    names = draw(st.lists(st.sampled_from(["none", *noises]), min_size=1, unique=True))
    kinds = draw(st.lists(st.sampled_from(sorted(SCHEDULES)), min_size=1, unique=True))
    schedule = {"choices": kinds, "every": draw(st.sampled_from(GATES))}
    schedule |= {"table": {"values": draw(TABLES)}} if "table" in kinds else {}
    return {"noise": {"choices": names}, "schedule": schedule}


@given(spaces(), st.data())
def test_stored_parameters_make_the_policy_that_was_asked_for(space: Space, data: st.DataObject) -> None:
    asked = Drawn(data)
    policy = policy_of(space, asked)
    stored = json.loads(json.dumps(asked.parameters))
    assert policy_of(space, Stored(stored)) == policy
    assert policy_from_list(policy_to_list(policy), modality="images") == policy


@given(spaces(), st.data())
def test_a_parameter_is_asked_for_only_when_its_branch_was_picked(space: Space, data: st.DataObject) -> None:
    asked = Drawn(data)
    policy = policy_of(space, asked)
    made = {term.key: term.schedule for term in policy.terms}
    for name in asked.parameters:
        site, noise, *knob = name.split(".")
        if not knob:
            assert noise == "noise"
            continue
        schedule = made[f"{site}.{noise}"]
        if knob[0] == "every":
            assert knob[1] == "cycles" or schedule.every is not None
        elif len(knob) > 1:
            assert knob[0] == schedule.kind
            entries = dict[str, Any](schedule.parameters).get(knob[1], ())
            assert len(knob) == 2 or int(knob[2]) < len(entries)


@given(st.data())
def test_every_value_lies_in_its_range(data: st.DataObject) -> None:
    policy = policy_of(shipped("gaussian"), Drawn(data))
    (term,) = policy.terms
    assert (term.site, term.noise) == ("inputs", "gaussian")
    assert 0.02 <= term.magnitude <= 0.6
    assert 0.1 <= term.fraction <= 1.0
    assert term.level in ("fixed", "uniform")


@given(st.data())
def test_what_is_asked_of_a_schedule_is_what_it_gets(data: st.DataObject) -> None:
    asked = Drawn(data)
    (term,) = policy_of(shipped("schedules"), asked).terms
    schedule, where = term.schedule, "inputs.gaussian"
    assert schedule.kind == asked.parameters[f"{where}.schedule"]
    of = dict[str, Any](schedule.parameters)
    for name in asked.parameters:
        if name.startswith(f"{where}.{schedule.kind}.") and ".values." not in name and not name.endswith("knots.k"):
            assert of[name.rpartition(".")[2]] == asked.parameters[name]
    if schedule.kind == "knots":
        assert len(of["values"]) == asked.parameters[f"{where}.knots.k"]
        named = [asked.parameters[f"{where}.knots.values.{index}"] for index in range(len(of["values"]))]
        assert list(of["values"]) == named
    if schedule.every is None:
        assert asked.parameters[f"{where}.every.cycles"] == "none"
    else:
        gate = (schedule.every.cycles, schedule.every.on)
        assert gate == (asked.parameters[f"{where}.every.cycles"], asked.parameters[f"{where}.every.on"])


@pytest.mark.parametrize("kind", [kind for kind in SCHEDULES if kind != "table"])
def test_the_shipped_space_over_schedules_reaches_every_kind_and_asks_for_all_its_parameters(kind: str) -> None:
    """A table is given and never searched."""
    numbers = {name: one for name, one in SCHEDULES[kind].parameters.items() if isinstance(one, Number)}
    words = {name: one for name, one in SCHEDULES[kind].parameters.items() if isinstance(one, Word)}
    at = f"inputs.gaussian.{kind}"
    of_kind: dict[str, Picked] = {f"{at}.{name}": one.search[1] for name, one in numbers.items() if one.search}
    of_kind |= {f"{at}.{name}": one.choices[-1] for name, one in words.items()}
    of_kind |= {f"{at}.k": 3, **{f"{at}.values.{i}": 0.5 for i in range(3)}} if kind == "knots" else {}
    stored = {
        "inputs.gaussian.magnitude": 0.1,
        "inputs.gaussian.fraction": 0.5,
        "inputs.gaussian.level": "fixed",
        "inputs.gaussian.schedule": kind,
        "inputs.gaussian.every.cycles": 4,
        "inputs.gaussian.every.on": 0.25,
    }
    (term,) = policy_of(shipped("schedules"), Stored(stored | of_kind)).terms
    assert (term.schedule.kind, term.schedule.every) == (kind, Gate(4, 0.25))
    for name in of_kind:
        with pytest.raises(KeyError, match=re.escape(name)):
            policy_of(shipped("schedules"), Stored({**stored, **{k: v for k, v in of_kind.items() if k != name}}))


def test_none_everywhere_is_the_policy_without_noise() -> None:
    sites = ("inputs", "weights", "targets")
    assert policy_of(shipped("default"), Stored({f"{site}.noise": "none" for site in sites})) == Policy()


def test_a_single_choice_and_a_fixed_value_are_not_asked_for() -> None:
    fixed = {"noise": "gaussian", "magnitude": 0.2, "fraction": 0.5, "level": "fixed"}
    space = space_of(inputs={**fixed, "schedule": {"choices": ["constant"]}})
    (term,) = policy_of(space, Stored({})).terms
    assert (term.magnitude, term.fraction, term.level, term.schedule.kind) == (0.2, 0.5, "fixed", "constant")


def test_a_missing_parameter_is_named() -> None:
    with pytest.raises(KeyError, match=r"inputs\.gaussian\.magnitude"):
        policy_of(shipped("gaussian"), Stored({}))


def test_a_quantile_is_taken_on_the_scale_of_the_range() -> None:
    half = Quantile(0.5)
    assert half.number("", Range(1.0, 3.0)) == 2.0
    assert half.number("", Range(0.02, 0.6, log=True)) == pytest.approx(math.sqrt(0.02 * 0.6), rel=1e-12)
    assert half.number("", Range(1, 4, integer=True)) in (2, 3)
    assert half.option("", ["a", "b"]) == "a"


def test_constants_fill_the_range_evenly_the_middle_first_and_the_upper_half_before_the_lower() -> None:
    space = space_of(inputs={"noise": "gaussian", "magnitude": {"low": 0.0, "high": 1.0}, "schedule": "linear"})
    magnitudes = [policy.terms[0].magnitude for policy in constant_policies(space, 7)]
    # Van der Corput in base 2, mirrored: 1/2, 3/4, 1/4, 7/8, 3/8, 5/8, 1/8.
    assert magnitudes == [0.5, 0.75, 0.25, 0.875, 0.375, 0.625, 0.125]


@given(st.integers(1, 200))
def test_the_first_constants_of_a_noise_leave_no_gap_wider_than_the_next_power_of_two_allows(count: int) -> None:
    space = space_of(inputs={"noise": "gaussian", "magnitude": {"low": 0.0, "high": 1.0}})
    points = sorted([0.0, 1.0, *(policy.terms[0].magnitude for policy in constant_policies(space, count))])
    assert len(set(points)) == count + 2
    widest = max(high - low for low, high in pairwise(points))
    assert widest <= 2.0 ** -math.floor(math.log2(count + 1))


def test_constants_go_round_the_noises_before_they_go_finer() -> None:
    policies = constant_policies(shipped("default"), 6)
    found = [(policy.terms[0].key, policy.terms[0].magnitude) for policy in policies]
    expected = [
        ("inputs.gaussian", math.exp(0.5 * (math.log(0.02) + math.log(0.6)))),
        ("inputs.mixup", 1.05),
        ("weights.relative", math.exp(0.5 * (math.log(0.005) + math.log(0.2)))),
        ("targets.label_smoothing", 0.205),
        ("inputs.gaussian", math.exp(0.25 * math.log(0.02) + 0.75 * math.log(0.6))),
        ("inputs.mixup", 0.1 + 0.75 * 1.9),
    ]
    for (key, magnitude), (expected_key, expected_magnitude) in zip(found, expected, strict=True):
        assert key == expected_key
        assert magnitude == pytest.approx(expected_magnitude, rel=1e-12)


def test_a_constant_has_one_noise_without_a_schedule_and_its_other_knobs_in_the_middle() -> None:
    (term,) = constant_policies(shipped("gaussian"), 1)[0].terms
    assert (term.schedule.kind, term.fraction, term.level) == ("constant", 0.55, "fixed")


def test_a_space_without_noise_has_no_constants() -> None:
    assert constant_policies(space_of(inputs={"noise": "none"}), 3) == []


def test_no_constants_are_made_when_none_are_asked_for() -> None:
    assert constant_policies(shipped("default"), 0) == []
