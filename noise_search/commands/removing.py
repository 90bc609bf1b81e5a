"""Remove sweeps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from noise_search.commands.places import store_location
from noise_search.commands.sweeping import sweep_files
from noise_search.search.removing import remove_sweep
from noise_search.store import open_store


@dataclass(frozen=True, slots=True)
class Removal:
    """What `rm` removed: a sweep with so many trials and controls, and so many runs of MLflow's."""

    name: str
    members: int
    runs: int


def rm(name: str, *, store: str | Path | None = None) -> Removal:
    """Remove a sweep with its trials, its Optuna study, its files and its runs in MLflow, for good.

    MLflow keeps what was deleted until `mlflow gc`. Killed half way, the same call again removes the rest.

    Args:
        name: Of the sweep.
        store: Folder of the store.

    Raises:
        CallerError: For an unknown name, a missing store, or a sweep that is being driven.
    """
    location = store_location(store)
    with open_store(location, create=False) as opened:
        sweep = opened.sweep(name)
        members = len(opened.members(sweep.id))
        runs = remove_sweep(opened, location, sweep, sweep_files(name, location)["card"].parent)
    return Removal(name, members, runs)
