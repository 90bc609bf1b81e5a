"""Remove sweeps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from noise_search.commands.places import store_location
from noise_search.errors import CallerError
from noise_search.search.removing import constant_sweeps, remove_sweep
from noise_search.store import FOLDER_VARIABLE, Location, open_store, owner_of


@dataclass(frozen=True, slots=True)
class Removal:
    """What `rm` removed.

    Args:
        name: Of the sweep.
        members: Its trials and controls.
        runs: Of MLflow's, those of its confirmations among them.
        left: Sweeps that its confirmations searched for constant rivals in: they stay.
    """

    name: str
    members: int
    runs: int
    left: tuple[str, ...]


def rm(name: str, *, store: str | Path | None = None, keep_runs: bool = False, keep_files: bool = False) -> Removal:
    """Remove a sweep with its trials, confirmations, Optuna study, files and runs in MLflow, for good.

    A search among constant policies that a confirmation ran is a sweep of its own, and stays.
    MLflow keeps what was deleted until `mlflow gc`. Killed half way, the same call again removes the rest.

    Args:
        name: Of the sweep.
        store: Folder of the store.
        keep_runs: Leave what MLflow has of it where it is.
        keep_files: Leave its files where they are, as where the folder of a store in PostgreSQL is gone.

    Raises:
        CallerError: For an unknown name, a missing store, a sweep that is being driven, or a store in PostgreSQL whose
            files are not in the folder that is named.
        TrackingServerError: Its runs are on a server that does not answer; they and the sweep are still there.
    """
    location = store_location(store)
    if not keep_files:
        _refuse_folder_of_nobody(location)
    with open_store(location, create=False) as opened:
        sweep = opened.sweep(name)
        members = len(opened.members(sweep.id))
        left = constant_sweeps(opened, sweep.id)
        folder = None if keep_files else location.sweep_folder(name)
        runs = remove_sweep(opened, location, sweep, folder, keep_runs=keep_runs)
    return Removal(name, members, runs, left)


def _refuse_folder_of_nobody(location: Location) -> None:
    """Refuse a folder that no sweep of this store can have left files in, which then are elsewhere."""
    if location.is_shared and owner_of(location.folder) is None:
        raise CallerError(
            f"rm: expected the folder with the files of {location}, got {location.folder}, which keeps none; name it "
            f"by ${FOLDER_VARIABLE}, or leave the files where they are with --keep-files"
        )
