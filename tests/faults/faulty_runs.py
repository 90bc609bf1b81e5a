"""Real sweeps on a PostgreSQL store, in processes of their own, to which things happen; and what became of them."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from executor_examples import wait_until, workers_of
from mlflow import MlflowClient
from sweep_examples import CONTROLS, NAME, TINY, asked, command, environment, findings

from noise_search.commands import SweepOutcome, run_sweep
from noise_search.config import compose
from noise_search.search.fronts import FrontRow, front_rows
from noise_search.store import FINAL_STATES, JobRecord, Location, MemberRecord, open_store
from noise_search.tracking.places import place_of

TRIALS = 9
OVERRIDES = (
    "stopping=pareto_halving",  # after 1, 3, 6 and 9 epochs
    "objective=pareto",
    "train.epochs=9",
    f"budget.trials={TRIALS}",
    "sampler.batch=3",
    "driver.window=2",
    "driver.ordered=true",
    "tracking.enabled=true",
    # Settled, because what is faster may differ between processes, and bits with it.
    "train.mode=fused",
    "train.score_mode=looped",
)
ON_PROCESSES = ("executor=processes", "executor.processes=2")
PATIENCE_SECONDS = 300.0
POLL_SECONDS = 0.02


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
        open_runs, runs_too_many: In MLflow.
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


@dataclass(slots=True)
class Driver:
    """A driver in a process of its own, with its log."""

    place: Location
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def said(self) -> str:
        """What it has written so far."""
        return self.log.read_text(errors="replace")

    def workers(self) -> list[int]:
        """Processes that train for it."""
        return workers_of(self.process.pid)

    def wait_for_jobs(self, done: int) -> None:
        """Wait until so many jobs are done and one is under way."""
        self.wait_until(lambda: count(self.place, "done") >= done and count(self.place, "running") > 0)

    def wait_until(self, is_so: Callable[[], bool]) -> None:
        """Wait for something while it lives."""
        assert wait_until(lambda: is_so() or self.process.poll() is not None, PATIENCE_SECONDS), self.said
        assert self.process.returncode is None, f"it had come to its end before: {self.said}"

    def end(self) -> str:
        """Wait until it is complete; what it has said."""
        assert self.process.wait(PATIENCE_SECONDS) == 0, self.said
        return self.said


@contextmanager
def driving(place: Location, *overrides: str, prefix: tuple[str, ...] = (), **variables: str) -> Iterator[Driver]:
    """Start or continue the sweep; its driver, and so its workers, end with the block at the latest.

    Args:
        place: Of the store.
        overrides: Besides those of all sweeps here.
        prefix: Of its command.
        variables: Of its environment.
    """
    log = place.folder.parent / "driver.log"
    arguments = ("sweep", "--store", place.server or str(place.folder), *configuration(*overrides))
    variables = {"NOISE_SEARCH_FOLDER": str(place.folder)} | variables
    with log.open("ab") as file:
        process = subprocess.Popen(
            [*prefix, *command(*arguments)], env=environment(**variables), stdout=file, stderr=file
        )
    try:
        yield Driver(place, process, log)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        process.wait()


def undisturbed(folder: Path, *overrides: str) -> Location:
    """The sweep in a store of files, run at one go in this process, one job after another."""
    assert drive(folder, *overrides).state == "complete"
    return Location(folder)


def drive(place: Path | Location, *overrides: str, reporter: Any = None) -> SweepOutcome:
    """Run or continue the sweep in this process."""
    return run_sweep(compose(configuration(*overrides)), store=place, reporter=reporter)


def configuration(*overrides: str) -> tuple[str, ...]:
    """Overrides of a sweep; a model of its own stands in place of the tiny one."""
    own = any(one.startswith("model=") for one in overrides)
    base = (one for one in TINY if not own or not one.startswith("model"))
    return (*base, *OVERRIDES, *overrides)


def killed(place: Location, *overrides: str, jobs: int, rng: random.Random) -> bool:
    """Start or continue the sweep, and kill its driver a moment after so many more jobs; False: it ended before."""
    before, later = count(place, "done"), rng.uniform(0.0, 0.5)
    with driving(place, *overrides) as driver:
        wait_until(lambda: driver.process.poll() is not None or count(place, "done") >= before + jobs, PATIENCE_SECONDS)
        if not jobs:  # before there is a sweep, there is nothing to continue
            wait_until(lambda: driver.process.poll() is not None or bool(members(place)), PATIENCE_SECONDS)
        time.sleep(later)
        driver.process.kill()
        ended = driver.process.wait()
    assert ended in (0, -signal.SIGKILL), driver.said
    return ended != 0


def kill_workers(driver: Driver) -> None:
    """Kill workers until the store knows of a job that was lost with one."""
    for _ in range(5):
        for pid in driver.workers():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if wait_until(lambda: bool(lost_jobs(driver.place)) or driver.process.poll() is not None, 20):
            break
    assert lost_jobs(driver.place), driver.said


def lost_jobs(place: Location) -> list[JobRecord]:
    """Jobs that were lost with their workers."""
    return [job for job in _jobs(place) if job.state == "failed" and "LostWorkerError" in (job.error or "")]


def count(place: Location, state: str) -> int:
    """Jobs that are in a state."""
    return sum(job.state == state for job in _jobs(place))


def damage(place: Location, whole: Location, *, failed: Sequence[int] = ()) -> Damage:
    """What is wrong with the sweep in one store, against the one in another that nothing befell.

    Args:
        place, whole: Of the stores.
        failed: Numbers of trials that are `failed` in both, for reasons of which the words differ.
    """
    ours, theirs = _numbers(place), _numbers(whole)
    trials, whole_trials = _told(place), _told(whole)
    for known in (ours, theirs):
        for number in failed:
            known.pop(f"trial {number}", None)
    differing = [name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)]
    differing += [str(n) for n in trials.keys() | whole_trials.keys() if trials.get(n) != whole_trials.get(n)]
    all_members = members(place)
    ended = sum(one.state in FINAL_STATES and (one.told or one.control is not None) for one in all_members)
    running = [*(one.state for one in all_members), *(one.state for one in _jobs(place))].count("running")
    statuses = _mlflow_runs(place)
    return Damage(
        lost=CONTROLS + TRIALS - ended,
        asked_twice=len(trials) - TRIALS,
        different=len(differing),
        running=running + sum(not trial.state.is_finished() for trial in asked(place)),
        epochs_trained_again=_epochs_of_done_jobs(place) - _epochs_of_done_jobs(whole),
        front_differs=_front(place) != _front(whole),
        open_runs=statuses.count("RUNNING"),
        runs_too_many=len(statuses) - (1 + CONTROLS + TRIALS),
    )


def _numbers(place: Location) -> dict[str, object]:
    """Findings without where checkpoints are and what was trained again for want of one: both change no number."""
    left_out = {"checkpoint", "retrained"}
    found = {name: json.loads(text) for name, text in findings(place).items()}
    return {name: {key: one[key] for key in one.keys() - left_out} for name, one in found.items()}


def _front(place: Location) -> list[FrontRow]:
    with open_store(place, create=False) as store:
        return front_rows(store, store.sweep(NAME).id)


def _told(place: Location) -> dict[int, str]:
    return {one.number: repr((one.state, one.values, one.params, one.constraints)) for one in asked(place)}


def members(place: Location) -> list[MemberRecord]:
    """Trials and controls of the sweep."""
    with open_store(place, create=False) as store:
        sweep = store.find_sweep(NAME)
        return [] if sweep is None else store.members(sweep.id)


def _jobs(place: Location) -> list[JobRecord]:
    with open_store(place, create=False) as store:
        sweep = store.find_sweep(NAME)
        return [] if sweep is None else store.jobs(sweep.id)


def _epochs_of_done_jobs(place: Location) -> int:
    return sum(job.epochs_trained for job in _jobs(place) if job.state == "done")


def _mlflow_runs(place: Location) -> list[str]:
    """Statuses of the sweep's runs."""
    with open_store(place, create=False) as store:
        where = place_of(place, store.sweep(NAME))
    client = MlflowClient(where.url, registry_uri=where.url)
    experiments = [one.experiment_id for one in client.search_experiments()]
    runs = client.search_runs(experiments, f"tags.`noise_search.sweep` = '{NAME}'", max_results=1000)
    return [run.info.status for run in runs if where.is_own(run.data.tags)]
