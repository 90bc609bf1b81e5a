"""Remove a sweep from everywhere, so that being killed half way leaves what a second try removes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import cast

from noise_search.folders import Folder
from noise_search.search.asking import delete_study
from noise_search.search.opening import checkpoint_folder
from noise_search.store import Location, Store, SweepRecord
from noise_search.tracking.clients import TrackingServerError, look_at
from noise_search.tracking.places import place_of
from noise_search.tracking.runs import delete_sweep_runs


def constant_sweeps(store: Store, sweep_id: int) -> tuple[str, ...]:
    """Names of the sweeps there are that confirmations of a sweep searched for constant rivals in."""
    settings = [cast(tuple[str, int], one.settings["constants"]) for one in store.confirmations(sweep_id)]
    return tuple(name for name in dict.fromkeys(name for name, _ in settings) if store.find_sweep(name))


def remove_sweep(
    store: Store, location: Location, sweep: SweepRecord, folder: Path | None, *, keep_runs: bool = False
) -> int:
    """Remove a sweep under its lease; returns how many runs MLflow had of it.

    From the first step on the sweep can only be removed, not continued; our own row, by which it is found, goes last.

    Args:
        store: Open, at `location`.
        sweep: As `store` has it.
        folder: Of its files; None leaves them where they are.
        keep_runs: Leave what MLflow has of it where it is.

    Raises:
        CallerError: Somebody drives the sweep.
        TrackingServerError: A server does not answer.
        FolderError: Checkpoints that are kept elsewhere cannot be reached.
    """
    place = place_of(location, sweep)
    with store.take_lease(sweep.id) as writer:
        is_mirrored = place.is_there and store.outbox_keys(sweep.id)  # a server is asked only of what it may have
        if is_mirrored and place.is_server and not keep_runs:
            _look_at_server(place.url)  # while the sweep is still one that can be continued
        writer.mark_removed()
        runs = delete_sweep_runs(place, sweep.name) if is_mirrored and not keep_runs else 0
        if folder is not None:
            Folder(checkpoint_folder(location, sweep)).remove()
            if folder.is_dir():
                shutil.rmtree(folder)
        delete_study(store.optuna_storage(), sweep.name)
        writer.remove_sweep()
    return runs


def _look_at_server(url: str) -> None:
    try:
        look_at(url)
    except TrackingServerError as error:
        raise TrackingServerError(f"{error}; nothing was removed: --keep-runs spares the runs there") from error
