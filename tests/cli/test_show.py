"""What the command line says of a sweep at its end and later."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from cli_runs import Run
from sweep_examples import NAME, finished_store

from noise_search.store import locate, open_store

NO_DIFFERENCE = "The shape of the schedule made no difference beyond noise (90 % of shuffles show as much)."


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """Store with the tiny sweep, to be changed."""
    return shutil.copytree(finished_store(), tmp_path / "store")


@pytest.mark.parametrize(
    ("chance_of_magnitude", "said"),
    [
        (0.05, "magnitude 6 % (5 % of shuffles show as much); no more than chance: schedule"),
        (0.5, "no more than chance: magnitude, schedule"),
    ],
)
def test_shares_of_importance_are_shown_of_what_is_beyond_chance_alone(
    chance_of_magnitude: float, said: str, ns: Run, copied: Path
) -> None:
    chance = {"magnitude": chance_of_magnitude, "schedule": 0.9}
    found = {"trials": 20, "shares": {"magnitude": 0.06, "schedule": 0.94}, "chance": chance, "sentence": NO_DIFFERENCE}
    with open_store(locate(copied), create=False) as store, store.take_lease(store.sweep(NAME).id) as writer:
        writer.finish_sweep("complete", [], importance=found)
    _, out, _ = ns("status", NAME, "--store", str(copied))
    assert out.splitlines()[-2:] == [f"importance for the score: {said}", NO_DIFFERENCE]
