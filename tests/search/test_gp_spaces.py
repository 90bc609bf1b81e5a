"""Which spaces a Gaussian process is refused."""

from __future__ import annotations

from typing import Any

import pytest
from sweep_examples import config, spec

from noise_search.config import build
from noise_search.errors import CallerError
from noise_search.search.opening import LARGEST_GP_SPACE, Plan, make_plan
from noise_search.search.space import has_branches
from noise_search.training import load_dataset

SITE: dict[str, Any] = {"noise": "gaussian", "magnitude": {"low": 0.1, "high": 0.5}}


def _plan(space: dict[str, Any]) -> Plan:
    spec = build({**config(), "sampler": {"name": "gp", "batch": 2}, "space": {"terms": space}})
    return make_plan(spec, load_dataset(spec.data))


def _knots(noise: str, count: int) -> dict[str, Any]:
    """One noise of a magnitude and so many knots."""
    knots = {"kind": "knots", "k": count, "values": {"low": 0, "high": 1}, "monotone": "free"}
    return {"noise": noise, "magnitude": {"low": 0.1, "high": 0.2}, "schedule": knots}


def test_a_flat_space_is_taken() -> None:
    assert _plan({"inputs": {**SITE, "fraction": {"low": 0.1, "high": 1.0}}}).spec.sampler.name == "gp"


@pytest.mark.parametrize(
    "branch",
    [
        {"noise": {"choices": ["none", "gaussian"]}},
        {"noise": {"choices": ["gaussian", "speckle"]}, "magnitude": {"gaussian": 0.1, "speckle": 0.1}},
        {"schedule": {"choices": ["constant", "linear"]}},
        {"schedule": {"kind": "linear", "every": {"cycles": {"choices": ["none", 2]}, "on": 0.5}}},
        {"schedule": {"kind": "knots", "k": {"low": 3, "high": 5}}},
    ],
    ids=["none", "noises", "schedules", "gate", "knots"],
)
def test_a_space_with_a_branch_is_refused(branch: dict[str, Any]) -> None:
    with pytest.raises(CallerError, match=r"^sampler\.name: gp needs a space without branches"):
        _plan({"inputs": {**SITE, **branch}})


def test_up_to_twenty_parameters_are_taken_and_one_more_is_refused() -> None:
    two = {"inputs": _knots("gaussian", 6), "weights": _knots("relative", 6)}
    assert LARGEST_GP_SPACE == 2 * (1 + 6) + 1 + 5
    assert _plan({**two, "targets": _knots("label_smoothing", 5)})
    with pytest.raises(CallerError, match=r"^sampler\.name: gp is for up to 20 parameters, got 21"):
        _plan({**two, "targets": _knots("label_smoothing", 6)})


def test_the_space_that_ships_for_it_is_flat() -> None:
    assert not has_branches(spec("space=flat").space)
