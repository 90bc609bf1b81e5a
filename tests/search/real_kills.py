"""Real sweeps whose process is killed (kill -9) at random moments: at the end they are to be what they are without."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from sweep_examples import CONTROLS, NAME, TINY, asked, command, environment, findings

from noise_search.commands import front
from noise_search.store import FINAL_STATES, locate, open_store

TRIALS = 9
OVERRIDES = (
    "stopping=pareto_halving",  # after 1, 3, 6 and 9 epochs
    "objective=pareto",
    "train.epochs=9",
    f"budget.trials={TRIALS}",
    "sampler.batch=3",
    # Settled, because what is faster may differ between processes, and bits with it.
    "train.mode=fused",
    "train.score_mode=looped",
)
POLL_SECONDS = 0.01
LATER_SECONDS = 0.2  # how long after the end of a job a kill comes, at most: about as long as a job takes


@dataclass(frozen=True, slots=True)
class Left:
    """What a killed process left: jobs that were done and those that ran, trials asked, and those of them told."""

    jobs_done: int
    jobs_running: int
    asked: int
    told: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a sweep, against the one that was not killed; all zero where nothing went wrong."""

    lost: int
    asked_twice: int
    different: int
    running: int
    epochs_trained_again: int
    front_differs: bool
    open_runs: int
    runs_too_many: int


def killed(folder: Path, *overrides: str, jobs: int, rng: random.Random) -> Left | None:
    """Start the sweep, kill its process a moment after so many jobs are done; None: it had come to its end before."""
    arguments = ("sweep", "--store", str(folder), *TINY, *OVERRIDES, *overrides)
    later, before = rng.uniform(0.0, LATER_SECONDS), _count(folder, "jobs WHERE state = 'done'")
    with subprocess.Popen(
        command(*arguments), env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        while process.poll() is None and _count(folder, "jobs WHERE state = 'done'") < before + jobs:
            time.sleep(POLL_SECONDS)
        if not jobs:
            _wait_for_the_first(folder, process)
        time.sleep(later)
        process.kill()
    assert process.returncode in (0, -signal.SIGKILL)
    return left(folder) if process.returncode else None


def _wait_for_the_first(folder: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until there is a sweep: before, there is nothing to continue."""
    while process.poll() is None and not _count(folder, "sweeps"):
        time.sleep(POLL_SECONDS)


def _count(folder: Path, rows: str) -> int:
    try:
        with closing(sqlite3.connect(f"file:{folder / 'search.db'}?mode=ro", uri=True)) as connection:
            (count,) = connection.execute(f"SELECT count(*) FROM {rows}").fetchone()
            return int(count)
    except sqlite3.OperationalError:  # no file, or no tables yet
        return 0


def left(folder: Path) -> Left:
    """How a sweep stands."""
    with open_store(locate(folder), create=False) as store:
        states = [job.state for job in store.jobs(store.sweep(NAME).id)]
    trials = asked(folder) if states else []
    told = sum(trial.state.is_finished() for trial in trials)
    return Left(states.count("done"), states.count("running"), len(trials), told)


def jobs_done(folder: Path) -> int:
    """Jobs of a sweep that are done."""
    return _count(folder, "jobs WHERE state = 'done'")


def outcome(folder: Path, whole: Path) -> Outcome:
    """What became of the sweep in one store, against the one in another that ran at one go."""
    found, expected = findings(folder), findings(whole)
    trials, whole_trials = _told(folder), _told(whole)
    differing = [name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name)]
    differing += [str(n) for n in trials.keys() | whole_trials.keys() if trials.get(n) != whole_trials.get(n)]
    with open_store(locate(folder), create=False) as store:
        sweep_id = store.sweep(NAME).id
        members, jobs = store.members(sweep_id), store.jobs(sweep_id)
    running = [*(one.state for one in members), *(one.state for one in jobs)].count("running")
    ended = sum(one.state in FINAL_STATES and (one.told or one.control is not None) for one in members)
    open_runs, runs = _mlflow_runs(folder)
    return Outcome(
        lost=CONTROLS + TRIALS - ended,
        asked_twice=len(trials) - TRIALS,
        different=len(differing),
        running=running + sum(not trial.state.is_finished() for trial in asked(folder)),
        epochs_trained_again=_epochs_trained(folder) - _epochs_trained(whole),
        front_differs=front(NAME, store=folder) != front(NAME, store=whole),
        open_runs=open_runs,
        runs_too_many=runs - (1 + CONTROLS + TRIALS) if runs else 0,
    )


def _told(folder: Path) -> dict[int, str]:
    return {one.number: repr((one.state, one.values, one.params, one.constraints)) for one in asked(folder)}


def _epochs_trained(folder: Path) -> int:
    with open_store(locate(folder), create=False) as store:
        return sum(job.epochs_trained for job in store.jobs(store.sweep(NAME).id) if job.state == "done")


def _mlflow_runs(folder: Path) -> tuple[int, int]:
    """Runs that are open, and all of them; none where nothing is tracked."""
    if not locate(folder).tracking_path.exists():
        return 0, 0
    from mlflow import MlflowClient

    url = locate(folder).tracking_url
    client = MlflowClient(url, registry_uri=url)
    experiment = client.get_experiment_by_name("noise_search")
    runs = client.search_runs([experiment.experiment_id])
    return sum(run.info.status == "RUNNING" for run in runs), len(runs)
