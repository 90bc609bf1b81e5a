"""Where the store lies that a command is to use."""

from __future__ import annotations

import os
from pathlib import Path

from noise_search.store import Location, locate

DEFAULT_STORE = "./noise_search_runs"


def store_location(store: str | Path | None) -> Location:
    """Location of `store`; None takes $NOISE_SEARCH_STORE, or else the default folder."""
    return locate(os.environ.get("NOISE_SEARCH_STORE", DEFAULT_STORE) if store is None else store)
