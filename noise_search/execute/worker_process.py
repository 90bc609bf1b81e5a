"""A worker that is a process of its own: what runs there, from its start to its end.

    driver                               worker
    start(name)               --------->  imports            -> None, now and then
    send(kit)                 --------->  builds its bench   -> Told(0), ..., Ready or Refused
    send(job), one at a time  --------->  trains             -> Told(epochs), ..., Ended
    close, or gone itself     --------->  ends at once, whatever it does

A fresh interpreter and not a fork: threads and GPUs do not survive one. And not `multiprocessing`, which runs the
caller's main module once more in every worker.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any, NoReturn

from noise_search.execute.workers import (
    BEAT_SECONDS,
    Kit,
    News,
    Ready,
    Refused,
    beating,
    build,
    failure_of,
    send_log,
    train,
)
from noise_search.training import Job, Workbench

# The path comes first: what a worker imports is to be found where the driver found it. Importing may take minutes, from
# a disk that many share, and has to give signs of life too.
_PROGRAM = """
import sys, threading
from multiprocessing.connection import Connection
connection, imported = Connection(int(sys.argv[1])), threading.Event()
sys.path[:] = connection.recv()
def beat():
    try:
        while not imported.wait(1.0):
            connection.send(None)
    except OSError:
        pass
thread = threading.Thread(target=beat, daemon=True)
thread.start()
from noise_search.execute.worker_process import serve
imported.set()
thread.join()
serve(connection, int(sys.argv[2]))
"""


def start(name: str, environment: Mapping[str, str]) -> tuple[subprocess.Popen[bytes], Connection]:
    """Start a worker's process; it says nothing before it is sent a kit.

    It has a process group of its own: Ctrl-C in a terminal is for the driver alone, and with the worker end processes
    that the caller's code has started there.

    Args:
        name: That lists of processes show.
        environment: Variables beside those of the driver.

    Raises:
        OSError: The machine has no room for another process.
    """
    ours, theirs = Pipe()
    with theirs:
        process = subprocess.Popen(  # noqa: S603 - the interpreter that runs this
            [sys.executable, "-c", _PROGRAM, str(theirs.fileno()), str(os.getpid()), name],
            env={**os.environ, **environment},
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=2,  # what a model prints must not get between the driver's results
            process_group=0,
        )
        ours.send(sys.path)  # while we hold its end open: that it is gone already is for whoever listens to notice
    return process, ours


def serve(connection: Connection, driver: int) -> None:
    """Train the jobs that come, until the driver has no more use for this worker.

    Args:
        connection: To the driver.
        driver: Its process.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    orders: SimpleQueue[Any] = SimpleQueue()
    threading.Thread(target=_listen, args=(connection, driver, orders), name="orders", daemon=True).start()
    line = _Line(connection)
    kit: Kit = orders.get()
    send_log(line.tell, kit.log_level)
    workbench = _built(kit, line)
    while workbench is not None:
        job: Job = orders.get()
        line.tell(train(job, workbench, line.tell))


def _built(kit: Kit, line: _Line) -> Workbench | None:
    try:
        with beating(line.tell):
            workbench = build(kit)
    except BaseException as error:
        line.tell(Refused(failure_of(error)))
        return None
    line.tell(Ready())
    return workbench


class _Line:
    """To the driver, for several threads."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._lock = connection, threading.Lock()

    def tell(self, news: News) -> None:
        """Send news; without a driver there is nothing to live for."""
        try:
            with self._lock:
                self._connection.send(news)
        except OSError:
            _end()


def _listen(connection: Connection, driver: int, orders: SimpleQueue[Any]) -> None:
    """Take orders until the driver is gone, however it went."""
    try:
        # Both, because a process forked from the driver may hold the connection open after it.
        while os.getppid() == driver:
            if connection.poll(BEAT_SECONDS):
                orders.put(connection.recv())
    except (EOFError, OSError):
        pass
    _end()


def _end() -> NoReturn:
    """End this process and what it has started, at once: a training has nothing that is worth saving."""
    os.killpg(0, signal.SIGKILL)
    raise SystemExit  # not reached
