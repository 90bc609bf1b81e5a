"""Watch sweeps while they run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from noise_search.commands.reading import status, statuses
from noise_search.errors import CallerError

WATCH_SECONDS = 2.0
SHORTEST_SECONDS, LONGEST_SECONDS = 0.1, 86_400.0


def watch(
    name: str | None = None, *, store: str | Path | None = None, seconds: float = WATCH_SECONDS
) -> Iterator[list[dict[str, Any]]]:
    """Status of a sweep, or of every sweep, now and whenever it has changed, until nothing runs any more.

    Args:
        name: Of the sweep, whose status is then the only one; as `status` gives it. None: what `statuses` gives.
        store: Folder of the store.
        seconds: Between two looks.

    Raises:
        CallerError: For an unknown name, a missing store, or a time between looks that is none.
    """
    if not SHORTEST_SECONDS <= seconds <= LONGEST_SECONDS:  # NaN is not, either
        amount = f"{SHORTEST_SECONDS:g} to {LONGEST_SECONDS:g} seconds"
        raise CallerError(f"watch: expected {amount} between looks, got {seconds:g}")
    return _changes(name, store, seconds)


def _changes(name: str | None, store: str | Path | None, seconds: float) -> Iterator[list[dict[str, Any]]]:
    def look() -> list[dict[str, Any]]:
        return statuses(store=store) if name is None else [status(name, store=store)]

    found = look()
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
