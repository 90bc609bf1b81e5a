"""Trials trained with several seeds: slots of the same jobs, scores that are means."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

import pytest
import simulations
from sweep_examples import NAME, drive, spec

from noise_search.commands import front, pick, status
from noise_search.execute.simulated import Point
from noise_search.policy import Policy
from noise_search.search.working import training_seeds
from noise_search.store import MemberRecord, ResultRecord, locate, open_store

SEEDS = 3


def _stored(folder: Path, name: str = NAME) -> tuple[list[MemberRecord], list[ResultRecord]]:
    with open_store(locate(folder), create=False) as store:
        sweep_id = store.sweep(name).id
        return store.members(sweep_id), store.results(sweep_id)


def test_the_first_seed_is_that_of_the_sweep_and_more_seeds_leave_the_first_ones_as_they_were() -> None:
    few, many = training_seeds(spec("budget.seeds=2", "seed=5")), training_seeds(spec("budget.seeds=4", "seed=5"))
    assert few[0] == 5
    assert many[:2] == few
    assert len(set(many)) == 4
    assert training_seeds(spec("seed=5")) == (5,)


def test_the_slots_of_a_job_are_every_seed_of_a_member_and_then_those_of_the_next(tmp_path: Path) -> None:
    simulations.run(tmp_path, f"budget.seeds={SEEDS}", "budget.trials=4", "driver.cohort=6")
    seeds = list(training_seeds(simulations.simulated_spec(f"budget.seeds={SEEDS}")))
    with open_store(locate(tmp_path), create=False) as store:
        jobs = store.jobs(store.sweep(simulations.NAME).id)
    assert max(len(job.members) for job in jobs) == 6
    for job in jobs:
        members = list(dict.fromkeys(job.members))
        assert list(job.members) == [member for member in members for _ in seeds]
        assert list(job.seeds) == seeds * len(members)


def test_what_is_told_and_shown_of_a_trial_is_its_mean_over_the_seeds(tmp_path: Path) -> None:
    simulations.run(tmp_path, f"budget.seeds={SEEDS}", "budget.trials=4")
    members, results = _stored(tmp_path, simulations.NAME)
    with open_store(locate(tmp_path), create=False) as store:
        values = {trial.number: trial.value for trial in simulations.told(store)}
    means = {
        member.number: fmean(row.scores["score"] for row in results if row.member_id == member.id)
        for member in members
        if member.number is not None
    }
    assert values == pytest.approx(means)
    assert status(simulations.NAME, store=tmp_path)["best"]["score"] == pytest.approx(max(means.values()))
    assert status(simulations.NAME, store=tmp_path)["best"]["trial"] == max(means, key=lambda k: means[k])
    for row in front(simulations.NAME, store=tmp_path):
        if row.trial is not None:
            assert row.score == pytest.approx(means[row.trial])


@pytest.mark.parametrize("objective", ["combined", "pareto"])
def test_a_trial_that_diverges_with_one_of_its_seeds_is_told_the_finite_worst(objective: str, tmp_path: Path) -> None:
    def curve(policy: Policy, seed: int, _epoch: int) -> Point:
        return Point(0.8, 0.5, diverged=bool(policy.terms) and seed != 0)

    few = ("budget.seeds=2", "budget.trials=4", "space=gaussian", f"objective={objective}")
    simulations.run(tmp_path, *few, curve=curve)
    assert {member.state for member in _stored(tmp_path, simulations.NAME)[0] if member.number is not None} == {
        "infeasible"
    }
    with open_store(locate(tmp_path), create=False) as store:
        assert [set(trial.values) for trial in simulations.told(store)] == [{0.0}] * 4


def test_the_numbers_of_the_first_seed_are_those_of_a_sweep_with_that_seed_alone(tmp_path: Path) -> None:
    small = ("budget.trials=2", "controls.constants=0", "controls.random=0")
    drive(tmp_path / "one", *small)
    drive(tmp_path / "two", *small, "budget.seeds=2")
    members, alone = _stored(tmp_path / "one")
    _, together = _stored(tmp_path / "two")
    first = training_seeds(spec())[0]
    assert len(together) == 2 * len(alone) == 2 * len(members)
    for member in members:
        (one,) = (row for row in alone if row.member_id == member.id)
        (two,) = (row for row in together if row.member_id == member.id and row.seed == first)
        assert (one.scores, one.cells, one.history) == (two.scores, two.cells, two.history)
    assert status(NAME, store=tmp_path / "two")["budget"] == {"trials": 2, "seeds": 2}
    evidence = pick(NAME, store=tmp_path / "two").card.evidence
    assert evidence is not None
    assert len(evidence["seeds"]) == 2
