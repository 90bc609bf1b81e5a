"""Real sweeps on a PostgreSQL store, tracked, with two jobs under way: to these things happen."""

from __future__ import annotations

import os
import random
import signal
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

import driven_sweeps
from driven_sweeps import HALVED, Driver
from executor_examples import wait_until
from sweep_damage import lost_jobs
from sweep_examples import TINY

from noise_search.commands import SweepOutcome, run_sweep
from noise_search.config import compose
from noise_search.store import Location

OVERRIDES = (*HALVED, "driver.window=2", "driver.ordered=true", "tracking.enabled=true")
ON_PROCESSES = ("executor=processes", "executor.processes=2")
LATER_SECONDS = 0.5


def configuration(*overrides: str) -> tuple[str, ...]:
    """Overrides of a sweep; a model of its own stands in place of the tiny one."""
    own = any(one.startswith("model=") for one in overrides)
    base = (one for one in TINY if not own or not one.startswith("model"))
    return (*base, *OVERRIDES, *overrides)


def undisturbed(folder: Path, *overrides: str) -> Location:
    """The sweep in a store of files, run at one go in this process, one job after another."""
    assert drive(folder, *overrides).state == "complete"
    return Location(folder)


def drive(place: Path | Location, *overrides: str, reporter: Any = None) -> SweepOutcome:
    """Run or continue the sweep in this process."""
    return run_sweep(compose(configuration(*overrides)), store=place, reporter=reporter)


def driving(place: Location, *overrides: str, prefix: tuple[str, ...] = ()) -> AbstractContextManager[Driver]:
    """Start or continue the sweep in a process of its own; see `driven_sweeps.driving`."""
    return driven_sweeps.driving(place, *configuration(*overrides), prefix=prefix)


def killed(place: Location, *overrides: str, jobs: int, rng: random.Random) -> bool:
    """Start or continue the sweep and kill its driver; see `driven_sweeps.killed`."""
    return driven_sweeps.killed(place, *configuration(*overrides), jobs=jobs, rng=rng, later=LATER_SECONDS)


def kill_workers(driver: Driver) -> None:
    """Kill workers until the store knows of a job that was lost with one."""
    for _ in range(5):
        for pid in driver.workers():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if wait_until(lambda: bool(lost_jobs(driver.place)) or driver.process.poll() is not None, 20):
            break
    assert lost_jobs(driver.place), driver.said
