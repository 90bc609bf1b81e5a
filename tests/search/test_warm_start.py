from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from sweep_examples import spec

from noise_search.config import parse_space
from noise_search.errors import CallerError
from noise_search.policy import Card, Policy, Term, save_card
from noise_search.schedules import Gate, Schedule
from noise_search.search.asking import random_policies
from noise_search.search.space import Stored, policy_of
from noise_search.search.warm_start import parameters_of, warm_starts
from noise_search.spec import Space

SPACES = ("default", "schedules", "images", "gaussian")


FIXED = {"noise": "gaussian", "magnitude": 0.1, "fraction": 0.5, "level": "fixed", "schedule": "constant"}


def only(inputs: Mapping[str, object]) -> Space:
    """Space with noise at inputs alone."""
    return parse_space({"terms": {"inputs": inputs}}, modality="images", epochs=2)


@pytest.fixture(scope="module", params=SPACES)
def space(request: pytest.FixtureRequest) -> Space:
    return spec(f"space={request.param}").space


def test_every_policy_of_a_space_has_parameters_that_make_it_again(space: Space) -> None:
    for policy in random_policies(space, 60, seed=3):
        assert policy_of(space, Stored(parameters_of(space, policy))) == policy


def test_no_noise_at_all_is_a_policy_where_every_site_may_have_none() -> None:
    space = spec("space=default").space
    assert policy_of(space, Stored(parameters_of(space, Policy()))) == Policy()


def test_a_noise_that_the_space_lacks_is_refused() -> None:
    space = only({"noise": {"choices": ["none", "gaussian"]}})
    with pytest.raises(CallerError, match=r"inputs\.noise: expected one of \['none', 'gaussian'\], got 'speckle'"):
        parameters_of(space, Policy((Term("inputs", "speckle", 0.1),)))


def test_a_magnitude_out_of_range_is_refused() -> None:
    space = only(FIXED | {"magnitude": {"low": 0.1, "high": 0.2}})
    with pytest.raises(
        CallerError, match=r"inputs\.gaussian\.magnitude: expected a number from 0\.1 to 0\.2, got 0\.3"
    ):
        parameters_of(space, Policy((Term("inputs", "gaussian", 0.3, 0.5),)))


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        (
            [Term("inputs", "gaussian", 0.3, 0.5)],
            "inputs.gaussian.magnitude: expected 0.1, as the space has it, got 0.3",
        ),
        (
            [Term("inputs", "gaussian", 0.1, 0.6)],
            "inputs.gaussian.fraction: expected 0.5, as the space has it, got 0.6",
        ),
        (
            [Term("inputs", "speckle", 0.1, 0.5)],
            "inputs.noise: expected 'gaussian', as the space has it, got 'speckle'",
        ),
        (
            [Term("inputs", "gaussian", 0.1, 0.5), Term("weights", "relative", 0.1)],
            "weights.noise: expected 'none', as the space has it, got 'relative'",
        ),
        (
            [Term("inputs", "gaussian", 0.1, 0.5, schedule=Schedule("constant", every=Gate(2, 0.5)))],
            "inputs.gaussian.every.cycles: expected 'none', as the space has it, got 2",
        ),
    ],
)
def test_what_the_space_holds_fixed_otherwise_is_named_and_nothing_else(terms: list[Term], message: str) -> None:
    with pytest.raises(CallerError) as caught:
        parameters_of(only(FIXED), Policy(tuple(terms)))
    assert caught.value.mistakes == (f"{message}; widen the space, or leave the card out",)


def test_cards_that_do_not_fit_are_named_all_at_once(tmp_path: Path) -> None:
    space = only(FIXED)
    save_card(Card(Policy((Term("inputs", "gaussian", 0.1, 0.5),)), {}), tmp_path / "fits.yaml")
    save_card(Card(Policy((Term("inputs", "speckle", 0.1),)), {}), tmp_path / "other.yaml")
    assert warm_starts(space, [str(tmp_path / "fits.yaml")]) == [{}]
    with pytest.raises(CallerError) as caught:
        warm_starts(space, [str(tmp_path / name) for name in ("other.yaml", "fits.yaml", "missing.yaml")])
    assert [mistake.partition(":")[0] for mistake in caught.value.mistakes] == [
        "sampler.warm_start[0]",
        "sampler.warm_start[2]",
    ]
