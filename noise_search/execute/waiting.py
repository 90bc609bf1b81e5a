"""What executors have in common whose jobs train outside the driver's process: waiting, and looking after workers."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence

from noise_search.execute.contract import Finished, OnEpoch
from noise_search.execute.workers import BEAT_SECONDS, Sizes


class WaitingExecutor(ABC):
    """Waits for news of jobs, and looks every second whether their workers live.

    Args:
        sizes: Of the sweep.
    """

    def __init__(self, sizes: Sizes) -> None:
        self._sizes = sizes
        self._finished: deque[Finished] = deque()
        self._looked = 0.0

    @property
    def validation_samples(self) -> int:
        """Samples of one scored set."""
        return self._sizes.validation_samples

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch."""
        return self._sizes.steps_per_epoch

    def now(self) -> float:
        """Seconds by the machine's clock."""
        return time.monotonic()

    def next(self, on_epoch: OnEpoch) -> Finished:
        """Wait until one of the submitted jobs has ended, and give it.

        Args:
            on_epoch: As executors have it; of a job that begins again, told that as many are lost as were finished.

        Raises:
            CallerError: Workers cannot be made ready, or end time and again before they are.
            LostClusterError: Where jobs train there is nobody left.
            ValueError: Nothing is submitted.
        """
        while not self._finished:
            if not self._tickets():
                raise ValueError("nothing is submitted: call submit before next")
            self._take_in(on_epoch)
            self._look_about(on_epoch)
        return self._finished.popleft()

    def _look_about(self, on_epoch: OnEpoch) -> None:
        """Every second, look after the workers, and let the driver look whether to go on."""
        now = time.monotonic()
        if now - self._looked < BEAT_SECONDS:
            return
        self._looked = now
        self._look_after(now, on_epoch)
        for ticket in self._tickets()[:1]:
            on_epoch(ticket, 0)

    @abstractmethod
    def _tickets(self) -> Sequence[int]:
        """Of all jobs that have not ended."""

    @abstractmethod
    def _take_in(self, on_epoch: OnEpoch) -> None:
        """Wait a second for news of some job, and heed it."""

    @abstractmethod
    def _look_after(self, now: float, on_epoch: OnEpoch) -> None:
        """Find workers that are gone or silent."""
