"""What trains jobs outside the driver's process, wherever that is: plain data in, plain data out.

A worker is given a kit, builds its workbench once, and trains one job after another on it. What it has to say it says
in news: signs of life, finished member-epochs, log records, and at the end results or what went wrong.
"""

from __future__ import annotations

import logging
import os
import pickle
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from logging.handlers import QueueHandler

import torch

from noise_search.errors import CallerError
from noise_search.execute.contract import Finished
from noise_search.training import Job, Result, ScoredOn, Setup, Workbench, make_workbench, run_from_checkpoints

BEAT_SECONDS = 1.0
_OURS = "noise_search"


@dataclass(frozen=True, slots=True)
class Kit:
    """All that a worker needs, to be sent to it; names are looked up where it runs.

    Args:
        setup: Of the sweep, its modes settled.
        digest: Of the driver's data, which a worker's have to be.
        scored_on: Split that trials are scored on.
        threads: Of the CPU, on which a job's trials train side by side.
        log_level: Of what a worker's log records have to reach to be sent.
    """

    setup: Setup
    digest: str
    scored_on: ScoredOn
    threads: int
    log_level: int


@dataclass(frozen=True, slots=True)
class Sizes:
    """What a driver has to know of a sweep's data where it does not train itself."""

    validation_samples: int
    steps_per_epoch: int


@dataclass(frozen=True, slots=True)
class Told:
    """Member-epochs that were finished; 0 is a sign of life."""

    epochs: int


@dataclass(frozen=True, slots=True)
class Logged:
    """A record of the worker's log, its message made."""

    record: logging.LogRecord


@dataclass(frozen=True, slots=True)
class Ready:
    """The workbench is built."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What a worker raised.

    Args:
        pickled: The exception; None where it cannot be sent.
        text: Its type and message.
        place: Its traceback.
    """

    pickled: bytes | None
    text: str
    place: str

    def error(self) -> Exception:
        """The exception itself where it can be had here, too; else a `RuntimeError` with its text."""
        error: object = None
        if self.pickled is not None:
            try:
                error = pickle.loads(self.pickled)  # noqa: S301 - from a process of our own
            except Exception:  # its class is at home in the worker only
                error = None
        found = error if isinstance(error, Exception) else RuntimeError(self.text)
        found.add_note(f"in a worker:\n{self.place}")
        return found


@dataclass(frozen=True, slots=True)
class Ended:
    """A job has come to its end: results in slot order, or why there are none."""

    results: list[Result] | None
    failure: Failure | None = None

    def finished(self, ticket: int, worker: str) -> Finished:
        """The same as executors tell it."""
        return Finished(ticket, self.results, None if self.failure is None else self.failure.error(), worker)


@dataclass(frozen=True, slots=True)
class Refused:
    """The workbench cannot be built."""

    failure: Failure


News = Told | Logged | Ready | Ended | Refused
Tell = Callable[[News], None]


def make_kit(workbench: Workbench, setup: Setup, threads: int) -> Kit:
    """Kit for workers that are to train as the driver's own workbench would.

    Raises:
        CallerError: For a model or data that are at home in the driver's main module, which no worker has.
    """
    targets = {"data._target_": setup.data.target, "model._target_": setup.model.target}
    mistakes = [
        f"{key}: expected a module that workers can import, got {target!r}; move it into a file of its own"
        for key, target in targets.items()
        if target is not None and target.split(".")[0] == "__main__"
    ]
    if mistakes:
        raise CallerError(*mistakes)
    device = replace(setup.train, device=workbench.device.type)  # which one of them, the worker's place decides
    level = logging.getLogger(_OURS).getEffectiveLevel()
    return Kit(replace(setup, train=device), workbench.dataset.digest, workbench.scored_on, threads, level)


def build(kit: Kit) -> Workbench:
    """Workbench of a worker, in whose process torch has the kit's threads from now on.

    Raises:
        CallerError: When it cannot be built, or from other data than the driver's.
    """
    torch.set_num_threads(kit.threads)
    workbench = make_workbench(kit.setup, scored_on=kit.scored_on)
    if workbench.dataset.digest != kit.digest:
        raise CallerError(
            f"data: expected those of the driver, got others for {kit.setup.data.name}; "
            "what makes them has to give the same data in every process, on every machine"
        )
    return workbench


def train(job: Job, workbench: Workbench, tell: Tell) -> Ended:
    """Train a job to whatever its end is.

    Args:
        job: Members in slot order.
        workbench: Of this worker.
        tell: Told of epochs as they are finished, and about every second of none.
    """
    try:
        return Ended(run_from_checkpoints(job, workbench, lambda epochs: tell(Told(epochs))))
    except BaseException as error:  # whatever a model of the caller's raises must not end the worker
        return Ended(None, failure_of(error))


def failure_of(error: BaseException) -> Failure:
    """What can be sent of an exception."""
    place = "".join(traceback.format_exception(error))
    try:
        pickled = pickle.dumps(error)
    except Exception:
        pickled = None
    return Failure(pickled, f"{type(error).__name__}: {error}", place)


@contextmanager
def beating(tell: Tell) -> Iterator[None]:
    """Give signs of life from a thread of its own, while something runs that gives none."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(BEAT_SECONDS):
            tell(Told(0))

    thread = threading.Thread(target=beat, name="beats", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class _Teller(QueueHandler):
    """Sends log records to the driver in place of writing them."""

    def __init__(self, tell: Tell) -> None:
        super().__init__(None)  # type: ignore[arg-type]
        self._tell = tell

    def enqueue(self, record: logging.LogRecord) -> None:
        self._tell(Logged(record))


def send_log(tell: Tell, level: int) -> logging.Handler:
    """Have this process's log sent to the driver; the handler is for `logging.Logger.removeHandler`."""
    teller = _Teller(tell)
    logging.getLogger().addHandler(teller)
    logging.getLogger(_OURS).setLevel(level)
    return teller


def log_again(record: logging.LogRecord, worker: str) -> None:
    """Log a worker's record in the driver, with the worker's name in the message."""
    record.msg = f"{worker}: {record.msg}"
    record.worker = worker
    logging.getLogger(record.name).handle(record)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
