from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from sweep_examples import (
    NAME,
    config,
    contents,
    drive,
    findings,
    finished_store,
    plan,
    put_tracking_database,
    record,
)

from noise_search.commands import run_sweep
from noise_search.errors import CallerError
from noise_search.search import sending
from noise_search.search.opening import finished, open_sweep
from noise_search.store import locate, open_store
from noise_search.store.leases import owner_text
from noise_search.tracking.mlflow_sink import MlflowSink


def test_a_sweep_that_is_complete_is_found_finished() -> None:
    found = finished(plan(), locate(finished_store()))
    assert found is not None
    assert (found.name, found.state) == (NAME, "complete")


def test_a_larger_total_is_not_finished_yet() -> None:
    assert finished(plan("budget.trials=7"), locate(finished_store())) is None


def test_another_name_is_not_finished() -> None:
    assert finished(plan("name=other"), locate(finished_store())) is None


def test_looking_for_a_store_does_not_make_one(tmp_path: Path) -> None:
    assert finished(plan(), locate(tmp_path / "none")) is None
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("optimizer=sgd", "optimizer.options.momentum=0"), "optimizer: sgd does not take these options"),
        (("train.device=cuda:99",), "train.device: expected auto, cpu, cuda or mps at hand, got 'cuda:99'"),
        (("train.batch_size=1078",), "leaves a last batch of one"),
    ],
)
def test_what_only_torch_or_the_data_can_refuse_is_refused_before_anything_is_written(
    overrides: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    # The digits leave 1079 samples to train on.
    with pytest.raises(CallerError, match=message):
        drive(tmp_path / "store", *overrides)
    assert not (tmp_path / "store").exists()


def test_a_second_driver_is_told_who_drives_and_changes_nothing(tmp_path: Path) -> None:
    drive(tmp_path, "budget.trials=1")
    with open_store(locate(tmp_path), create=False) as store:
        with store.take_lease(store.sweep(NAME).id, owner=owner_text(os.getppid())):
            before = findings(tmp_path)
            said = rf"sweep tiny is in use by process \S+:{os.getppid()}; wait for it, or end"
            with pytest.raises(CallerError, match=said):
                drive(tmp_path, "budget.trials=2")
        assert findings(tmp_path) == before
        assert store.sweep(NAME).budget_trials == 1
    assert drive(tmp_path, "budget.trials=2").changed


def test_the_lease_is_given_back_whatever_happens_inside(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="gone"), open_sweep(plan(), locate(tmp_path)):
        raise OSError("gone")
    with open_store(locate(tmp_path), create=False) as store:
        store.take_lease(store.sweep(NAME).id, owner="elsewhere:17:x").release()


NOWHERE = ("executor=ray", "executor.resources={nowhere: 1}")


@pytest.mark.usefixtures("ray_cluster")
def test_a_new_sweep_whose_workers_cannot_be_had_leaves_nothing_and_takes_nothing(tmp_path: Path) -> None:
    of_before = tmp_path / "sweeps" / NAME / "card.yaml"  # as where a database is gone and its files are not
    of_before.parent.mkdir(parents=True)
    of_before.touch()
    with pytest.raises(CallerError, match=r"expected a node of the cluster with 1 CPU, 1 nowhere, got none"):
        drive(tmp_path, *NOWHERE)
    with open_store(locate(tmp_path), create=False) as store:
        assert store.sweeps() == []
        assert store.optuna_storage().get_all_studies() == []
    assert [path for path in (tmp_path / "sweeps").rglob("*") if path.is_file()] == [of_before]
    assert drive(tmp_path, "budget.trials=1").state == "complete"


def test_where_nobody_listens_at_the_address_of_a_cluster_not_even_a_store_is_made(tmp_path: Path) -> None:
    with pytest.raises(CallerError, match=r"cannot reach a cluster by 127\.0\.0\.1:9"):
        drive(tmp_path / "store", "executor=ray", "executor.address=127.0.0.1:9")
    assert not (tmp_path / "store").exists()


@pytest.mark.usefixtures("ray_cluster")
def test_a_sweep_whose_workers_cannot_be_had_stays_as_it_was(tmp_path: Path) -> None:
    drive(tmp_path, "budget.trials=1")
    before = record(tmp_path)
    with pytest.raises(CallerError, match="expected a node of the cluster with"):
        drive(tmp_path, "budget.trials=2", *NOWHERE)
    after = record(tmp_path)
    assert (after.state, after.budget_trials, after.config) == (before.state, before.budget_trials, before.config)
    assert drive(tmp_path, "budget.trials=2").state == "complete"


def test_the_threads_of_torch_are_those_asked_for(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    try:
        with open_sweep(plan("train.threads=2"), locate(tmp_path)):
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_without_tracking_there_is_no_mlflow_database() -> None:
    assert {path.name for path in finished_store().iterdir()} == {".lock", "search.db", "optuna.db", "sweeps"}


def test_an_mlflow_that_fails_costs_no_trial_and_the_same_command_catches_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    put_tracking_database(tmp_path)
    small = ("tracking.enabled=true", "budget.trials=2")
    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(sending, "FAILING_MIRROR_SECONDS", 0.3)
        patch.setattr(MlflowSink, "send", _refuse)
        assert drive(tmp_path, *small).state == "complete"
    assert "messages behind (OSError: no MLflow today); noise-search mirror tiny catches up" in caplog.text
    assert len(_unsent(tmp_path)) == 1 + 3 + 2 + 1
    untracked = config(*small, "tracking.enabled=false")
    assert not run_sweep(untracked, store=tmp_path).changed
    found = findings(tmp_path)
    assert drive(tmp_path, *small).changed
    assert _unsent(tmp_path) == []
    assert findings(tmp_path) == found
    before = contents(tmp_path)
    assert not drive(tmp_path, *small).changed
    assert contents(tmp_path) == before


def _refuse(_sink: object, _message: object) -> None:
    raise OSError("no MLflow today")


def _unsent(folder: Path) -> list[Any]:
    with open_store(locate(folder), create=False) as store:
        return list(store.unsent(store.sweep(NAME).id))
