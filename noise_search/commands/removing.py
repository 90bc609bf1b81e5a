"""Remove sweeps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from noise_search.commands.places import store_location
from noise_search.commands.sweeping import sweep_files
from noise_search.search.removing import constant_sweeps, remove_sweep
from noise_search.store import open_store


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


def rm(name: str, *, store: str | Path | None = None, keep_runs: bool = False) -> Removal:
    """Remove a sweep with its trials, confirmations, Optuna study, files and runs in MLflow, for good.

    A search among constant policies that a confirmation ran is a sweep of its own, and stays.
    MLflow keeps what was deleted until `mlflow gc`. Killed half way, the same call again removes the rest.

    Args:
        name: Of the sweep.
        store: Folder of the store.
        keep_runs: Leave what MLflow has of it where it is.

    Raises:
        CallerError: For an unknown name, a missing store, or a sweep that is being driven.
        TrackingServerError: Its runs are on a server that does not answer; they and the sweep are still there.
    """
    location = store_location(store)
    with open_store(location, create=False) as opened:
        sweep = opened.sweep(name)
        members = len(opened.members(sweep.id))
        left = constant_sweeps(opened, sweep.id)
        folder = sweep_files(name, location)["card"].parent
        runs = remove_sweep(opened, location, sweep, folder, keep_runs=keep_runs)
    return Removal(name, members, runs, left)
