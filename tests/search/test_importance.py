"""Importance of knobs on studies made by hand, whose scores say what must come out."""

from __future__ import annotations

import itertools
from dataclasses import asdict
from functools import cache
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState
from simulations import NAME, run

from noise_search.commands import status
from noise_search.search.importance import LIKELY_BY_CHANCE, Importance, importance, importance_in
from noise_search.store import locate, open_store

NOISE = CategoricalDistribution(["gaussian", "speckle"])
KIND = CategoricalDistribution(["constant", "linear"])
SHARE = FloatDistribution(0.0, 1.0)
DISTRIBUTIONS = {
    "inputs.noise": NOISE,
    "inputs.gaussian.magnitude": SHARE,
    "inputs.gaussian.fraction": SHARE,
    "inputs.gaussian.schedule": KIND,
    "inputs.gaussian.linear.a": SHARE,
}
COUNT = 60


def _trials(count: int = COUNT) -> list[FrozenTrial]:
    """Trials whose parameters are drawn independently."""
    rng = np.random.default_rng(0)
    names = itertools.cycle(["gaussian", "speckle"])
    return [
        optuna.trial.create_trial(
            state=TrialState.COMPLETE,
            value=0.0,
            params={
                "inputs.noise": next(names),
                "inputs.gaussian.magnitude": rng.uniform(),
                "inputs.gaussian.fraction": rng.uniform(),
                "inputs.gaussian.schedule": "linear",
                "inputs.gaussian.linear.a": rng.uniform(),
            },
            distributions=DISTRIBUTIONS,
        )
        for _ in range(count)
    ]


def _found(scores: list[float]) -> Importance:
    found = importance(_trials(), scores)
    assert found is not None
    return found


@cache
def _found_by(name: str) -> Importance:
    """Importance where one parameter is the score."""
    return _found([float(trial.params[name]) for trial in _trials()])


@pytest.mark.parametrize(
    ("parameter", "knob"),
    [
        ("inputs.gaussian.magnitude", "magnitude"),
        ("inputs.gaussian.fraction", "fraction"),
        ("inputs.gaussian.linear.a", "schedule"),
    ],
)
def test_the_knob_that_makes_the_score_comes_out_on_top(parameter: str, knob: str) -> None:
    found = _found_by(parameter)
    assert max(found.shares, key=lambda name: found.shares[name]) == knob
    assert found.chance[knob] <= 0.05
    assert sum(found.shares.values()) == pytest.approx(1.0)


def test_the_noise_comes_out_on_top_where_it_alone_makes_the_score() -> None:
    wanted = [float(trial.params["inputs.noise"] == "gaussian") for trial in _trials()]
    found = _found([value + 1e-6 * k for k, value in enumerate(wanted)])
    assert max(found.shares, key=lambda name: found.shares[name]) == "noise"


def test_a_schedule_that_does_nothing_is_said_to_make_no_difference() -> None:
    found = _found_by("inputs.gaussian.magnitude")
    assert found.sentence.startswith("The shape of the schedule made no difference beyond noise")


def test_a_schedule_that_makes_the_score_is_said_to_matter() -> None:
    found = _found_by("inputs.gaussian.linear.a")
    assert found.sentence.startswith("The shape of the schedule mattered: ")


def test_where_scores_are_chance_no_knob_stands_out_from_shuffles() -> None:
    rng = np.random.default_rng(1)
    found = _found([float(value) for value in rng.uniform(size=COUNT)])
    assert min(found.chance.values()) > LIKELY_BY_CHANCE


def test_the_same_seed_gives_the_same_answer() -> None:
    scores = [float(trial.params["inputs.gaussian.fraction"]) for trial in _trials()]
    assert importance(_trials(), scores, seed=0) == _found_by("inputs.gaussian.fraction")


@pytest.mark.parametrize(("trials", "is_told"), [(19, False), (20, True)])
def test_fewer_than_twenty_complete_trials_give_nothing(trials: int, is_told: bool, tmp_path: Path) -> None:
    run(tmp_path, f"budget.trials={trials}")
    with open_store(locate(tmp_path), create=False) as store:
        found = importance_in(store, store.sweep(NAME))
    assert (found is not None) == is_told
    assert found is None or found.trials == trials


def test_stopped_trials_are_not_looked_at(tmp_path: Path) -> None:
    run(tmp_path, "stopping=halving")
    with open_store(locate(tmp_path), create=False) as store:
        assert importance_in(store, store.sweep(NAME)) is None


def test_status_shows_what_was_stored_when_the_sweep_reached_its_total_also_once_it_goes_on(tmp_path: Path) -> None:
    run(tmp_path)
    assert status(NAME, store=tmp_path)["importance"] is None
    stored = asdict(_found_by("inputs.gaussian.magnitude"))
    with open_store(locate(tmp_path), create=False) as store, store.take_lease(store.sweep(NAME).id) as writer:
        writer.finish_sweep("complete", [], importance=stored)
        writer.finish_sweep("interrupted", [])
    assert status(NAME, store=tmp_path)["importance"] == stored
