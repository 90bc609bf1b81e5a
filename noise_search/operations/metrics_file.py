"""The metrics of a sweep in a file, in Prometheus' text format: what the textfile collector of node_exporter reads."""

from __future__ import annotations

import logging
import re
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from noise_search.errors import CallerError
from noise_search.files import write_whole

if TYPE_CHECKING:
    from prometheus_client.core import Metric

_log = logging.getLogger(__name__)
METRICS_FILE = "metrics.prom"  # its name, in the folder of a sweep
WINDOW_SECONDS = 60.0  # of the gauge of trials per second
PREFIX = "noise_search_"


@dataclass(frozen=True, slots=True)
class Numbers:
    """How a sweep stands.

    Args:
        running: Whether its driver lives.
        store_lost: Whether the driver waits for its database, or has given that up.
        trials, controls: By state.
        budget: Trials that the sweep is to have.
        queued: Trials and controls that are to train next and are in no job.
        jobs_under_way, jobs: Those that are submitted, and those that have ended, by state.
        epochs, samples: Trained and scored, over all members.
        seconds: That its jobs have taken.
        unsent: Messages that the mirror has yet to send.
        mirror_failing: Whether it could not send the last.
        front, hypervolume, best: Of complete trials; None before there are any.
    """

    running: bool
    store_lost: bool
    trials: Mapping[str, int]
    controls: Mapping[str, int]
    budget: int
    queued: int
    jobs_under_way: int
    jobs: Mapping[str, int]
    epochs: int
    samples: int
    seconds: float
    unsent: int
    mirror_failing: bool
    front: int | None
    hypervolume: float | None
    best: float | None

    @property
    def ended(self) -> int:
        """Trials that have come to their end."""
        return sum(count for state, count in self.trials.items() if state not in ("running", "waiting"))


# Name -> what it means; the same words whoever writes them, as collectors of many files want it.
METRICS = {
    "running": "1 while a driver is at work on the sweep, as far as it could say; see heartbeat_timestamp_seconds",
    "store_lost": "1 while the driver waits for its database, and when it has given that up",
    "heartbeat_timestamp_seconds": "when the driver last wrote these numbers",
    "trials": "trials by state",
    "controls": "controls by state",
    "budget_trials": "trials that the sweep is to have",
    "queued": "trials and controls that are to train next and are in no job",
    "jobs_under_way": "jobs that are submitted and have not ended",
    "trials_ended_total": "trials that have come to their end, however",
    "trials_per_second": f"trials that came to their end, over the last {WINDOW_SECONDS:g} seconds",
    "jobs_total": "jobs that have ended, by state",
    "epochs_trained_total": "epochs trained, over all trials, controls and seeds",
    "samples_scored_total": "samples scored, clean and corrupted",
    "job_seconds_total": "seconds that jobs have taken; those of jobs side by side count once",
    "mirror_unsent_messages": "messages that MLflow has yet to get",
    "mirror_failing": "1 while MLflow does not take them",
    "front_trials": "trials on the front",
    "front_hypervolume": "area of clean by robust accuracy that the front dominates over no noise",
    "best_score": "score of the best complete trial",
}


class MetricsFile:
    """File of a sweep's metrics, replaced as a whole whenever it is written.

    Args:
        path: Of the file, which ends in `.prom`; what prevents its writing is a warning, no error.
        sweep: Label of every number.
        numbers: Gives them.
    """

    def __init__(self, path: Path, sweep: str, numbers: Callable[[], Numbers]) -> None:
        from prometheus_client import CollectorRegistry  # late: it is not needed to look at a store

        self._path, self._sweep, self._numbers = path, sweep, numbers
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        self._found: Numbers | None = None
        self._written: tuple[int, int] | None = None
        self._ended: deque[tuple[float, int]] = deque()  # when how many trials had come to their end
        self._has_warned = False

    def write(self, *, if_ours: bool = False) -> None:
        """Write the numbers as they are now.

        Args:
            if_ours: Whether only in place of what was written last: another driver may have the sweep by now.
        """
        from prometheus_client import write_to_textfile

        self._found = self._numbers()  # before the file is begun: it may be written for the while that this takes
        try:
            if if_ours and self._state() != self._written:
                return
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_to_textfile(str(self._path), self._registry)
            self._written = self._state()
        except OSError as error:
            if not self._has_warned:
                self._has_warned = True
                _log.warning("%s cannot be written, the sweep goes on: %s", self._path, error)

    def _state(self) -> tuple[int, int] | None:
        """What tells the file from one that another has put in its place; None where there is none."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_mtime_ns

    def collect(self) -> Iterator[Metric]:
        """Families of the registry."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        assert self._found is not None
        for name, labelled in self._values(self._found).items():
            label = {"trials": ["state"], "controls": ["state"], "jobs_total": ["state"]}.get(name, [])
            kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            family = kind(PREFIX + name, METRICS[name], labels=["sweep", *label])
            for value, number in labelled.items():
                family.add_metric([self._sweep, *([value] if label else [])], number)
            yield family

    def _values(self, found: Numbers) -> dict[str, Mapping[str, float]]:
        """Metric -> value of its own label -> number; metrics of one number have one label, which is empty."""
        single: dict[str, float | None] = {
            "running": found.running,
            "store_lost": found.store_lost,
            "heartbeat_timestamp_seconds": time.time(),
            "budget_trials": found.budget,
            "queued": found.queued,
            "jobs_under_way": found.jobs_under_way,
            "trials_ended_total": found.ended,
            "trials_per_second": self._rate(found.ended),
            "epochs_trained_total": found.epochs,
            "samples_scored_total": found.samples,
            "job_seconds_total": found.seconds,
            "mirror_unsent_messages": found.unsent,
            "mirror_failing": found.mirror_failing,
            "front_trials": found.front,
            "front_hypervolume": found.hypervolume,
            "best_score": found.best,
        }
        by_state = {"trials": found.trials, "controls": found.controls, "jobs_total": found.jobs}
        known = {name: {"": float(value)} for name, value in single.items() if value is not None}
        both: dict[str, Mapping[str, float]] = {**known, **by_state}
        return {name: both[name] for name in METRICS if name in both}

    def _rate(self, ended: int) -> float:
        """Trials a second since the window began, or since the driver did."""
        now = time.monotonic()
        self._ended.append((now, ended))
        while len(self._ended) > 2 and now - self._ended[1][0] >= WINDOW_SECONDS:
            self._ended.popleft()
        since, before = self._ended[0]
        return (ended - before) / (now - since) if now > since else 0.0


def set_numbers(path: Path, **numbers: float) -> None:
    """Set numbers in a file whose driver has ended; nothing where there is none, a warning where it cannot be done.

    Args:
        path: Of the file.
        numbers: By the names of metrics that have one number.
    """
    try:
        text = path.read_text(encoding="utf-8")
        for name, number in numbers.items():
            text = re.sub(rf"^({PREFIX}{name}{{.*}}) \S+$", rf"\g<1> {float(number)}", text, flags=re.MULTILINE)
        write_whole(path, text.encode(), "metrics")
    except FileNotFoundError:
        return
    except (OSError, CallerError) as error:
        _log.warning("%s cannot be brought up to date: %s", path, error)
