"""What the command line does, as Python calls."""

from __future__ import annotations

from noise_search.commands.checks import Check
from noise_search.commands.confirm_plans import ConfirmPlan, plan_confirmation, refuse_unready
from noise_search.commands.confirming import ConfirmOutcome, confirm, confirmed_before, run_confirmation
from noise_search.commands.diagnosis import doctor
from noise_search.commands.looking import Pages, ui
from noise_search.commands.migrating import Migration, migrate
from noise_search.commands.mirroring import Mirrored, mirror
from noise_search.commands.picking import PickOutcome, pick
from noise_search.commands.places import store_location
from noise_search.commands.previewing import Preview, preview, preview_of
from noise_search.commands.reading import front, listing, status, statuses
from noise_search.commands.registered import cards, registered_card
from noise_search.commands.removing import Removal, rm
from noise_search.commands.reporting import Report, report
from noise_search.commands.stopping import Stopped, stop
from noise_search.commands.sweeping import SweepOutcome, run_sweep, sweep, sweep_files
from noise_search.commands.training import Trained, TrainOutcome, run_training, train
from noise_search.commands.watching import watch, watched
from noise_search.search.reporting import Silent
from noise_search.store import DEFAULT_STORE

__all__ = [
    "DEFAULT_STORE",
    "Check",
    "ConfirmOutcome",
    "ConfirmPlan",
    "Migration",
    "Mirrored",
    "Pages",
    "PickOutcome",
    "Preview",
    "Removal",
    "Report",
    "Silent",
    "Stopped",
    "SweepOutcome",
    "TrainOutcome",
    "Trained",
    "cards",
    "confirm",
    "confirmed_before",
    "doctor",
    "front",
    "listing",
    "migrate",
    "mirror",
    "pick",
    "plan_confirmation",
    "preview",
    "preview_of",
    "refuse_unready",
    "registered_card",
    "report",
    "rm",
    "run_confirmation",
    "run_sweep",
    "run_training",
    "status",
    "statuses",
    "stop",
    "store_location",
    "sweep",
    "sweep_files",
    "train",
    "ui",
    "watch",
    "watched",
]
