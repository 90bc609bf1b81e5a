"""Executors that train in the calling thread: one job after another, in the order in which they were submitted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from functools import partial

from noise_search.execute.contract import Finished, OnEpoch
from noise_search.training import Job, Result

THIS_PROCESS = "the driver"  # as the name of a worker


class OneByOne(ABC):
    """What is left to do for an executor that trains a job whenever it is asked for the next."""

    def __init__(self) -> None:
        self._submitted: deque[tuple[int, Job]] = deque()

    @property
    def places(self) -> int:
        """One: jobs train one after another."""
        return 1

    @abstractmethod
    def now(self) -> float:
        """Seconds by the clock that training is timed with."""

    @abstractmethod
    def run(self, job: Job, on_epoch: Callable[[int], None]) -> list[Result]:
        """Results in slot order; `on_epoch` is told of finished member-epochs as they come, now and then of none."""

    def submit(self, ticket: int, job: Job) -> None:
        """Leave a job for `next`."""
        self._submitted.append((ticket, job))

    def next(self, on_epoch: OnEpoch) -> Finished:
        """Train the oldest job."""
        if not self._submitted:
            raise ValueError("next: expected a submitted job, got none")
        ticket, job = self._submitted[0]
        telling = _Telling(partial(on_epoch, ticket))
        try:
            finished = Finished(ticket, self.run(job, telling), worker=THIS_PROCESS)
        except Exception as error:
            if telling.error is not None:  # no training is to blame
                raise telling.error from None
            finished = Finished(ticket, None, error, THIS_PROCESS)
        self._submitted.popleft()
        return finished

    def close(self) -> None:
        """Forget what was submitted."""
        self._submitted.clear()


class _Telling:
    """Passes on what training tells, and keeps what went wrong in that: training may wrap it, or say it otherwise."""

    def __init__(self, on_epoch: Callable[[int], None]) -> None:
        self._on_epoch = on_epoch
        self.error: Exception | None = None

    def __call__(self, epochs: int) -> None:
        try:
            self._on_epoch(epochs)
        except Exception as error:
            self.error = error
            raise
