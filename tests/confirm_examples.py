"""Confirmations of the tiny sweep for tests, and the means to look into them."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path
from typing import Any

from sweep_examples import NAME, finished_store, temporary_folder

from noise_search.commands import ConfirmOutcome, confirm
from noise_search.store import ConfirmationRecord, Confirmed, locate, open_store

FEW: dict[str, Any] = {"top": 2, "randoms": 2, "seeds": 2, "measure_seeds": 2, "constant_trials": 2}


@cache
def confirmed_store() -> tuple[Path, ConfirmOutcome]:
    """Store with the tiny sweep confirmed; to be read only."""
    folder = temporary_folder()
    shutil.copytree(finished_store(), folder, dirs_exist_ok=True)
    return folder, confirm(NAME, store=folder, **FEW)


def confirmations(folder: Path) -> list[ConfirmationRecord]:
    """Confirmations of the tiny sweep."""
    with open_store(locate(folder), create=False) as store:
        return store.confirmations(store.sweep(NAME).id)


def trainings(folder: Path, number: int = 1) -> list[Confirmed]:
    """Trainings of one of its confirmations."""
    with open_store(locate(folder), create=False) as store:
        record = store.confirmations(store.sweep(NAME).id)[number - 1]
        return store.confirmed(record.id)


def of_stage(folder: Path, stage: str) -> dict[str, list[Confirmed]]:
    """Trainings of a stage by arm."""
    found: dict[str, list[Confirmed]] = {}
    for one in trainings(folder):
        if one.stage == stage:
            found.setdefault(one.arm, []).append(one)
    return found


class StopsAfter:
    """Reporter that interrupts after so many member-epochs."""

    def __init__(self, epochs: int) -> None:
        self.left = epochs

    def begin(self, total: int, done: int) -> None:
        """Nothing."""

    def message(self, text: str) -> None:
        """Nothing."""

    def advance(self, epochs: int) -> None:
        """Count epochs."""
        self.left -= epochs
        if self.left < 0:
            raise KeyboardInterrupt
