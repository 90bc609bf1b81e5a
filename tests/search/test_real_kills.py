"""A real sweep with stopping, killed (kill -9) at a random moment and continued, is the sweep that was not."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path

import pytest
from real_kills import OVERRIDES, TRIALS, jobs_done, killed, outcome
from sweep_examples import drive, put_tracking_database

from noise_search.store import locate, open_store

TRACKED = ("tracking.enabled=true",)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Store with the sweep, run at one go."""
    folder = tmp_path_factory.mktemp("whole")
    assert drive(folder, *OVERRIDES).state == "complete"
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "overrides"), [(0, ()), (1, ()), (2, TRACKED)], ids=["first", "second", "tracked"])
def test_a_sweep_killed_at_a_random_moment_is_the_sweep_that_was_not(
    seed: int, overrides: Sequence[str], whole: Path, tmp_path: Path
) -> None:
    if overrides:
        put_tracking_database(tmp_path)
    rng = random.Random(seed)
    left = killed(tmp_path, *overrides, jobs=rng.randrange(jobs_done(whole) - 1), rng=rng)
    assert left is not None, "it had come to its end before it was killed"
    assert left.jobs_done < jobs_done(whole)
    assert drive(tmp_path, *OVERRIDES, *overrides).state == "complete"
    assert not any(astuple(outcome(tmp_path, whole))), left
    assert locate(tmp_path).tracking_path.exists() == bool(overrides)


def test_the_same_seed_gives_the_same_sweep_in_another_store(whole: Path, tmp_path: Path) -> None:
    assert drive(tmp_path, *OVERRIDES).state == "complete"
    assert not any(astuple(outcome(tmp_path, whole)))


def test_another_seed_gives_another_sweep(whole: Path, tmp_path: Path) -> None:
    assert drive(tmp_path, *OVERRIDES, "seed=1").state == "complete"
    found = outcome(tmp_path, whole)
    assert found.different > 0
    assert found.front_differs


def test_the_sweep_that_is_killed_goes_on_from_rungs_and_stops_trials(whole: Path) -> None:
    with open_store(locate(whole), create=False) as store:
        sweep_id = store.sweep("tiny").id
        jobs, members = store.jobs(sweep_id), store.members(sweep_id)
    assert {(job.from_epoch, job.to_epoch) for job in jobs} >= {(0, 1), (1, 3), (3, 6), (6, 9)}
    states = [member.state for member in members if member.number is not None]
    assert len(states) == TRIALS
    assert {"complete", "stopped"} <= set(states)
