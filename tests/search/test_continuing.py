from __future__ import annotations

import random
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from sweep_examples import (
    BUDGET,
    CONTROLS,
    JOBS,
    NAME,
    Quitter,
    assert_sound,
    contents,
    drive,
    findings,
    finished_store,
    record,
    start,
    trials,
)

from noise_search.commands import front, status
from noise_search.store import locate, open_store


@pytest.mark.parametrize("jobs", range(1, JOBS + 1))
def test_a_sweep_stopped_after_any_job_and_continued_is_the_sweep_that_was_not(jobs: int, tmp_path: Path) -> None:
    stopped = drive(tmp_path, reporter=Quitter(jobs=jobs))
    assert (stopped.state, record(tmp_path).state) == ("interrupted", "interrupted")
    continued = drive(tmp_path)
    assert (continued.state, continued.changed) == ("complete", True)
    assert findings(tmp_path) == findings(finished_store())
    assert front(NAME, store=tmp_path) == front(NAME, store=finished_store())
    assert_sound(tmp_path)


def test_a_sweep_stopped_after_every_single_job_is_the_sweep_that_was_not(tmp_path: Path) -> None:
    states = [drive(tmp_path, reporter=Quitter(jobs=1)).state for _ in range(JOBS)]
    assert states == ["interrupted"] * JOBS
    assert drive(tmp_path).state == "complete"
    assert findings(tmp_path) == findings(finished_store())
    assert_sound(tmp_path)


def test_a_job_stopped_in_the_middle_runs_again(tmp_path: Path) -> None:
    epochs_of_the_controls = 2 * CONTROLS
    assert drive(tmp_path, reporter=Quitter(epochs=epochs_of_the_controls + 2)).state == "interrupted"
    counts = status(NAME, store=tmp_path)["trials"]
    assert counts == {"complete": 0, "stopped": 0, "infeasible": 0, "failed": 0, "running": 0, "waiting": 2}
    assert drive(tmp_path).state == "complete"
    assert findings(tmp_path) == findings(finished_store())
    assert_sound(tmp_path)


def test_a_sweep_killed_twice_at_any_moment_is_the_sweep_that_was_not(tmp_path: Path) -> None:
    moments = [random.uniform(0.0, 0.6) for _ in range(2)]
    for moment in moments:
        taken = _leases_taken(tmp_path)
        process = start(tmp_path)
        while process.is_alive() and _leases_taken(tmp_path) == taken:
            time.sleep(0.01)
        time.sleep(moment)
        process.kill()
        process.join(30)
    assert drive(tmp_path).state == "complete", moments
    assert findings(tmp_path) == findings(finished_store()), moments
    assert_sound(tmp_path)


def _leases_taken(folder: Path) -> int:
    try:
        with closing(sqlite3.connect(f"file:{folder / 'search.db'}?mode=ro", uri=True)) as connection:
            found = connection.execute("SELECT lease_generation FROM sweeps").fetchone()
            return int(found[0]) if found else 0
    except sqlite3.OperationalError:  # no file, or no tables yet
        return 0


def test_a_larger_total_continues_a_finished_sweep(tmp_path: Path) -> None:
    drive(tmp_path, "budget.trials=2")
    outcome = drive(tmp_path)
    assert (outcome.state, outcome.changed) == ("complete", True)
    assert findings(tmp_path) == findings(finished_store())
    assert status(NAME, store=tmp_path)["budget"] == {"trials": BUDGET, "seeds": 1}
    assert_sound(tmp_path)


def test_a_larger_total_keeps_the_trials_of_a_smaller_one_that_ends_inside_a_batch(tmp_path: Path) -> None:
    drive(tmp_path, "budget.trials=3")
    before = findings(tmp_path)
    drive(tmp_path, "budget.trials=5")
    after = findings(tmp_path)
    assert {name: after[name] for name in before} == before
    assert len(trials(after)) == 5
    assert_sound(tmp_path, 5)


def test_the_same_command_at_the_total_changes_no_file(tmp_path: Path) -> None:
    drive(tmp_path)
    before = contents(tmp_path)
    outcome = drive(tmp_path)
    assert (outcome.state, outcome.changed) == ("complete", False)
    assert contents(tmp_path) == before


def test_a_smaller_total_than_the_one_reached_changes_no_file(tmp_path: Path) -> None:
    drive(tmp_path, "budget.trials=3")
    before = contents(tmp_path)
    assert not drive(tmp_path, "budget.trials=2").changed
    assert contents(tmp_path) == before


def test_making_a_store_that_was_cut_short_is_done_again(tmp_path: Path) -> None:
    drive(tmp_path, "budget.trials=1")
    for path in tmp_path.glob("optuna.db*"):
        path.unlink()
    (tmp_path / "search.db").unlink()
    (tmp_path / "search.db").touch()
    assert drive(tmp_path, "budget.trials=1").state == "complete"


def test_progress_of_a_continued_sweep_starts_where_it_was_left_and_reaches_the_whole(tmp_path: Path) -> None:
    begun: list[tuple[int, int]] = []
    trained: list[int] = []

    class Noting(Quitter):
        def begin(self, total: int, done: int) -> None:
            begun.append((total, done))

        def advance(self, epochs: int) -> None:
            trained.append(epochs)

    drive(tmp_path, reporter=Noting(jobs=2))
    drive(tmp_path, reporter=Noting())
    work = 2 * (CONTROLS + BUDGET)
    assert begun == [(work, 0), (work, 2 * CONTROLS)]
    assert sum(trained) == work


def test_jobs_that_were_given_up_do_not_count_as_trained_epochs(tmp_path: Path) -> None:
    drive(tmp_path, reporter=Quitter(epochs=2))
    drive(tmp_path)
    assert status(NAME, store=tmp_path)["epochs_trained"] == 2 * (CONTROLS + BUDGET)
    with open_store(locate(tmp_path), create=False) as store:
        assert [job.state for job in store.jobs(store.sweep(NAME).id)] == ["abandoned"] + ["done"] * JOBS
