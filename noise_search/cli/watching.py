"""`noise-search status --watch`."""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from datetime import datetime
from typing import Any

from noise_search.cli.running import DONE, terminated_as_interrupted

Statuses = Sequence[dict[str, Any]]
WATCH_SECONDS = 2.0  # as the Python call has it, which is not imported for --help


def add_watch(status: argparse.ArgumentParser) -> None:
    """Add the option to the command."""
    text = f"show it again whenever it changes, looking every SECONDS ({WATCH_SECONDS:g}), until nothing runs any more"
    status.add_argument("--watch", nargs="?", type=_seconds, const=WATCH_SECONDS, metavar="SECONDS", help=text)


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected seconds, got {text!r}; NAME stands before --watch") from None


def watch(options: argparse.Namespace, show: Callable[[Statuses], None]) -> int:
    """Show how sweeps stand, and again whenever that has changed; ends with the last that runs, or with Ctrl-C.

    Args:
        options: Of the command.
        show: Prints statuses.
    """
    from noise_search import commands

    with terminated_as_interrupted():
        changes = commands.watched(options.name, store=options.store, seconds=options.watch)
        with _lines(options) if options.json else _blocks(show) as draw:
            for found in changes:
                draw(found)
    return DONE


@contextmanager
def _lines(options: argparse.Namespace) -> Iterator[Callable[[Statuses], None]]:
    """A line of JSON a change: one status where a sweep is named, else a list."""

    def draw(found: Statuses) -> None:
        print(json.dumps(found if options.name is None else found[0]), flush=True)

    yield draw


@contextmanager
def _blocks(show: Callable[[Statuses], None]) -> Iterator[Callable[[Statuses], None]]:
    """A block a change: each in place of the last on a terminal, else one after the other."""
    if not sys.stdout.isatty():
        yield _once_each(show)
        return
    from rich.live import Live
    from rich.text import Text

    with Live(auto_refresh=False) as live:
        yield lambda found: live.update(Text.from_ansi(_block(show, found)), refresh=True)


def _once_each(show: Callable[[Statuses], None]) -> Callable[[Statuses], None]:
    """Print a block unless it says, but for the time, what the last one said: a block does not show everything."""
    last = ""

    def draw(found: Statuses) -> None:
        nonlocal last
        time, _, said = _block(show, found).partition("\n")
        if said != last:
            print(f"{time}\n{said}", flush=True)
        last = said

    return draw


def _block(show: Callable[[Statuses], None], found: Statuses) -> str:
    """What a command without --watch prints, under the time."""
    with redirect_stdout(_Screen() if sys.stdout.isatty() else io.StringIO()) as said:
        print(f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S}")
        show(found)
    return said.getvalue()


class _Screen(io.StringIO):
    """Text that goes to a terminal later, and is as wide and as coloured."""

    def isatty(self) -> bool:
        return True
