"""The sink and its client against a real MLflow server."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow_server import MlflowServer
from tcp_gate import Gate

from noise_search.errors import CallerError
from noise_search.tracking.clients import TrackingServerError, look_at
from noise_search.tracking.messages import (
    Artifact,
    MemberFinished,
    Message,
    MetricPoint,
    ModelRegistered,
    SweepClosed,
    SweepOpened,
)
from noise_search.tracking.mirror import Mirror
from noise_search.tracking.mlflow_sink import MlflowSink
from noise_search.tracking.places import Place
from noise_search.tracking.runs import delete_sweep_runs, sweep_runs

_numbers = itertools.count()


@pytest.fixture
def sweep() -> str:
    """Name of a sweep that the server has not seen yet; also that of its experiment."""
    return f"sweep {next(_numbers)}"


@pytest.fixture
def client(mlflow_server: MlflowServer) -> Any:
    return MlflowClient(mlflow_server.url, registry_uri=mlflow_server.url)


@pytest.fixture
def gate(mlflow_server: MlflowServer) -> Iterator[Gate]:
    with Gate(mlflow_server.port) as opened:
        yield opened


def place(port: int, origin: str = "one store") -> Place:
    return Place(f"http://127.0.0.1:{port}", None, origin)


def messages(sweep: str, folder: Path) -> list[Message]:
    """A sweep with one trial, its files, and a model of its trial's."""
    (folder / "card.yaml").write_text("version: 1")
    file = (Artifact(str(folder / "card.yaml"), "card"),)
    points = tuple(MetricPoint("clean", 0.5 + epoch / 10, epoch, 2_000 + epoch) for epoch in range(3))
    return [
        SweepOpened(sweep, sweep, {"model": "mlp"}, {}, started_ms=1_000),
        MemberFinished(sweep, sweep, "trial 0", {"noise": "none"}, {}, points, "FINISHED", 2_000, 3_000),
        SweepClosed(sweep, sweep, "FINISHED", 4_000, (), {"state": "complete"}, file),
        ModelRegistered(sweep, sweep, "trial 0", sweep, 1, {}, 5_000, file),
    ]


def runs(client: Any, experiment: str) -> dict[str, Any]:
    found = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    assert len({run.info.run_name for run in found}) == len(found)
    return {run.info.run_name: run for run in found}


def assert_all_there(client: Any, sweep: str) -> None:
    """Both runs once, with everything of `messages`, and one version of the model."""
    found = runs(client, sweep)
    own, trial = found.pop(sweep), found.pop("trial 0")
    assert found == {}
    assert (own.info.start_time, own.info.end_time, own.info.status) == (1_000, 4_000, "FINISHED")
    assert (trial.info.start_time, trial.info.end_time, trial.info.status) == (2_000, 3_000, "FINISHED")
    assert trial.data.tags["mlflow.parentRunId"] == own.info.run_id
    history = client.get_metric_history(trial.info.run_id, "clean")
    assert [(point.step, point.timestamp, point.value) for point in history] == [
        (epoch, 2_000 + epoch, 0.5 + epoch / 10) for epoch in range(3)
    ]
    assert [file.path for file in client.list_artifacts(own.info.run_id, "card")] == ["card/card.yaml"]
    assert [version.run_id for version in client.search_model_versions(f"name = '{sweep}'")] == [trial.info.run_id]


def test_a_server_keeps_runs_models_and_files_and_this_machine_none(
    mlflow_server: MlflowServer, client: Any, sweep: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    sink = MlflowSink(place(mlflow_server.port))
    for message in messages(sweep, tmp_path):
        sink.send(message)
    assert_all_there(client, sweep)
    source = client.get_model_version_by_alias(sweep, "tuned").source
    kept = mlflow.artifacts.download_artifacts(source, tracking_uri=mlflow_server.url)
    assert (Path(kept) / "card.yaml").read_text() == "version: 1"
    assert client.get_experiment_by_name(sweep).artifact_location.startswith("mlflow-artifacts:/")
    assert list((tmp_path / "cwd").iterdir()) == []


@pytest.mark.parametrize(
    "request_line",
    [
        b"experiments/create",
        b"runs/create",
        b"runs/log-batch",
        b"runs/update",
        b"mlflow-artifacts",
        b"registered-models/create",
        b"model-versions/create",
        b"registered-models/alias",
    ],
)
def test_a_request_whose_answer_was_lost_is_not_made_twice(
    request_line: bytes, gate: Gate, client: Any, sweep: str, tmp_path: Path
) -> None:
    sink = MlflowSink(place(gate.port))
    gate.lose = request_line
    told = []
    for message in messages(sweep, tmp_path):
        try:
            sink.send(message)
        except TrackingServerError as error:
            told.append(str(error))
            sink.send(message)
    assert told == [f"tracking server http://127.0.0.1:{gate.port} does not answer"]
    assert gate.lost == 1
    assert_all_there(client, sweep)


def test_a_server_that_accepts_and_never_answers_holds_up_the_end_for_seconds(
    gate: Gate, sweep: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    gate.mute = True
    outbox = Listed(messages(sweep, tmp_path))
    mirror = Mirror(outbox, 1, lambda: MlflowSink(place(gate.port)))
    mirror.start()
    began = time.monotonic()
    assert not mirror.close(60, 2)
    assert time.monotonic() - began < 10
    assert mirror.error == f"TrackingServerError: tracking server http://127.0.0.1:{gate.port} does not answer"
    assert len(outbox.unsent(1)) == 4


class Record:
    def __init__(self, number: int, message: Message) -> None:
        self.id, self.kind, self.payload = number, message.kind, message.to_payload()


class Listed:
    """An outbox of these messages."""

    def __init__(self, messages: list[Message]) -> None:
        self._left = {number: Record(number, message) for number, message in enumerate(messages)}

    def unsent(self, sweep_id: int, limit: int = 50) -> list[Record]:  # noqa: ARG002  # as outboxes have it
        return list(self._left.values())[:limit]

    def mark_sent(self, ids: Any) -> None:
        for number in ids:
            del self._left[number]


def test_sweeps_of_the_same_name_from_two_stores_keep_apart(
    mlflow_server: MlflowServer, client: Any, sweep: str, tmp_path: Path
) -> None:
    ours, theirs = place(mlflow_server.port), place(mlflow_server.port, "another store")
    for where in (ours, theirs):
        sink = MlflowSink(where)
        for message in messages(sweep, tmp_path):
            sink.send(message)
    assert len(client.search_runs([client.get_experiment_by_name(sweep).experiment_id])) == 4
    assert len(client.search_model_versions(f"name = '{sweep}'")) == 2
    kept = sweep_runs(theirs, sweep)
    assert delete_sweep_runs(ours, sweep) == 2
    assert sweep_runs(ours, sweep) == []
    assert sweep_runs(theirs, sweep) == kept
    (version,) = client.search_model_versions(f"name = '{sweep}'")
    assert version.run_id in {run.run_id for run in kept}
    assert delete_sweep_runs(theirs, sweep) == 2
    assert client.search_registered_models(f"name = '{sweep}'") == []


def test_what_a_server_refuses_is_told_in_its_own_words(
    mlflow_server: MlflowServer, client: Any, sweep: str, tmp_path: Path
) -> None:
    sink = MlflowSink(place(mlflow_server.port))
    opened, trial, *_ = messages(sweep, tmp_path)
    sink.send(opened)
    sink.send(trial)
    assert isinstance(trial, MemberFinished)
    with pytest.raises(mlflow.MlflowException, match="Changing param values is not allowed"):
        sink.send(replace(trial, parameters={"noise": "gaussian"}))
    client.delete_experiment(client.get_experiment_by_name(sweep).experiment_id)
    with pytest.raises(CallerError, match="deleted in MLflow; restore it"):
        MlflowSink(place(mlflow_server.port)).send(opened)


def test_a_server_that_lets_us_in_tells_its_version(mlflow_server: MlflowServer) -> None:
    found = look_at(mlflow_server.url)
    assert found.version == found.client_version == mlflow.__version__
    assert found.experiments >= 1


@pytest.mark.slow
def test_a_login_comes_from_the_environment_and_a_refused_one_is_told_without_it(
    tmp_path: Path, sweep: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    password = "a password of this test"  # of a server that lives as long as the test
    server = MlflowServer(
        tmp_path,
        *("--app-name", "basic-auth"),
        MLFLOW_FLASK_SERVER_SECRET_KEY="a key of this test",
        MLFLOW_AUTH_ADMIN_PASSWORD=password,
    )
    server.start()
    try:
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)
        assert look_at(server.url).experiments == 1
        sink = MlflowSink(place(server.port))
        for message in messages(sweep, tmp_path):
            sink.send(message)
        assert_all_there(MlflowClient(server.url, registry_uri=server.url), sweep)
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "another one")
        refused: list[Callable[[], object]] = [
            partial(look_at, server.url),
            partial(sink.send, messages(sweep, tmp_path)[0]),
        ]
        for call in refused:
            with pytest.raises(TrackingServerError) as told:
                call()
            assert str(told.value) == (
                f"tracking server {server.url} refuses the login; "
                "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            )
    finally:
        server.kill()
