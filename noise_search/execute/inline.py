"""Run jobs in the driver's own process."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from noise_search.execute.one_by_one import OneByOne
from noise_search.training import Job, Resolved, Result, Workbench, run_from_checkpoints


class InlineExecutor(OneByOne):
    """Keeps one workbench, and trains on it whatever job it is given.

    Args:
        workbench: Data, model and yardstick of the sweep.
        mode, score_mode: How cohorts train and are scored.
    """

    def __init__(self, workbench: Workbench, mode: Resolved, score_mode: Resolved) -> None:
        super().__init__()
        self._workbench = replace(workbench, setup=replace(workbench.setup, mode=mode, score_mode=score_mode))

    @property
    def validation_samples(self) -> int:
        """Samples of one scored set."""
        return len(self._workbench.yardstick.labels)

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch."""
        return self._workbench.steps_per_epoch

    def now(self) -> float:
        """Seconds by the machine's clock."""
        return time.monotonic()

    def run(self, job: Job, on_epoch: Callable[[int], None]) -> list[Result]:
        """Train and score a job; `on_epoch` is told of finished member-epochs, and every second of none."""
        return run_from_checkpoints(job, self._workbench, on_epoch)
