"""Stop sweeps from elsewhere."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Literal

from noise_search.commands.places import store_location
from noise_search.store import open_store

Stopped = Literal["stopped", "stopping", "not running"]
WAIT_SECONDS = 60.0
_LOOK_SECONDS = 0.2


def stop(name: str, *, store: str | Path | None = None, wait_seconds: float = WAIT_SECONDS) -> Stopped:
    """Ask the driver of a sweep to stop, and wait until it has.

    It looks about every second while it trains, loses the job under way, and leaves a sweep that can be continued.

    Args:
        name: Of the sweep.
        store: Folder of the store.
        wait_seconds: How long to wait at most.

    Returns:
        `stopping` where it has not ended yet, `not running` where nobody drives the sweep.

    Raises:
        CallerError: For an unknown name or a missing store.
    """
    with open_store(store_location(store), create=False) as opened:
        sweep = opened.sweep(name)
        if not opened.is_driven(sweep.id):
            return "not running"
        opened.request_stop(sweep.id)
        end = time.monotonic() + wait_seconds
        while opened.is_driven(sweep.id):
            if time.monotonic() >= end:
                return "stopping"
            time.sleep(_LOOK_SECONDS)
    return "stopped"
