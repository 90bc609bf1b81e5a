from __future__ import annotations

from typing import Any

import pytest

from noise_search.config import compose, parse_space
from noise_search.noises import NOISES
from noise_search.spec import Choices, NoiseBranch, Range, Several, SiteSpace, Space, Value

Node = dict[str, Any]
INPUTS = sorted([*NOISES["inputs"], "none"])
SITES = list(NOISES)


def site(site_name: str = "inputs", **body: Any) -> SiteSpace:
    """The only site of a space that has `body` there."""
    (found,) = parse_space({"terms": {site_name: body}}, modality="images").sites
    return found


def branch(**body: Any) -> NoiseBranch:
    """What is searched of gaussian noise at the inputs, with `body` beside it."""
    return site(noise="gaussian", **body).branches["gaussian"]


# --- numbers, words, ranges and choices


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (0.3, 0.3),
        (1, 1.0),
        (0, 0.0),
        ({"low": 0.1, "high": 2}, Range(0.1, 2.0)),
        ({"low": 0.1, "high": 2, "log": True}, Range(0.1, 2.0, log=True)),
        ({"low": 0, "high": 2, "log": False}, Range(0.0, 2.0)),
        ({"choices": [0.1, 1]}, Choices((0.1, 1.0))),
        ({"gaussian": 0.4}, 0.4),
        ({"gaussian": {"low": 0.1, "high": 2}}, Range(0.1, 2.0)),
        ({"gaussian": {"choices": [0.1]}}, Choices((0.1,))),
    ],
)
def test_a_number_is_fixed_searched_or_picked(node: object, expected: Value) -> None:
    assert branch(magnitude=node).magnitude == expected


@pytest.mark.parametrize("key", ["fraction", "magnitude"])
def test_fractions_are_given_as_magnitudes_are(key: str) -> None:
    assert getattr(branch(**{key: {"low": 0.1, "high": 1}}), key) == Range(0.1, 1.0)
    assert getattr(branch(**{key: {"gaussian": 1}}), key) == 1.0


@pytest.mark.parametrize(
    ("node", "expected"),
    [("uniform", "uniform"), ({"choices": ["fixed", "uniform"]}, Choices(("fixed", "uniform")))],
)
def test_a_word_is_fixed_or_picked(node: object, expected: Value) -> None:
    assert branch(level=node).level == expected
    assert branch(level={"gaussian": node}).level == expected


# --- noises


def test_one_noise_is_a_site_with_one_branch() -> None:
    found = site(noise="gaussian", magnitude=0.1)
    assert (found.site, found.noises, list(found.branches)) == ("inputs", ("gaussian",), ["gaussian"])


def test_none_is_a_choice_without_a_branch() -> None:
    found = site(noise={"choices": ["none", "gaussian"]})
    assert (found.noises, list(found.branches)) == (("none", "gaussian"), ["gaussian"])


@pytest.mark.parametrize("node", ["none", {"choices": ["none"]}])
def test_a_site_without_noise_has_no_branch_whatever_stands_beside_it(node: object) -> None:
    found = site(noise=node, magnitude=0.1, fraction=1.0, level="fixed", schedule="linear")
    assert (found.noises, found.branches) == (("none",), {})


def test_every_noise_takes_the_values_given_to_it() -> None:
    found = site(
        noise={"choices": ["gaussian", "mixup"]},
        magnitude={"gaussian": 0.1, "mixup": {"low": 0.2, "high": 0.9}},
        fraction={"gaussian": 0.3, "mixup": 0.4},
        level={"gaussian": "uniform"},
    )
    assert [found.branches[name].magnitude for name in found.noises] == [0.1, Range(0.2, 0.9)]
    assert [found.branches[name].fraction for name in found.noises] == [0.3, 0.4]
    assert [found.branches[name].level for name in found.noises] == ["uniform", None]


def test_values_not_given_by_noise_are_for_every_noise_that_has_the_knob() -> None:
    found = site(noise={"choices": ["gaussian", "mixup"]}, fraction=0.3, level="uniform")
    assert [found.branches[name].fraction for name in found.noises] == [0.3, 0.3]
    assert [found.branches[name].level for name in found.noises] == ["uniform", None]


@pytest.mark.parametrize(("site_name", "name"), [(site, name) for site, names in NOISES.items() for name in names])
def test_what_is_left_out_takes_the_default_of_the_registry(site_name: str, name: str) -> None:
    noise = NOISES[site_name][name]
    found = site(site_name, noise=name).branches[name]
    assert found.magnitude == Range(*noise.search, log=noise.log)
    assert found.fraction == (0.5 if "fraction" in noise.knobs else None)
    assert found.level == ("fixed" if "level" in noise.knobs else None)
    assert (found.schedule, found.curves) == ("constant", {"constant": {}})


def test_a_noise_that_is_left_out_of_the_magnitudes_takes_its_own_default() -> None:
    found = site(noise={"choices": ["gaussian", "mixup"]}, magnitude={"gaussian": 0.1})
    assert found.branches["mixup"].magnitude == Range(*NOISES["inputs"]["mixup"].search)


# --- schedules

DEFAULT_WINDOW = {"start": Range(0.0, 0.5), "stop": Range(0.55, 1.0)}
DEFAULT_RAMP = {"a": Range(0.0, 1.0), "b": Range(0.0, 1.0), "start": 0.0, "stop": Range(0.3, 1.0)}


def test_a_schedule_that_is_a_word_has_its_parameters_searched() -> None:
    found = branch(schedule="window")
    assert (found.schedule, found.curves) == ("window", {"window": DEFAULT_WINDOW})


def test_a_fixed_schedule_may_carry_its_parameters() -> None:
    found = branch(schedule={"kind": "linear", "a": 0, "b": {"low": 0.5, "high": 1}, "stop": {"choices": [0.7, 1]}})
    expected = {"a": 0.0, "b": Range(0.5, 1.0), "start": 0.0, "stop": Choices((0.7, 1.0))}
    assert (found.schedule, found.curves) == ("linear", {"linear": expected})


def test_a_wholly_fixed_schedule_leaves_nothing_to_search() -> None:
    found = branch(schedule={"kind": "linear", "a": 0, "b": 1, "start": 0.1, "stop": 0.7})
    assert found.curves == {"linear": {"a": 0.0, "b": 1.0, "start": 0.1, "stop": 0.7}}


@pytest.mark.parametrize(
    "node",
    [
        {"choices": ["linear", "window"], "window": {"stop": 1}},
        {"kind": {"choices": ["linear", "window"]}, "window": {"stop": 1}},
    ],
)
def test_picked_schedules_take_parameters_by_kind(node: Node) -> None:
    found = branch(schedule=node)
    assert found.schedule == Choices(("linear", "window"))
    assert found.curves == {"linear": DEFAULT_RAMP, "window": {"start": Range(0.0, 0.5), "stop": 1.0}}


# --- whole spaces


@pytest.mark.parametrize("name", ["default", "gaussian", "images", "schedules"])
def test_the_shipped_spaces_are_sound(name: str) -> None:
    space = parse_space(compose([f"space={name}"])["space"], modality="images")
    assert space.sites


def test_the_space_over_all_image_noises_leaves_none_out_at_the_range_of_the_registry() -> None:
    space = parse_space(compose(["space=images"])["space"], modality="images")
    for site in space.sites:
        known = {name: noise for name, noise in NOISES[site.site].items() if "images" in noise.modalities}
        assert sorted(site.noises) == sorted(["none", *known])
        for name, noise in known.items():
            assert site.branches[name].magnitude == Range(*noise.search, log=noise.log)
    assert [site.site for site in space.sites] == list(NOISES)


def test_the_space_of_the_documentation_is_read_as_it_says() -> None:
    node = {
        "terms": {
            "inputs": {
                "noise": {"choices": ["none", "gaussian", "mixup"]},
                "magnitude": {
                    "gaussian": {"low": 0.02, "high": 0.6, "log": True},
                    "mixup": {"low": 0.1, "high": 2},
                },
                "fraction": {"low": 0.1, "high": 1},
                "level": "uniform",
                "schedule": {"choices": ["constant", "window"]},
            },
            "weights": {
                "noise": "relative",
                "magnitude": {"low": 0.005, "high": 0.2, "log": True},
                "schedule": "constant",
            },
        }
    }
    kinds = Choices(("constant", "window"))
    curves: dict[str, dict[str, Value | Several]] = {"constant": {}, "window": dict(DEFAULT_WINDOW)}
    gaussian = NoiseBranch(Range(0.02, 0.6, log=True), Range(0.1, 1.0), "uniform", kinds, curves)
    mixup = NoiseBranch(Range(0.1, 2.0), Range(0.1, 1.0), None, kinds, curves)
    relative = NoiseBranch(Range(0.005, 0.2, log=True), 0.5, "fixed", "constant", {"constant": {}})
    assert parse_space(node) == Space(
        (
            SiteSpace("inputs", ("none", "gaussian", "mixup"), {"gaussian": gaussian, "mixup": mixup}),
            SiteSpace("weights", ("relative",), {"relative": relative}),
        )
    )
