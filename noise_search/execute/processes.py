"""Run jobs side by side on this machine, in processes of their own, each with its GPU or its share of the cores."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from queue import Empty, SimpleQueue

from noise_search.errors import CallerError
from noise_search.execute.contract import Finished, LostWorkerError, OnEpoch
from noise_search.execute.waiting import WaitingExecutor
from noise_search.execute.worker_process import start
from noise_search.execute.workers import BEAT_SECONDS, Ended, Kit, Logged, News, Ready, Refused, Sizes, Told, log_again
from noise_search.training import Job

_log = logging.getLogger(__name__)
_MOST_STILLBORN = 3  # workers in a row that may end before they are ready


@dataclass(slots=True, eq=False)
class _Worker:
    """A process at its place, and the job it has.

    Args:
        heard: When it last gave a sign of life, by the machine's clock.
    """

    name: str
    process: subprocess.Popen[bytes]
    connection: Connection
    heard: float
    ready: bool = False
    order: tuple[int, Job] | None = None

    def send(self, order: tuple[int, Job]) -> None:
        """Give it a job."""
        self.order, self.heard = order, time.monotonic()
        self.tell(order[1])

    def tell(self, what: Kit | Job) -> None:
        """Send it something; if it is gone already, that will be noticed where its news come in."""
        with contextlib.suppress(OSError):
            self.connection.send(what)

    def listen(self, news: SimpleQueue[tuple[_Worker, News | None]]) -> None:
        """Pass on all that it says, and None at its end; in a thread, so that it never has to wait to be heard."""
        try:
            while True:
                told: News | None = self.connection.recv()
                self.heard = time.monotonic()
                if told is not None:  # else it is importing its libraries, and has no better way to say that it lives
                    news.put((self, told))
        except (EOFError, OSError):
            news.put((self, None))

    def end(self) -> None:
        """Kill it with all that it has started, and wait until it is gone."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class ProcessesExecutor(WaitingExecutor):
    """Starts a worker when there is a job for it, keeps it, and starts another in its place when it is lost.

    Args:
        kit: For every worker.
        sizes: Of the sweep.
        environments: Variables of each worker beside those of this process: one entry a worker.
        silent_seconds: Without a sign of life after which a worker counts as lost.
    """

    def __init__(
        self, kit: Kit, sizes: Sizes, environments: Sequence[Mapping[str, str]], *, silent_seconds: float
    ) -> None:
        super().__init__(sizes)
        self._kit, self._environments = kit, environments
        self._silent_seconds = silent_seconds
        self._waiting: deque[tuple[int, Job]] = deque()
        self._workers: dict[int, _Worker] = {}  # by place
        self._news: SimpleQueue[tuple[_Worker, News | None]] = SimpleQueue()
        self._stillborn = 0

    @property
    def places(self) -> int:
        """One a worker."""
        return len(self._environments)

    def submit(self, ticket: int, job: Job) -> None:
        """Leave a job to be trained; a worker that is free has it at once.

        Raises:
            CallerError: The machine has no room for another process.
        """
        self._waiting.append((ticket, job))
        self._hand_out()

    def close(self) -> None:
        """End all workers, whatever they train."""
        for worker in self._workers.values():
            worker.end()
        self._workers.clear()
        self._waiting.clear()
        self._finished.clear()

    # --- jobs to workers ---

    def _tickets(self) -> list[int]:
        orders = [worker.order for worker in self._workers.values() if worker.order]
        return [ticket for ticket, _ in (*orders, *self._waiting)]

    def _hand_out(self) -> None:
        """Give jobs to free workers, and where there is none to new ones, the oldest jobs first."""
        while self._waiting and (worker := self._free()):
            worker.send(self._waiting.popleft())

    def _free(self) -> _Worker | None:
        free = [worker for worker in self._workers.values() if worker.order is None]
        empty = [place for place in range(self.places) if place not in self._workers]
        if free or not empty:
            return free[0] if free else None
        worker = self._workers[empty[0]] = self._start(empty[0])
        return worker

    def _start(self, place: int) -> _Worker:
        name = f"worker {place + 1}"
        threads = {"OMP_NUM_THREADS": str(self._kit.threads)}
        try:
            process, connection = start(f"noise-search {name}", {**threads, **self._environments[place]})
        except OSError as error:
            raise CallerError(f"executor.processes: cannot start {name}: {error.strerror}; ask for fewer") from error
        worker = _Worker(f"{name} (pid {process.pid})", process, connection, time.monotonic())
        worker.tell(self._kit)
        threading.Thread(target=worker.listen, args=(self._news,), name=name, daemon=True).start()
        return worker

    # --- news from workers ---

    def _take_in(self, on_epoch: OnEpoch) -> None:
        """Wait a second for what some worker has to say."""
        with contextlib.suppress(Empty):
            worker, news = self._news.get(timeout=BEAT_SECONDS)
            if worker in self._workers.values():  # else ended before, and its job with it
                self._heed(worker, news, on_epoch)

    def _heed(self, worker: _Worker, news: News | None, on_epoch: OnEpoch) -> None:
        if isinstance(news, Told) and worker.order:
            on_epoch(worker.order[0], news.epochs)
        elif isinstance(news, Logged):
            log_again(news.record, worker.name)
        elif isinstance(news, Ready):
            worker.ready, self._stillborn = True, 0
        elif isinstance(news, Refused):
            raise CallerError(f"executor: {worker.name} cannot be made ready: {news.failure.text}")
        elif isinstance(news, Ended):
            self._end_job(worker, news)
        elif news is None:
            worker.end()
            self._lose(worker, _how_it_ended(worker.process.returncode))

    def _look_after(self, now: float, on_epoch: OnEpoch) -> None:  # noqa: ARG002  # Ray's needs it
        """Find workers that are gone or silent."""
        for worker in list(self._workers.values()):
            silent = now - worker.heard
            if worker.process.poll() is not None:
                worker.end()  # what it has started may hold its connection open
            elif worker.order and silent > self._silent_seconds:
                worker.end()
                self._lose(worker, f"gave no sign of life for {silent:.0f} s and was killed")

    def _end_job(self, worker: _Worker, ended: Ended) -> None:
        assert worker.order is not None
        self._finished.append(ended.finished(worker.order[0], worker.name))
        worker.order = None
        if ended.failure and self._kit.setup.train.device == "cuda":
            worker.end()  # after some errors a GPU refuses everything else that a process asks of it
            self._forget(worker)
        self._hand_out()

    def _lose(self, worker: _Worker, how: str) -> None:
        """Let go of a worker that is gone; a job that it had begun is lost with it, another gets a new one."""
        text = f"{worker.name} {how}"
        _log.warning("%s", text)
        self._forget(worker)
        if worker.order and worker.ready:
            self._finished.append(Finished(worker.order[0], None, LostWorkerError(text), worker.name))
        elif worker.order:
            self._waiting.appendleft(worker.order)
        if not worker.ready:
            self._note_stillborn(text)
        self._hand_out()

    def _note_stillborn(self, text: str) -> None:
        self._stillborn += 1
        if self._stillborn >= _MOST_STILLBORN:
            raise CallerError(
                f"executor: expected workers that get ready, lost {_MOST_STILLBORN} in a row before they were: {text}"
            )

    def _forget(self, worker: _Worker) -> None:
        self._workers = {place: other for place, other in self._workers.items() if other is not worker}


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = f" ({signal.Signals(-code).name})"
    except ValueError:
        name = ""
    # Not in words by which a driver knows that memory ran out: nobody can tell.
    hint = "; unless somebody killed it, the system did, for want of memory" if code == -signal.SIGKILL else ""
    return f"was ended by signal {-code}{name}{hint}"
