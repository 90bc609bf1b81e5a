"""What the command line does, as Python calls."""

from __future__ import annotations

from noise_search.commands.looking import Pages, ui
from noise_search.commands.picking import pick
from noise_search.commands.places import DEFAULT_STORE, store_location
from noise_search.commands.reading import front, listing, status, statuses
from noise_search.commands.sweeping import Silent, SweepOutcome, run_sweep, sweep, sweep_files

__all__ = [
    "DEFAULT_STORE",
    "Pages",
    "Silent",
    "SweepOutcome",
    "front",
    "listing",
    "pick",
    "run_sweep",
    "status",
    "statuses",
    "store_location",
    "sweep",
    "sweep_files",
    "ui",
]
