"""A small real confirmation, for tests that read one."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path
from typing import Any

from sweep_examples import NAME, finished_store, temporary_folder

from noise_search.commands import ConfirmOutcome, confirm

FEW: dict[str, Any] = {"top": 2, "randoms": 2, "seeds": 2, "measure_seeds": 2, "constant_trials": 2}


@cache
def confirmed_store() -> tuple[Path, ConfirmOutcome]:
    """Store with the tiny sweep confirmed; to be read only."""
    folder = temporary_folder()
    shutil.copytree(finished_store(), folder, dirs_exist_ok=True)
    return folder, confirm(NAME, store=folder, **FEW)
