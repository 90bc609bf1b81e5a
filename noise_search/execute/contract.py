"""What executors have in common: jobs are submitted, and come back finished in whatever order they end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from noise_search.training import Job, Result

OnEpoch = Callable[[int, int], None]  # ticket, finished member-epochs


class LostWorkerError(RuntimeError):
    """Whoever trained a job is gone: its process died or fell silent, or its machine left."""


class LostClusterError(RuntimeError):
    """The cluster that jobs train on is gone: nothing can be submitted any more."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A job that has come to its end.

    Args:
        ticket: That it was submitted with.
        results: In slot order; None where it failed.
        error: What training raised, or `LostWorkerError`; None where it did not fail.
        worker: Name of who trained it, for people; None where that is not known.
    """

    ticket: int
    results: list[Result] | None
    error: Exception | None = None
    worker: str | None = None


class Executor(Protocol):
    """Trains jobs, and knows nothing of databases; what becomes of a job that fails, the driver decides."""

    @property
    def validation_samples(self) -> int:
        """Samples of one scored set."""

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch."""

    @property
    def places(self) -> int:
        """Jobs that can train at the same time."""

    def now(self) -> float:
        """Seconds by the clock that training is timed with."""

    def submit(self, ticket: int, job: Job) -> None:
        """Leave a job to be trained; returns at once."""

    def next(self, on_epoch: OnEpoch) -> Finished:
        """Wait until one of the submitted jobs has ended, and give it.

        Args:
            on_epoch: Told of finished member-epochs as they come, and about every second of none. What it raises is
                raised from here, and the jobs stay submitted.

        Raises:
            ValueError: Nothing is submitted.
            LostClusterError: Where jobs train there is nobody left.
        """

    def close(self) -> None:
        """End whatever still trains, and let go of workers; again is no harm."""


def trained(
    executor: Executor, jobs: Sequence[Job], on_epoch: Callable[[int], None]
) -> Iterator[tuple[int, list[Result]]]:
    """Train jobs, as many at a time as there are places, and give the number of each with its results as they end.

    Args:
        executor: With nothing submitted.
        jobs: None of which may fail: there is nobody here who would know what follows from it.
        on_epoch: As in `Executor.next`, of whatever job.

    Raises:
        Exception: What training raised.
    """
    left = iter(enumerate(jobs))
    for _, (number, job) in zip(range(executor.places), left, strict=False):
        executor.submit(number, job)
    for _ in jobs:
        finished = executor.next(lambda _ticket, epochs: on_epoch(epochs))
        if finished.results is None:
            raise finished.error or LostWorkerError("a job ended without results")
        if following := next(left, None):
            executor.submit(*following)
        yield finished.ticket, finished.results
