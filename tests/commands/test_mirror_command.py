"""Sweeps whose runs are on a tracking server that goes away and comes back."""

from __future__ import annotations

import json
import logging
import shutil
import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow_server import MlflowServer
from prometheus_client.parser import text_string_to_metric_families
from sweep_examples import (
    BUDGET,
    CONTROLS,
    NAME,
    drive,
    findings,
    finished_store,
    record,
    temporary_folder,
    tracked_store,
)

import noise_search
from noise_search import cli
from noise_search.commands import SweepOutcome, doctor, mirror, rm, status, ui
from noise_search.search.mirroring import member_name, milliseconds
from noise_search.store import locate, open_store
from noise_search.tracking.clients import TrackingServerError

SECRET = "a-password-nobody-may-find"  # of nothing
MESSAGES = 1 + CONTROLS + BUDGET + 1  # the sweep opened, everybody ended, the sweep closed


def client(server: MlflowServer) -> Any:
    return MlflowClient(server.url, registry_uri=server.url)


def runs_on(server: MlflowServer, experiment: str) -> dict[str, Any]:
    """Runs of an experiment by name, each of which is there once."""
    own = client(server)
    found = own.search_runs([own.get_experiment_by_name(experiment).experiment_id])
    assert len({run.info.run_name for run in found}) == len(found)
    return {run.info.run_name: run for run in found}


def order_on(server: MlflowServer, experiment: str) -> list[str]:
    """Names of the runs of an experiment in the order in which the server has made them."""
    experiment_id = client(server).get_experiment_by_name(experiment).experiment_id
    query = "SELECT name FROM runs WHERE experiment_id = ? ORDER BY rowid"
    with closing(sqlite3.connect(server.folder / "mlflow.db")) as database:
        return [name for (name,) in database.execute(query, (experiment_id,))]


def assert_whole(server: MlflowServer, store: Path, experiment: str) -> None:
    """Every run of the tiny sweep is there once, has ended, came in order and has its original times."""
    with open_store(locate(store), create=False) as opened:
        sweep = opened.sweep(NAME)
        members = {member_name(member): member for member in opened.members(sweep.id)}
        payloads = _outbox(store, sweep.id)
        assert opened.unsent_count(sweep.id) == 0
    found = runs_on(server, experiment)
    assert found.keys() == {NAME, *members}
    assert order_on(server, experiment) == [NAME, *(key for key in payloads if key in members)]
    assert {run.info.status for run in found.values()} == {"FINISHED"}
    for name, member in members.items():
        assert member.started_at is not None
        assert found[name].info.start_time == milliseconds(member.started_at)
        assert found[name].info.end_time == payloads[name]["ended_ms"]
    assert {file.path for file in client(server).list_artifacts(found[NAME].info.run_id)} == {"card", "report"}


def _outbox(store: Path, sweep_id: int) -> dict[str, dict[str, Any]]:
    """Whole outbox of a sweep in its order, sent or not."""
    with closing(sqlite3.connect(store / "search.db")) as database:
        rows = database.execute("SELECT key, payload FROM outbox WHERE sweep_id = ? ORDER BY position", (sweep_id,))
        return {key: json.loads(payload) for key, payload in rows}


class Kills:
    """Reporter that kills the server after some epochs of members, and starts it again some epochs later."""

    def __init__(self, server: MlflowServer, kill: int, start: int) -> None:
        self._server, self._kill, self._start, self._epochs = server, kill, start, 0

    def begin(self, total: int, done: int) -> None:
        """Nothing."""

    def advance(self, epochs: int) -> None:
        """Count epochs."""
        before, self._epochs = self._epochs, self._epochs + epochs
        if before < self._kill <= self._epochs:
            self._server.kill()
        if before < self._start <= self._epochs:
            self._server.start()

    def message(self, text: str) -> None:
        """Nothing."""


@pytest.mark.slow
def test_a_server_that_is_killed_and_started_again_during_a_sweep_gets_every_run_once_in_order(
    mlflow_server: MlflowServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "somebody")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", SECRET)  # this server asks for none
    address = (f"tracking.uri={mlflow_server.url}", "tracking.experiment=killed")
    outcome = drive(tmp_path, "tracking.enabled=true", *address, reporter=Kills(mlflow_server, kill=6, start=12))
    assert (outcome.state, outcome.mlflow_behind) == ("complete", 0)
    assert_whole(mlflow_server, tmp_path, "killed")
    assert findings(tmp_path) == findings(finished_store())
    assert not (tmp_path / "mlflow.db").exists()
    assert not (tmp_path / "artifacts").exists()
    assert capsys.readouterr().out == ""
    written = [path for path in (*tmp_path.rglob("*"), *mlflow_server.folder.rglob("*")) if path.is_file()]
    assert [path for path in written if SECRET.encode() in path.read_bytes()] == []
    assert SECRET not in caplog.text


@pytest.mark.slow
def test_a_server_that_is_down_for_a_whole_sweep_costs_a_warning_and_mirror_catches_up(
    mlflow_server: MlflowServer,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    mlflow_server.kill()
    address = (f"tracking.uri={mlflow_server.url}", "tracking.experiment=down")
    try:
        with caplog.at_level(logging.WARNING):
            outcome = drive(tmp_path, "tracking.enabled=true", *address)
        assert (datetime.now(UTC) - _last_trial(tmp_path)).total_seconds() < 25  # page and card among it
        assert (outcome.state, outcome.mlflow_behind) == ("complete", MESSAGES)
        why = f"(TrackingServerError: tracking server {mlflow_server.url} does not answer)"
        assert f"MLflow is {MESSAGES} messages behind {why}; noise-search mirror {NAME} catches up" in caplog.text
        assert findings(tmp_path) == findings(finished_store())
        assert status(NAME, store=tmp_path)["mlflow_behind"] == MESSAGES
        assert cli.main(["status", "--store", str(tmp_path)]) == 0
        said = capsys.readouterr().out
        assert f"MLflow lacks {MESSAGES} messages of {NAME}: " in said
        assert f"noise-search mirror {NAME} --store {tmp_path} sends them" in said
        assert cli.main(["mirror", NAME, "--store", str(tmp_path), "--json"]) == 1
        still = {"name": NAME, "mlflow": "behind", "messages": 0, "unsent": MESSAGES, "address": mlflow_server.url}
        assert json.loads(capsys.readouterr().out) == still
        _every_command_says_that_it_does_not_answer(mlflow_server, tmp_path)
    finally:
        mlflow_server.start()
    assert _lag(tmp_path) == (MESSAGES, 1)
    (came,) = noise_search.mirror(store=tmp_path)
    assert (came.mlflow, came.messages, came.unsent) == ("sent", MESSAGES, 0)
    assert _lag(tmp_path) == (0, 0)
    assert_whole(mlflow_server, tmp_path, "down")
    assert (mirror(NAME, store=tmp_path)[0].mlflow, mirror(NAME, store=tmp_path)[0].messages) == ("sent", 0)
    assert not drive(tmp_path, "tracking.enabled=true", *address).changed


def _lag(store: Path) -> tuple[float, float]:
    """What the metrics file of the sweep says of its mirror."""
    text = (store / "sweeps" / NAME / "metrics.prom").read_text(encoding="utf-8")
    found = {one.name: one.value for family in text_string_to_metric_families(text) for one in family.samples}
    return found["noise_search_mirror_unsent_messages"], found["noise_search_mirror_failing"]


def _last_trial(store: Path) -> datetime:
    with open_store(locate(store), create=False) as opened:
        ends = [member.finished_at for member in opened.members(opened.sweep(NAME).id)]
    return max(end for end in ends if end is not None)


def _every_command_says_that_it_does_not_answer(server: MlflowServer, store: Path) -> None:
    why = f"tracking server {server.url} does not answer"
    with pytest.raises(TrackingServerError, match=why), ui(NAME, store=store):
        pass
    with pytest.raises(TrackingServerError, match=f"{why}; nothing was removed: --keep-runs spares the runs there"):
        rm(NAME, store=store)
    assert findings(store) == findings(finished_store())  # the sweep is still there, whole
    (check,) = (check for check in doctor(store=store) if check.name.startswith("MLflow server"))
    assert (check.name, check.state) == (f"MLflow server {server.url}", "fail")
    assert why in check.found
    assert check.found.endswith(f"(used by {NAME})")


@pytest.fixture(scope="module")
def moved(mlflow_server: MlflowServer) -> tuple[Path, SweepOutcome]:
    """Store whose sweep had its runs in the store's own database before it named the server, and what came of that."""
    folder = temporary_folder()
    shutil.copytree(tracked_store(), folder, dirs_exist_ok=True)
    return folder, drive(folder, "tracking.enabled=true", f"tracking.uri={mlflow_server.url}")


def test_a_sweep_that_names_another_server_sends_it_every_run_and_trains_nothing(
    mlflow_server: MlflowServer, moved: tuple[Path, SweepOutcome]
) -> None:
    store, outcome = moved
    url = locate(store).tracking_url
    own = MlflowClient(url, registry_uri=url)
    found = own.search_runs([own.get_experiment_by_name("noise_search").experiment_id])
    before = {run.info.run_name: run for run in found}
    after = runs_on(mlflow_server, "noise_search")
    assert outcome.changed
    assert findings(store) == findings(finished_store())
    assert after.keys() == before.keys()
    for name, run in after.items():
        assert run.data.params == before[name].data.params
        assert run.data.metrics == before[name].data.metrics
        if name != NAME:
            assert (run.info.start_time, run.info.end_time) == (
                before[name].info.start_time,
                before[name].info.end_time,
            )
    assert record(store).config["tracking"] == {"enabled": True, "experiment": "noise_search", "uri": mlflow_server.url}


def test_runs_that_go_back_to_the_store_because_no_server_is_named_are_told_of(
    mlflow_server: MlflowServer, moved: tuple[Path, SweepOutcome], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(moved[0], tmp_path, dirs_exist_ok=True)
    assert drive(tmp_path, "tracking.enabled=true").changed
    to = f"runs of {NAME}: from now on in the store's own database, which gets all of them; were in {mlflow_server.url}"
    assert to in caplog.text


def test_the_ui_of_a_sweep_on_a_server_is_the_servers_own(
    mlflow_server: MlflowServer, moved: tuple[Path, SweepOutcome], capsys: pytest.CaptureFixture[str]
) -> None:
    store, _ = moved
    runs = runs_on(mlflow_server, "noise_search")
    began = time.monotonic()
    assert cli.main(["ui", NAME, "--store", str(store), "--json"]) == 0
    assert time.monotonic() - began < 20
    page = f"{mlflow_server.url}/#/experiments/{runs[NAME].info.experiment_id}/runs"
    kind = "workflowType=machine_learning"
    assert json.loads(capsys.readouterr().out) == {
        "address": mlflow_server.url,
        "sweep": f"{page}/{runs[NAME].info.run_id}?{kind}",
        "trials": f"{page}?{kind}",
    }
    assert cli.main(["ui", "--store", str(store)]) == 0
    assert capsys.readouterr().out == f"MLflow: {mlflow_server.url}/#/experiments\n"


def test_doctor_finds_the_servers_of_the_store_and_one_that_is_named(
    mlflow_server: MlflowServer, moved: tuple[Path, SweepOutcome]
) -> None:
    found = {check.name: check for check in doctor(store=moved[0], tracking_uri="http://127.0.0.1:9")}
    own = found[f"MLflow server {mlflow_server.url}"]
    assert (own.state, own.advice) == ("ok", "")
    assert "login accepted" in own.found
    assert found["MLflow server http://127.0.0.1:9"].state == "fail"
    with pytest.raises(noise_search.CallerError, match="without user and password") as told:
        doctor(tracking_uri="http://me:secret@127.0.0.1:9")
    assert "secret" not in str(told.value)


def test_a_removed_sweep_takes_its_runs_from_the_server_unless_they_are_to_be_kept(
    mlflow_server: MlflowServer, moved: tuple[Path, SweepOutcome], tmp_path: Path
) -> None:
    shutil.copytree(moved[0], tmp_path, dirs_exist_ok=True)
    assert rm(NAME, store=tmp_path, keep_runs=True).runs == 0
    assert len(runs_on(mlflow_server, "noise_search")) == 1 + CONTROLS + BUDGET
    assert rm(NAME, store=moved[0]).runs == 1 + CONTROLS + BUDGET
    assert runs_on(mlflow_server, "noise_search") == {}


def test_a_sweep_that_is_not_tracked_or_has_nothing_left_has_nothing_to_send(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert mirror(store=finished_store()) == []
    assert cli.main(["mirror", NAME, "--store", str(finished_store())]) == 0
    assert f"{NAME}: not tracked" in capsys.readouterr().out
    assert cli.main(["mirror", "--store", str(tracked_store())]) == 0
    assert f"{NAME}: MLflow has everything, 0 messages of it new (sqlite:" in capsys.readouterr().out


def test_while_a_sweep_is_driven_its_own_mirror_sends(tmp_path: Path) -> None:
    shutil.copytree(tracked_store(), tmp_path, dirs_exist_ok=True)
    with open_store(locate(tmp_path), create=False) as store, store.take_lease(store.sweep(NAME).id) as writer:
        writer.send_again()
        before = (tmp_path / "sweeps" / NAME / "metrics.prom").read_bytes()
        (found,) = mirror(NAME, store=tmp_path)
        assert (tmp_path / "sweeps" / NAME / "metrics.prom").read_bytes() == before
    assert (found.mlflow, found.unsent) == ("busy", MESSAGES)
