"""A real sweep with stopping, killed (kill -9) at a random moment and continued, is the sweep that was not."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from driven_sweeps import HALVED, TRIALS, killed
from sweep_damage import NONE, count, damage, left
from sweep_examples import TINY, drive, put_tracking_database

from noise_search.store import Location, locate, open_store

TRACKED = ("tracking.enabled=true",)
LATER_SECONDS = 0.2


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Location:
    """Store with the sweep, run at one go."""
    folder = tmp_path_factory.mktemp("whole")
    assert drive(folder, *HALVED).state == "complete"
    return locate(folder)


@pytest.fixture
def place(tmp_path: Path) -> Location:
    """Of another store."""
    folder = tmp_path / "store"
    folder.mkdir()
    return locate(folder)


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "overrides"), [(0, ()), (1, ()), (2, TRACKED)], ids=["first", "second", "tracked"])
def test_a_sweep_killed_at_a_random_moment_is_the_sweep_that_was_not(
    seed: int, overrides: Sequence[str], whole: Location, place: Location
) -> None:
    if overrides:
        put_tracking_database(place.folder)
    rng, jobs = random.Random(seed), count(whole, "done")
    own = (*TINY, *HALVED, *overrides)
    assert killed(place, *own, jobs=rng.randrange(jobs - 1), rng=rng, later=LATER_SECONDS), "it had ended before"
    was = left(place)
    assert was.jobs_done < jobs
    assert drive(place.folder, *HALVED, *overrides).state == "complete"
    assert damage(place, whole) == NONE, was
    assert place.tracking_path.exists() == bool(overrides)


def test_the_same_seed_gives_the_same_sweep_in_another_store(whole: Location, place: Location) -> None:
    assert drive(place.folder, *HALVED).state == "complete"
    assert damage(place, whole) == NONE


def test_another_seed_gives_another_sweep(whole: Location, place: Location) -> None:
    assert drive(place.folder, *HALVED, "seed=1").state == "complete"
    found = damage(place, whole)
    assert found.different > 0
    assert found.front_differs


def test_the_sweep_that_is_killed_goes_on_from_rungs_and_stops_trials(whole: Location) -> None:
    with open_store(whole, create=False) as store:
        sweep_id = store.sweep("tiny").id
        jobs, members = store.jobs(sweep_id), store.members(sweep_id)
    assert {(job.from_epoch, job.to_epoch) for job in jobs} >= {(0, 1), (1, 3), (3, 6), (6, 9)}
    states = [member.state for member in members if member.number is not None]
    assert len(states) == TRIALS
    assert {"complete", "stopped"} <= set(states)
