from __future__ import annotations

import multiprocessing
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import optuna
import pytest
from confirm_examples import FEW
from sweep_examples import (
    BUDGET,
    CONTROLS,
    DIED,
    NAME,
    TINY,
    asked,
    assert_sound,
    drive,
    findings,
    finished_store,
    tracked_store,
)

import noise_search
from noise_search.commands import confirm, rm, statuses, sweep
from noise_search.errors import CallerError
from noise_search.search import removing
from noise_search.store import Writer, locate, open_store
from noise_search.tracking.places import own_place
from noise_search.tracking.runs import sweep_runs

pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy is deprecated:sqlalchemy.exc.SADeprecationWarning"
)
OTHER = ("name=other", "seed=1", "budget.trials=1", "controls.constants=0", "controls.random=0")


def copied(store: Path, folder: Path) -> Path:
    """A store of its own with the same databases and files."""
    folder.mkdir(exist_ok=True)
    for name in ("search.db", "optuna.db", "mlflow.db"):
        if (store / name).exists():
            with closing(sqlite3.connect(store / name)) as source, closing(sqlite3.connect(folder / name)) as target:
                source.backup(target)
    shutil.copytree(store / "sweeps", folder / "sweeps")
    return folder


def rows(store: Path) -> dict[str, int]:
    """How many rows each table about sweeps has."""
    tables = ("sweeps", "members", "results", "jobs", "job_members", "outbox")
    with closing(sqlite3.connect(store / "search.db")) as connection:
        return {table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables}


def studies(store: Path) -> list[str]:
    with open_store(locate(store), create=False) as opened:
        return [summary.study_name for summary in optuna.get_all_study_summaries(opened.optuna_storage())]


def test_everything_of_the_sweep_is_removed_and_nothing_of_another(tmp_path: Path) -> None:
    assert rm is noise_search.rm
    store = copied(finished_store(), tmp_path / "store")
    drive(store, *OTHER)
    before = findings(store, "other")
    removal = rm(NAME, store=store)
    assert (removal.name, removal.members, removal.runs) == (NAME, BUDGET + CONTROLS, 0)
    assert [one["name"] for one in statuses(store=store)] == ["other"]
    assert findings(store, "other") == before
    assert studies(store) == ["other"]
    assert [path.name for path in (store / "sweeps").iterdir()] == ["other"]
    assert rows(store) | {"outbox": 0} == {
        "sweeps": 1, "members": 2, "results": 2, "jobs": 2, "job_members": 2, "outbox": 0,
    }  # fmt: skip


def test_runs_of_a_tracked_sweep_are_deleted_parent_and_children(tmp_path: Path) -> None:
    store = copied(tracked_store(), tmp_path / "store")
    assert rm(NAME, store=store).runs == 1 + BUDGET + CONTROLS
    assert sweep_runs(own_place(locate(store)), NAME) == []


@pytest.mark.slow
def test_runs_of_confirmations_are_deleted_with_the_sweep_and_its_constant_rivals_stay(tmp_path: Path) -> None:
    store = copied(tracked_store(), tmp_path / "store")
    few = {**FEW, "top": 1, "randoms": 1}
    confirm(NAME, store=store, **few)
    confirm(NAME, store=store, **{**few, "constant_trials": 0})
    place = own_place(locate(store))
    confirmations = [f"{NAME} confirmation {number}" for number in (1, 2)]
    count = sum(len(sweep_runs(place, name)) for name in confirmations)
    rival = sweep_runs(place, f"{NAME}-constant")
    removal = rm(NAME, store=store)
    assert (removal.runs, removal.left) == (1 + BUDGET + CONTROLS + count, (f"{NAME}-constant",))
    assert [sweep_runs(place, name) for name in (NAME, *confirmations)] == [[], [], []]
    assert sweep_runs(place, f"{NAME}-constant") == rival
    assert rm(f"{NAME}-constant", store=store).left == ()


def test_a_removed_name_is_swept_from_the_start_again(tmp_path: Path) -> None:
    store = copied(finished_store(), tmp_path / "store")
    rm(NAME, store=store)
    assert sweep(TINY, store=store).changed
    assert findings(store) == findings(finished_store())
    assert_sound(store)


def test_another_search_may_take_a_removed_name(tmp_path: Path) -> None:
    store = copied(finished_store(), tmp_path / "store")
    rm(NAME, store=store)
    assert sweep([*TINY, "seed=1", "budget.trials=2"], store=store).state == "complete"
    assert len(asked(store)) == 2


def test_a_sweep_that_is_being_driven_is_refused_and_stays_whole(tmp_path: Path) -> None:
    store = copied(finished_store(), tmp_path / "store")
    with (
        open_store(locate(store), create=False) as opened,
        opened.take_lease(opened.sweep(NAME).id),
        pytest.raises(CallerError, match=f"sweep {NAME} is in use by"),
    ):
        rm(NAME, store=store)
    assert findings(store) == findings(finished_store())
    assert not sweep(TINY, store=store).changed


STEPS = ("mark_removed", "delete_sweep_runs", "rmtree", "delete_study")


@pytest.mark.parametrize("step", STEPS)
def test_a_removal_that_was_killed_after_any_step_is_finished_by_the_next(step: str, tmp_path: Path) -> None:
    store = copied(tracked_store(), tmp_path / "store")
    process = multiprocessing.get_context("fork").Process(target=_remove_and_die, args=(store, step))
    process.start()
    process.join(60)
    assert process.exitcode == DIED
    with pytest.raises(CallerError, match=f"{NAME} is being removed; finish with: noise-search rm {NAME} --yes"):
        sweep(TINY, store=store)
    rm(NAME, store=store)
    assert set(rows(store).values()) == {0}
    assert studies(store) == []
    assert list((store / "sweeps").iterdir()) == []
    assert sweep_runs(own_place(locate(store)), NAME) == []


def _remove_and_die(store: Path, step: str) -> None:
    owner: object = {"mark_removed": Writer, "rmtree": shutil}.get(step, removing)
    original = getattr(owner, step)

    def call_and_die(*arguments: object, **options: object) -> None:
        original(*arguments, **options)
        os._exit(DIED)

    setattr(owner, step, call_and_die)
    rm(NAME, store=store)


def test_an_unknown_name_is_refused_with_the_nearest_and_a_missing_store_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(CallerError, match=r"sweep: expected one of \['tiny'\], got 'tinny'; did you mean 'tiny'\?"):
        rm("tinny", store=finished_store())
    with pytest.raises(CallerError, match="store: expected a store, found none at"):
        rm(NAME, store=tmp_path / "none")
    assert list(tmp_path.iterdir()) == []
