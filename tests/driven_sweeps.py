"""Real sweeps whose drivers are processes of their own, which can be killed."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from executor_examples import wait_until, workers_of
from sweep_damage import count, members
from sweep_examples import command, environment

from noise_search.store import Location

TRIALS = 9
HALVED = (
    "stopping=pareto_halving",  # after 1, 3, 6 and 9 epochs
    "objective=pareto",
    "train.epochs=9",
    f"budget.trials={TRIALS}",
    "sampler.batch=3",
    # Settled, because what is faster may differ between processes, and bits with it.
    "train.mode=fused",
    "train.score_mode=looped",
)
PATIENCE_SECONDS = 300.0


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
    """Start or continue a sweep; its driver, and so its workers, end with the block at the latest.

    Args:
        place: Of the store, in whose parent folder its log lies.
        overrides: Its configuration.
        prefix: Of its command.
        variables: Of its environment.
    """
    log = place.folder.parent / "driver.log"
    arguments = ("sweep", "--store", place.server or str(place.folder), *overrides)
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


def killed(place: Location, *overrides: str, jobs: int, rng: random.Random, later: float) -> bool:
    """Start or continue a sweep, and kill its driver a moment after so many more jobs.

    Args:
        place, overrides: See `driving`.
        jobs: That are to be done first.
        rng: Says how long after that.
        later: Seconds, at most: about as long as a job takes.

    Returns:
        False where it had come to its end before.
    """
    before, seconds = count(place, "done"), rng.uniform(0.0, later)
    with driving(place, *overrides) as driver:
        wait_until(lambda: driver.process.poll() is not None or count(place, "done") >= before + jobs, PATIENCE_SECONDS)
        if not jobs:  # before there is a sweep, there is nothing to continue
            wait_until(lambda: driver.process.poll() is not None or bool(members(place)), PATIENCE_SECONDS)
        time.sleep(seconds)
        driver.process.kill()
        ended = driver.process.wait()
    assert ended in (0, -signal.SIGKILL), driver.said
    return ended != 0
