"""Lanes: groups of trials that train side by side, each lane one thread of the CPU.

Kernels of torch run without the interpreter's lock, so that two trials on two cores take little longer than one,
while one trial's kernels are too small to gain from a second core. Random numbers are arguments and every lane has
a model of its own: nothing that a lane computes depends on the others.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

import torch

from noise_search.training.threads import cpu_threads

Report = Callable[[int], None]
Bench = TypeVar("Bench")
Found = TypeVar("Found")
NEWS_SECONDS = 1.0


class _StoppedError(Exception):
    """Another lane failed, or the caller was interrupted."""


def run_in_lanes(
    tasks: Sequence[Callable[[Bench, Report], Found]], benches: Sequence[Bench], on_epoch: Report
) -> list[Found]:
    """Run every task on whichever bench is free; results in the order of the tasks.

    Args:
        tasks: Each is given a bench of its own and what it is to call with the epochs it has just finished: often, with
            0 where it has finished none, because only there does it end when it is to stop.
        benches: One for each lane, in which torch has one thread. A single one runs the tasks in turn, in the caller's
            thread and with all that torch has there.
        on_epoch: Called in the caller's thread; with 0 where there was no news for a second, so that it can look
            whether to go on.

    Raises:
        Exception: Of the first task that failed, or what interrupted the caller: the other lanes end at their next
            report.
    """
    if len(benches) == 1:
        report = _sparing(on_epoch)
        return [task(benches[0], report) for task in tasks]
    return _Lanes(tasks, benches, on_epoch).run()


def _sparing(on_epoch: Report) -> Report:
    """The same, but with 0 only where it was not called for a second."""
    called = time.monotonic()

    def report(epochs: int) -> None:
        nonlocal called
        if epochs or time.monotonic() - called >= NEWS_SECONDS:
            called = time.monotonic()
            on_epoch(epochs)

    return report


class _Lanes(Generic[Bench, Found]):
    """One run of tasks in several threads: who tells whom of epochs, ends and failures."""

    def __init__(
        self, tasks: Sequence[Callable[[Bench, Report], Found]], benches: Sequence[Bench], on_epoch: Report
    ) -> None:
        self._tasks, self._width, self._on_epoch = tasks, len(benches), on_epoch
        self._free: SimpleQueue[Bench] = SimpleQueue()
        for bench in benches:
            self._free.put(bench)
        self._news: SimpleQueue[int | Future[Found]] = SimpleQueue()
        self._stopped = threading.Event()

    def run(self) -> list[Found]:
        # On leaving, the caller's number is set again: a thread that is started later takes over what was set last.
        with cpu_threads(None), ThreadPoolExecutor(self._width, "lane", torch.set_num_threads, (1,)) as pool:
            return self._watch(pool)

    def _watch(self, pool: ThreadPoolExecutor) -> list[Found]:
        futures = [pool.submit(self._run_one, task) for task in self._tasks]
        for future in futures:
            future.add_done_callback(self._news.put)
        try:
            self._listen(len(futures))
        except BaseException:
            self._stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        return [future.result() for future in futures]

    def _listen(self, running: int) -> None:
        while running:
            try:
                news = self._news.get(timeout=NEWS_SECONDS)
            except Empty:
                news = 0
            if isinstance(news, int):
                self._on_epoch(news)
            else:
                news.result()  # raises what the task raised
                running -= 1

    def _run_one(self, task: Callable[[Bench, Report], Found]) -> Found:
        bench = self._free.get()
        try:
            return task(bench, self._report)
        finally:
            self._free.put(bench)

    def _report(self, epochs: int) -> None:
        if self._stopped.is_set():
            raise _StoppedError
        if epochs:
            self._news.put(epochs)
