"""Executors: they train jobs and know nothing of databases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from noise_search.execute.inline import InlineExecutor
from noise_search.execute.simulated import RecordedExecutor, Recording, SimulatedExecutor
from noise_search.training import Job, Result


class Executor(Protocol):
    """Trains jobs, one at a time; it may raise what training raises, and the driver decides what follows."""

    @property
    def validation_samples(self) -> int:
        """Samples of one scored set."""

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch."""

    def now(self) -> float:
        """Seconds by the clock that training is timed with."""

    def run(self, job: Job, on_epoch: Callable[[int], None]) -> list[Result]:
        """Results in slot order; `on_epoch` is told of finished member-epochs as they come, now and then of none."""


__all__ = ["Executor", "InlineExecutor", "RecordedExecutor", "Recording", "SimulatedExecutor"]
