"""Run jobs as tasks of a Ray cluster: on this machine alone, or on all that have joined it.

A task is stateless: it is sent the kit with its job, and where the worker's process has served the same sweep before,
the workbench is there already. Its news are a stream of objects; results are the last of them.

Jobs whose worker or node is lost are begun again here and not by Ray, which repeats a stream only where it comes out
the same: ours has as many signs of life as there were seconds.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import ray
import torch
from ray.exceptions import OutOfMemoryError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from noise_search.errors import CallerError
from noise_search.execute.contract import Finished, LostWorkerError, OnEpoch
from noise_search.execute.ray_connections import Head, connect, first_line, nodes
from noise_search.execute.waiting import WaitingExecutor
from noise_search.execute.workers import (
    BEAT_SECONDS,
    Ended,
    Kit,
    Logged,
    News,
    Refused,
    Sizes,
    Tell,
    Told,
    beating,
    build,
    failure_of,
    log_again,
    send_log,
    train,
)
from noise_search.executor_specs import RaySpec
from noise_search.training import Job, Workbench

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Home:
    """Where the driver runs: a worker that can get there finds the caller's modules and files as the driver does."""

    folder: str
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Begun:
    """A worker has the job."""

    pid: int
    node: str


# --- in a worker ---

_kept: dict[str, Workbench] = {}  # of the sweep that this process has served last


def _work(kit: Kit, home: _Home, job: Job) -> Iterator[News | _Begun]:
    """News of a job, the last of them its end."""
    said: SimpleQueue[News] = SimpleQueue()
    yield _Begun(os.getpid(), ray.get_runtime_context().get_node_id())
    threading.Thread(target=_run, args=(kit, home, job, said.put), name="job", daemon=True).start()
    while True:
        news = said.get()
        yield news
        if isinstance(news, Ended | Refused):
            return


def _run(kit: Kit, home: _Home, job: Job, tell: Tell) -> None:
    teller = send_log(tell, kit.log_level)
    torch.set_num_threads(kit.threads)  # a thread has a number of its own
    try:
        with beating(tell):
            _move_to(home)
            workbench = _workbench(kit)
    except BaseException as error:
        tell(Refused(failure_of(error)))
    else:
        tell(train(job, workbench, tell))
    finally:
        logging.getLogger().removeHandler(teller)


def _move_to(home: _Home) -> None:
    if Path(home.folder).is_dir():
        os.chdir(home.folder)
    sys.path.extend(path for path in home.path if path not in sys.path)


def _workbench(kit: Kit) -> Workbench:
    key = hashlib.sha256(pickle.dumps(kit)).hexdigest()
    if key not in _kept:
        _kept.clear()
        _kept[key] = build(kit)
    return _kept[key]


def _kill(pid: int) -> None:
    """End a process of the node that this runs on."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


# --- in the driver ---


@dataclass(slots=True, eq=False)
class _Task:
    """A job that is submitted.

    Args:
        stream: Its news.
        begun: Who has it; None while it waits for room.
        heard: When it last gave a sign of life, by the machine's clock.
        told: Member-epochs that were finished since it began.
        begun_again: How often.
    """

    ticket: int
    job: Job
    stream: Any
    begun: _Begun | None = None
    heard: float = 0.0
    told: int = 0
    begun_again: int = 0

    @property
    def name(self) -> str:
        """Of its worker, for messages."""
        return "a worker of Ray" if self.begun is None else f"worker {self.begun.pid} on node {self.begun.node[:8]}"


class RayExecutor(WaitingExecutor):
    """Submits every job to Ray, which finds room for it.

    A cluster that this process is connected to already is used as it is, and left so.

    Args:
        kit: For every worker.
        sizes: Of the sweep.
        spec: The cluster, and what a job takes up of it.

    Raises:
        CallerError: The cluster is not there or does not let us in, or none of its nodes has what a job takes up.
    """

    def __init__(self, kit: Kit, sizes: Sizes, spec: RaySpec) -> None:
        super().__init__(sizes)
        self._kit, self._spec = kit, spec
        self._need = {"CPU": spec.cpus, "GPU": spec.gpus, **spec.resources}
        self._need = {name: amount for name, amount in self._need.items() if amount}
        self._home = _Home(str(Path.cwd()), tuple(sys.path))
        self._tasks: dict[int, _Task] = {}
        self._is_warned = False
        self._is_ours = connect(spec.address)
        try:
            self._head = Head()
            options = {"num_cpus": spec.cpus, "num_gpus": spec.gpus, "resources": dict(spec.resources)}
            self._task = ray.remote(_work).options(num_returns="streaming", max_retries=0, **options)
            _refuse_too_small(self._need)
        except BaseException:
            self.close()
            raise

    @property
    def places(self) -> int:
        """As many as are asked for, or as the cluster has room for just now.

        Raises:
            LostClusterError: Its head is gone.
        """
        if self._spec.places:
            return self._spec.places
        self._head.look()
        return max(1, _room(self._need))

    def submit(self, ticket: int, job: Job) -> None:
        """Leave a job to Ray."""
        self._tasks[ticket] = _Task(ticket, job, self._begin(job))

    def close(self) -> None:
        """End all jobs, and a cluster that was started here."""
        if ray.is_initialized():
            for task in self._tasks.values():
                ray.cancel(task.stream, force=True)
            if self._is_ours:
                ray.shutdown()
        self._tasks.clear()
        self._finished.clear()

    def _begin(self, job: Job) -> Any:
        return self._task.remote(self._kit, self._home, job)

    # --- news from tasks ---

    def _take_in(self, on_epoch: OnEpoch) -> None:
        """Wait a second for what some task has to say."""
        streams = {id(task.stream): task for task in self._tasks.values()}
        ready, _ = ray.wait([task.stream for task in streams.values()], num_returns=1, timeout=BEAT_SECONDS)
        for stream in ready:
            task = streams[id(stream)]
            try:
                news = ray.get(next(stream))
            except RayTaskError as error:  # what training raises does not come this way
                raise CallerError(f"executor: {task.name} cannot begin: {first_line(error.cause)}") from error
            except OutOfMemoryError as error:  # Ray has seen it, and ended the task before the system would
                self._finish(Finished(task.ticket, None, MemoryError(first_line(error)), task.name))
            except RayError as error:
                self._lose(task, f"is gone: {type(error).__name__}: {first_line(error)}", on_epoch)
            else:
                self._heed(task, news, on_epoch)

    def _heed(self, task: _Task, news: News | _Begun, on_epoch: OnEpoch) -> None:
        task.heard = time.monotonic()
        if isinstance(news, _Begun):
            task.begun = news
        elif isinstance(news, Told):
            task.told += news.epochs
            on_epoch(task.ticket, news.epochs)
        elif isinstance(news, Logged):
            log_again(news.record, task.name)
        elif isinstance(news, Refused):
            raise CallerError(f"executor: {task.name} cannot be made ready: {news.failure.text}")
        elif isinstance(news, Ended):
            self._finish(news.finished(task.ticket, task.name))

    def _tickets(self) -> list[int]:
        return list(self._tasks)

    def _look_after(self, now: float, on_epoch: OnEpoch) -> None:
        """Find workers that are silent, and jobs that have no room any more."""
        self._head.look()
        for task in list(self._tasks.values()):
            # What it said while the driver was elsewhere, waiting for a database say, has not been heard yet.
            unheard, _ = ray.wait([task.stream], timeout=0)
            if task.begun and not unheard and now - task.heard > self._spec.silent_seconds:
                _kill_on(task.begun)
                self._lose(task, f"gave no sign of life for {now - task.heard:.0f} s and was killed", on_epoch)
        self._warn_of_no_room()

    def _finish(self, finished: Finished) -> None:
        del self._tasks[finished.ticket]
        self._finished.append(finished)

    def _lose(self, task: _Task, how: str, on_epoch: OnEpoch) -> None:
        """Begin a job again whose worker is gone, or call it lost where that has been so before."""
        text = f"{task.name} {how}"
        _log.warning("%s", text)
        self._head.look()  # with it a node of its own is gone, too, for which no job is to blame
        if task.begun_again == self._spec.max_retries:
            self._finish(Finished(task.ticket, None, LostWorkerError(text), task.name))
            return
        lost, again = task.told, task.begun_again + 1
        self._tasks[task.ticket] = _Task(task.ticket, task.job, self._begin(task.job), begun_again=again)
        if lost:
            on_epoch(task.ticket, -lost)

    def _warn_of_no_room(self) -> None:
        """Say it once where jobs wait for what no node has any more; they go on when one joins that has it."""
        waits = not any(task.begun for task in self._tasks.values()) and not _room(self._need)
        if waits and not self._is_warned:
            _log.warning("jobs wait: no node of the cluster has %s", _told(self._need))
        self._is_warned = waits


def _room(need: Mapping[str, float]) -> int:
    """Jobs that the nodes have room for, all in all; of jobs that take up nothing, one a core."""
    amounts = need or {"CPU": 1.0}
    fits = [min(int(node.get(name, 0.0) / amount + 1e-9) for name, amount in amounts.items()) for node in nodes()]
    return sum(fits)


def _refuse_too_small(need: Mapping[str, float]) -> None:
    if not need or _room(need):
        return
    most = {name: max((node.get(name, 0.0) for node in nodes()), default=0.0) for name in need}
    raise CallerError(
        f"executor: expected a node of the cluster with {_told(need)}, got none; "
        f"the most that one of its {len(nodes())} has is {_told(most)}"
    )


def _told(amounts: Mapping[str, float]) -> str:
    return ", ".join(f"{amount:g} {name}" for name, amount in amounts.items())


def _kill_on(begun: _Begun) -> None:
    """Kill a worker on its node; on its own, one that hangs would go on hanging."""
    there = NodeAffinitySchedulingStrategy(begun.node, soft=False)
    ray.remote(_kill).options(num_cpus=0, max_retries=0, scheduling_strategy=there).remote(begun.pid)
