"""Simulated jobs side by side: what a driver does with thousands of workers, in seconds on one core."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping

from noise_search.execute.contract import Finished, OnEpoch
from noise_search.execute.simulated import Curve, SimulatedExecutor
from noise_search.training import Job


class SimulatedPlaces(SimulatedExecutor):
    """Executor that looks up learning curves, with as many workers as one likes.

    A job begins when it is submitted or, where every worker is at work, when the first of them is free, and ends by the
    clock of the simulation. The first to end comes first; of those that end together the one that was submitted first.

    Args:
        curve, kinds: See `SimulatedExecutor`.
        places: Workers.
        seconds: What a job takes by the clock; None: a second an epoch.
    """

    def __init__(
        self,
        curve: Curve,
        kinds: Mapping[str, int],
        *,
        places: int,
        seconds: Callable[[int, Job], float] | None = None,
    ) -> None:
        super().__init__(curve, kinds, seconds_per_epoch=0.0)
        self._places = places
        self._seconds = seconds or _a_second_an_epoch
        self._free = [0.0] * places  # when each worker is
        self._ends: list[tuple[float, int, int, Job]] = []
        self._count = 0

    @property
    def places(self) -> int:
        """Workers."""
        return self._places

    def submit(self, ticket: int, job: Job) -> None:
        """Give a job to the worker that is free first."""
        begins = max(self._now, heapq.heappop(self._free))
        ends = begins + self._seconds(ticket, job)
        heapq.heappush(self._free, ends)
        heapq.heappush(self._ends, (ends, self._count, ticket, job))
        self._count += 1

    def next(self, on_epoch: OnEpoch) -> Finished:
        """Let the clock go on until a job ends."""
        if not self._ends:
            raise ValueError("next: expected a submitted job, got none")
        ends, count, ticket, job = heapq.heappop(self._ends)
        self._now = max(self._now, ends)
        self._submitted.append((ticket, job))
        try:
            return super().next(on_epoch)
        except BaseException:
            heapq.heappush(self._ends, (ends, count, ticket, job))
            raise
        finally:
            self._submitted.clear()

    def close(self) -> None:
        """Forget what was submitted."""
        self._ends.clear()


def _a_second_an_epoch(_ticket: int, job: Job) -> float:
    return float(job.to_epoch - job.from_epoch)
