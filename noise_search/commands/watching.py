"""Watch sweeps while they run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, overload

from noise_search.commands.places import store_location
from noise_search.commands.reading import status_in, statuses_in
from noise_search.errors import CallerError
from noise_search.store import open_store

WATCH_SECONDS = 2.0
SHORTEST_SECONDS, LONGEST_SECONDS = 0.1, 86_400.0


@overload
def watch(name: str, *, store: str | Path | None = None, seconds: float = ...) -> Iterator[dict[str, Any]]: ...


@overload
def watch(
    name: None = None, *, store: str | Path | None = None, seconds: float = ...
) -> Iterator[list[dict[str, Any]]]: ...


def watch(
    name: str | None = None, *, store: str | Path | None = None, seconds: float = WATCH_SECONDS
) -> Iterator[dict[str, Any]] | Iterator[list[dict[str, Any]]]:
    """Status of a sweep, or of every sweep, now and whenever it has changed, until nothing runs any more.

    A database server that goes away meanwhile is waited for, five minutes at most.

    Args:
        name: Of the sweep, whose status is then given as `status` gives it. None: what `statuses` gives.
        store: Folder or URL of the store.
        seconds: Between two looks.

    Raises:
        CallerError: For an unknown name, a missing store, or a time between looks that is none.
        StoreLostError: The server was waited for in vain.
    """
    changes = watched(name, store=store, seconds=seconds)
    return changes if name is None else (found[0] for found in changes)


def watched(
    name: str | None = None, *, store: str | Path | None = None, seconds: float = WATCH_SECONDS
) -> Iterator[list[dict[str, Any]]]:
    """`watch`, with a list also of one sweep."""
    if not SHORTEST_SECONDS <= seconds <= LONGEST_SECONDS:  # NaN is not, either
        amount = f"{SHORTEST_SECONDS:g} to {LONGEST_SECONDS:g} seconds"
        raise CallerError(f"watch: expected {amount} between looks, got {seconds:g}")
    return _changes(name, store, seconds)


def _changes(name: str | None, store: str | Path | None, seconds: float) -> Iterator[list[dict[str, Any]]]:
    location = store_location(store)

    def look(*, again: bool = True) -> list[dict[str, Any]]:
        with open_store(location, create=False, patient=again) as opened:
            return statuses_in(opened) if name is None else [status_in(opened, name)]

    found = look(again=False)
    while True:
        yield found
        shown, due = found, time.monotonic() + seconds
        while found == shown:
            if not any(one["state"] == "running" for one in shown):
                return
            time.sleep(max(0.0, due - time.monotonic()))
            found, due = look(), time.monotonic() + seconds
        if not any(one["state"] == "running" for one in found):
            found = look()  # it may have ended in the middle of the look
