"""How far confirmations have come, as `status` says it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from confirm_examples import FEW, StopsAfter, confirmed_store, of_stage
from sweep_examples import NAME, drive, finished_store

from noise_search.commands import confirm, plan_confirmation, run_confirmation, status
from noise_search.search.arms import ORDERING
from noise_search.search.confirm_progress import CHOSEN
from noise_search.search.learning_rates import is_at_rate
from noise_search.store import CHOOSE, MEASURE, locate, open_store


def progress(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = status(NAME, store=folder)["confirmations"]
    return found


def test_a_sweep_that_nobody_has_confirmed_has_none() -> None:
    assert progress(finished_store()) == []


def test_a_finished_one_has_all_trainings_of_stage_2() -> None:
    folder, _ = confirmed_store()
    count = sum(len(own) for own in of_stage(folder, MEASURE).values())
    trials = status(NAME, store=folder)["trials"]["complete"]
    (one,) = progress(folder)
    assert one == {
        "number": 1,
        "state": "finished",
        "stage": MEASURE,
        "trials": trials,
        "trainings": count,
        "at_most": count,
    }


@pytest.mark.parametrize(("epochs", "stage"), [(1, "constants"), (10, CHOOSE), (40, CHOSEN), (60, MEASURE)])
def test_one_that_was_cut_short_says_in_which_stage_and_counts_its_trainings(
    epochs: int, stage: str, tmp_path: Path
) -> None:
    shutil.copytree(finished_store(), tmp_path, dirs_exist_ok=True)
    with pytest.raises(KeyboardInterrupt):
        confirm(NAME, store=tmp_path, reporter=StopsAfter(epochs), **FEW)
    (one,) = progress(tmp_path)
    assert (one["state"], one["stage"]) == ("interrupted", stage)
    arms = {} if stage == "constants" else of_stage(tmp_path, stage)
    assert one["trainings"] == sum(len(own) for arm, own in arms.items() if not is_at_rate(arm)) < one["at_most"]


class Looks:
    """Reporter that asks for the status at every news, of so many confirmations."""

    def __init__(self, folder: Path, count: int = 1) -> None:
        self.folder, self.count, self.seen = folder, count, set[tuple[str, str]]()
        self.states = set[tuple[str, ...]]()

    def begin(self, total: int, done: int) -> None: ...

    def message(self, text: str) -> None: ...

    def advance(self, epochs: int) -> None:
        if epochs:
            found = progress(self.folder)
            assert len(found) == self.count
            self.states.add(tuple(one["state"] for one in found))
            self.seen.add((found[0]["state"], found[0]["stage"]))


def test_one_that_is_under_way_is_running_in_every_stage(tmp_path: Path) -> None:
    shutil.copytree(finished_store(), tmp_path, dirs_exist_ok=True)
    looks = Looks(tmp_path)
    confirm(NAME, store=tmp_path, reporter=looks, lr_check=False, **FEW)
    assert looks.seen == {("running", stage) for stage in ("constants", CHOOSE, CHOSEN, MEASURE)}


def test_of_two_that_were_cut_short_the_one_that_goes_on_is_running_and_neither_while_another_holds_the_lease(
    tmp_path: Path,
) -> None:
    shutil.copytree(finished_store(), tmp_path, dirs_exist_ok=True)
    few = FEW | {"constant_trials": 0, "lr_check": False, "top": 1, "randoms": 1}
    for rule in ("best", "knee"):
        with pytest.raises(KeyboardInterrupt):
            confirm(NAME, store=tmp_path, reporter=StopsAfter(3), **few, rule=rule)
    with open_store(locate(tmp_path), create=False) as store, store.take_lease(store.sweep(NAME).id):
        assert [one["state"] for one in progress(tmp_path)] == ["interrupted", "interrupted"]  # as pick and report do
    looks = Looks(tmp_path, count=2)
    confirm(NAME, store=tmp_path, reporter=looks, **few)
    assert looks.states == {("running", "interrupted")}
    assert [one["state"] for one in progress(tmp_path)] == ["finished", "interrupted"]


class Counts:
    """Reporter that counts as a bar does."""

    def __init__(self) -> None:
        self.totals: list[int] = []
        self.begun: list[int] = []
        self.done = 0

    def begin(self, total: int, done: int) -> None:
        self.totals.append(total)
        self.begun.append(done)
        self.done = done

    def message(self, text: str) -> None: ...

    def advance(self, epochs: int) -> None:
        self.done += epochs


@pytest.mark.parametrize("lr_check", [False, True])
def test_the_total_follows_who_drops_out_and_a_winner_without_a_schedule_so_that_the_end_is_reached(
    lr_check: bool, tmp_path: Path
) -> None:
    drive(tmp_path, "space=gaussian", "space.terms.inputs.schedule=constant")
    shown = Counts()
    plan = plan_confirmation(NAME, store=tmp_path, **FEW, lr_check=lr_check)
    run_confirmation(plan, reporter=shown)
    assert shown.totals[-1] == shown.done
    assert shown.totals[-2] - shown.totals[-1] >= plan.spec.train.epochs * len(ORDERING) * FEW["measure_seeds"]


def test_one_that_goes_on_begins_where_it_was(tmp_path: Path) -> None:
    shutil.copytree(finished_store(), tmp_path, dirs_exist_ok=True)
    with pytest.raises(KeyboardInterrupt):
        confirm(NAME, store=tmp_path, reporter=StopsAfter(60), **FEW)
    with open_store(locate(tmp_path), create=False) as store:
        (record,) = store.confirmations(store.sweep(NAME).id)
        there = len(store.confirmed(record.id))
    shown = Counts()
    plan = plan_confirmation(NAME, store=tmp_path, **FEW)
    run_confirmation(plan, reporter=shown)
    assert there > 0
    assert there * plan.spec.train.epochs in shown.begun
    assert shown.totals[-1] == shown.done
