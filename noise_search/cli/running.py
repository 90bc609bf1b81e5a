"""What commands that compose a configuration and train have in common."""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol

from noise_search.cli.progress import Bar
from noise_search.errors import CallerError, raise_if_any
from noise_search.urls import scheme_of

if TYPE_CHECKING:
    from noise_search.config import Collected

DONE, FAILED, MISTAKE, INTERRUPTED = 0, 1, 2, 130
BROKEN_PIPE = 141  # as a shell says of a process that SIGPIPE has ended
AGAIN_SECONDS = 0.05  # after which a signal that was lost comes again
STORE_VARIABLE = "NOISE_SEARCH_STORE"
HYDRA = (
    "Everything else goes to Hydra: overrides such as model=mlp train.epochs=20, and --cfg job, --info, "
    "--config-dir FOLDER, -m."
)
Run = Callable[[argparse.Namespace, Sequence[str]], int]


class AddCommand(Protocol):
    """Adds a command to the command line, with the options that every command has."""

    def __call__(
        self,
        name: str,
        run: Run,
        summary: str,
        epilog: str | None = None,
    ) -> argparse.ArgumentParser:
        """Parser of the command, for its own options."""


def configurations(rest: Sequence[str], program: str, primary: Mapping[str, Any] | None = None) -> list[Collected]:
    """What Hydra makes of the command line: one configuration a run, all of them checked before the first.

    Args:
        rest: Overrides and Hydra's own options.
        program: How usage messages name the command.
        primary: Content of a configuration in place of the shipped one.
    """
    from noise_search.config import check, collect

    said = io.StringIO()
    try:
        # Hydra notes a multirun in a folder before it looks at the overrides; nobody needs the note.
        with tempfile.TemporaryDirectory() as folder, redirect_stderr(said):
            notes = [f"hydra.sweep.dir={folder}"] if {"-m", "--multirun"} & set(rest) else []
            configs = collect(_overrides_first([*rest, *notes]), program, primary=primary)
    except SystemExit as stop:  # Hydra's parser: --hydra-help, or an option that it refuses
        if stop.code:
            raise CallerError(said.getvalue().splitlines()[-1]) from stop
        raise
    sys.stderr.write(said.getvalue())
    raise_if_any(list(dict.fromkeys(mistake for one in configs for mistake in check(one.config))))
    return configs


def _overrides_first(arguments: Sequence[str]) -> list[str]:
    """Hydra's options may stand anywhere; its own parser wants the overrides in one piece."""
    return sorted(arguments, key=lambda word: word.startswith("-") or not ("=" in word or word.startswith("~")))


@contextmanager
def progress() -> Iterator[Bar]:
    """Bar that is taken away at the end."""
    bar = Bar()
    try:
        yield bar
    finally:
        bar.stop()


@contextmanager
def logged_as_json(asked: bool) -> Iterator[None]:
    """Let logs be JSON lines, with the events of sweeps among them, where that is asked for."""
    if not asked:
        yield
        return
    from noise_search.operations import logged_as_json  # late: it takes its time

    with logged_as_json():
        yield


@contextmanager
def terminated_as_interrupted(*more: signal.Signals) -> Iterator[None]:
    """Let SIGTERM, and signals named besides, end a command as Ctrl-C does: closed, with nothing left behind."""

    last = int(signal.SIGINT)

    def interrupt(number: int, _frame: FrameType | None) -> None:
        nonlocal last
        last = number
        raise KeyboardInterrupt

    def interrupt_again(lost: sys.UnraisableHookArgs) -> None:
        # Raised where nothing can be raised, as in what the garbage collector calls: a signal must not be lost there.
        if issubclass(lost.exc_type, KeyboardInterrupt):
            threading.Timer(AGAIN_SECONDS, os.kill, (os.getpid(), last)).start()
        else:
            unraisable(lost)

    if threading.current_thread() is not threading.main_thread():  # leave signals to whoever has it
        yield
        return
    # One that is ignored stays so: nohup has commands ignore SIGHUP.
    before, unraisable = {number: signal.getsignal(number) for number in (signal.SIGTERM, *more)}, sys.unraisablehook
    taken = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
    try:
        for number in taken:
            signal.signal(number, interrupt)
        sys.unraisablehook = interrupt_again
        yield
    finally:
        sys.unraisablehook = unraisable
        for number in taken:
            signal.signal(number, before[number])


@contextmanager
def store_variable(store: str | None) -> Iterator[None]:
    """Let the configuration see `--store` as it sees the environment variable."""
    before = os.environ.get(STORE_VARIABLE)
    if store is not None:
        os.environ[STORE_VARIABLE] = store if scheme_of(store) else str(Path(store).expanduser().absolute())
    try:
        yield
    finally:
        if before is not None:
            os.environ[STORE_VARIABLE] = before
        elif store is not None:
            os.environ.pop(STORE_VARIABLE)
