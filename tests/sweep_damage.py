"""What is wrong with a sweep to which something has happened, against the same one to which nothing has."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from mlflow import MlflowClient
from sweep_examples import CONTROLS, NAME, asked, findings

from noise_search.errors import CallerError
from noise_search.search.fronts import FrontRow, front_rows
from noise_search.store import FINAL_STATES, JobRecord, Location, MemberRecord, open_store
from noise_search.tracking.places import place_of


@dataclass(frozen=True, slots=True)
class Damage:
    """What is wrong with a sweep, against the one that nothing befell; all zero where nothing is.

    Args:
        lost: Members that came to no end, or were never told to the sampler.
        asked_twice: Trials that the sampler was asked for beyond the budget.
        different: Members that have another number, and trials that Optuna knows otherwise.
        running: Members, jobs and trials that are left running.
        epochs_trained_again: Beyond those of jobs that failed or that a killed driver left.
        front_differs: Whether the front is another.
        open_runs, runs_too_many: In MLflow, where it is tracked.
    """

    lost: int
    asked_twice: int
    different: int
    running: int
    epochs_trained_again: int
    front_differs: bool
    open_runs: int
    runs_too_many: int


NONE = Damage(0, 0, 0, 0, 0, front_differs=False, open_runs=0, runs_too_many=0)


@dataclass(frozen=True, slots=True)
class Left:
    """What a killed process left: jobs that were done and those that ran, trials asked, and those of them told."""

    jobs_done: int
    jobs_running: int
    asked: int
    told: int


def left(place: Location) -> Left:
    """How a sweep stands."""
    trials = asked(place) if jobs(place) else []
    told = sum(trial.state.is_finished() for trial in trials)
    return Left(count(place, "done"), count(place, "running"), len(trials), told)


def damage(place: Location, whole: Location, *, failed: Sequence[int] = ()) -> Damage:
    """What is wrong with the sweep in one store, against the one in another that nothing befell.

    Args:
        place, whole: Of the stores.
        failed: Numbers of trials that are `failed` in both, for reasons of which the words differ.
    """
    # On a server checkpoints may be wanting where a disk was full, and lie elsewhere; neither changes a number.
    left_out = frozenset({"checkpoint", "retrained"}) if place.is_shared else frozenset[str]()
    ours, theirs = _numbers(place, left_out), _numbers(whole, left_out)
    trials, whole_trials = _told(place), _told(whole)
    for known in (ours, theirs):
        for number in failed:
            known.pop(f"trial {number}", None)
    differing = [name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)]
    differing += [str(n) for n in trials.keys() | whole_trials.keys() if trials.get(n) != whole_trials.get(n)]
    all_members, budget = members(place), _budget(place)
    ended = sum(one.state in FINAL_STATES and (one.told or one.control is not None) for one in all_members)
    running = [*(one.state for one in all_members), *(one.state for one in jobs(place))].count("running")
    statuses = _mlflow_runs(place)
    return Damage(
        lost=CONTROLS + budget - ended,
        asked_twice=len(trials) - budget,
        different=len(differing),
        running=running + sum(not trial.state.is_finished() for trial in asked(place)),
        epochs_trained_again=_epochs_of_done_jobs(place) - _epochs_of_done_jobs(whole),
        front_differs=_front(place) != _front(whole),
        open_runs=0 if statuses is None else statuses.count("RUNNING"),
        runs_too_many=0 if statuses is None else len(statuses) - (1 + CONTROLS + budget),
    )


def members(place: Location) -> list[MemberRecord]:
    """Trials and controls of the sweep; none where there is no store yet."""
    with suppress(CallerError), open_store(place, create=False) as store:
        sweep = store.find_sweep(NAME)
        return [] if sweep is None else store.members(sweep.id)
    return []


def jobs(place: Location) -> list[JobRecord]:
    """Jobs of the sweep; none where there is no store yet."""
    with suppress(CallerError), open_store(place, create=False) as store:
        sweep = store.find_sweep(NAME)
        return [] if sweep is None else store.jobs(sweep.id)
    return []


def count(place: Location, state: str) -> int:
    """Jobs that are in a state."""
    return sum(job.state == state for job in jobs(place))


def lost_jobs(place: Location) -> list[JobRecord]:
    """Jobs that were lost with their workers."""
    return [job for job in jobs(place) if job.state == "failed" and "LostWorkerError" in (job.error or "")]


def _numbers(place: Location, left_out: frozenset[str]) -> dict[str, object]:
    """Findings, but for some keys, none of which changes a number."""
    found = {name: json.loads(text) for name, text in findings(place).items()}
    return {name: {key: one[key] for key in one.keys() - left_out} for name, one in found.items()}


def _budget(place: Location) -> int:
    with open_store(place, create=False) as store:
        return store.sweep(NAME).budget_trials


def _front(place: Location) -> list[FrontRow]:
    with open_store(place, create=False) as store:
        return front_rows(store, store.sweep(NAME).id)


def _told(place: Location) -> dict[int, str]:
    return {one.number: repr((one.state, one.values, one.params, one.constraints)) for one in asked(place)}


def _epochs_of_done_jobs(place: Location) -> int:
    return sum(job.epochs_trained for job in jobs(place) if job.state == "done")


def _mlflow_runs(place: Location) -> list[str] | None:
    """Statuses of the sweep's runs; None where it is not tracked."""
    with open_store(place, create=False) as store:
        sweep = store.sweep(NAME)
        if not store.outbox_keys(sweep.id):
            return None
        where = place_of(place, sweep)
    client = MlflowClient(where.url, registry_uri=where.url)
    experiments = [one.experiment_id for one in client.search_experiments()]
    runs = client.search_runs(experiments, f"tags.`noise_search.sweep` = '{NAME}'", max_results=1000)
    return [run.info.status for run in runs if where.is_own(run.data.tags)]
