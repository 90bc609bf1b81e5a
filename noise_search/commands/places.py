"""Where a command keeps what it makes: the store that it uses, and whether MLflow shows it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from noise_search.spec import StoreSpec
from noise_search.store import DEFAULT_STORE, Location, SweepRecord, locate


def store_location(store: str | Path | Location | None) -> Location:
    """Location of `store`; None takes $NOISE_SEARCH_STORE, or else the default folder."""
    return locate(os.environ.get("NOISE_SEARCH_STORE", DEFAULT_STORE) if store is None else store)


def sweep_location(spec: StoreSpec, store: str | Path | Location | None) -> Location:
    """Location of a sweep's store: what the configuration says, but for the place if `store` names another."""
    return locate(spec.url if store is None else store, retry_seconds=spec.retry_seconds)


def is_tracked(sweep: SweepRecord) -> bool:
    """Whether a sweep is mirrored to MLflow."""
    tracking = cast(Mapping[str, bool], sweep.config["tracking"])
    return tracking["enabled"]
