from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from noise_search.errors import CallerError
from noise_search.tracking import runs
from noise_search.tracking.messages import (
    Artifact,
    MemberFinished,
    MetricPoint,
    ModelRegistered,
    SweepClosed,
    SweepOpened,
)
from noise_search.tracking.mlflow_sink import MlflowSink, create_schema
from noise_search.tracking.places import Place
from noise_search.tracking.runs import delete_sweep_runs, sweep_runs

pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy is deprecated:sqlalchemy.exc.SADeprecationWarning"
)

OPENED = SweepOpened("sweep a", "digits", {"model": "mlp"}, {}, started_ms=1_000)
FINISHED = MemberFinished(
    "sweep a",
    "digits",
    "control no_noise",
    {"noise": "none"},
    {},
    tuple(MetricPoint("clean", 0.5, epoch, 2_000 + epoch) for epoch in range(4)),
    "FINISHED",
    2_000,
    3_000,
)


@pytest.fixture
def client(mlflow_url: str) -> Any:
    return MlflowClient(mlflow_url, registry_uri=mlflow_url)


@pytest.fixture
def place(mlflow_url: str, tmp_path: Path) -> Place:
    return Place(mlflow_url, tmp_path / "artifacts", "")


@pytest.fixture
def sink(place: Place) -> MlflowSink:
    return MlflowSink(place)


def _runs(client: Any, experiment: str = "digits") -> dict[str, Any]:
    found = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    assert len({run.info.run_name for run in found}) == len(found)
    return {run.info.run_name: run for run in found}


def test_mlflow_reads_a_member_as_a_child_of_the_sweep(sink: MlflowSink, client: Any) -> None:
    sink.send(OPENED)
    sink.send(FINISHED)
    runs = _runs(client)
    parent, child = runs["sweep a"], runs["control no_noise"]
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    children = client.search_runs([parent.info.experiment_id], f"tags.mlflow.parentRunId = '{parent.info.run_id}'")
    assert [run.info.run_name for run in children] == ["control no_noise"]


def test_runs_carry_the_tags_they_are_found_by(sink: MlflowSink, client: Any) -> None:
    sink.send(FINISHED)
    runs = _runs(client)
    assert runs["sweep a"].data.tags["noise_search.sweep"] == "sweep a"
    assert "noise_search.member" not in runs["sweep a"].data.tags
    assert runs["control no_noise"].data.tags["noise_search.member"] == "control no_noise"


def test_an_experiment_keeps_its_files_in_the_given_folder(sink: MlflowSink, client: Any, tmp_path: Path) -> None:
    sink.send(OPENED)
    assert client.get_experiment_by_name("digits").artifact_location == (tmp_path / "artifacts").as_uri()


def test_a_new_sink_continues_the_runs_of_an_older_one(sink: MlflowSink, client: Any, place: Place) -> None:
    sink.send(OPENED)
    sink.send(FINISHED)
    MlflowSink(place).send(FINISHED)
    assert set(_runs(client)) == {"sweep a", "control no_noise"}


def test_runs_are_found_again_also_where_mlflow_gives_them_in_several_pages(
    sink: MlflowSink, client: Any, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "PAGE", 2)
    members = [replace(FINISHED, member=f"trial {number}") for number in range(5)]
    messages: list[SweepOpened | MemberFinished] = [OPENED, *members]
    for message in messages:
        sink.send(message)
    before = {name: run.info.run_id for name, run in _runs(client).items()}
    again = MlflowSink(place)
    for member in members:
        again.send(member)
    assert {name: run.info.run_id for name, run in _runs(client).items()} == before


def test_a_run_created_before_a_kill_is_completed_by_the_resend(sink: MlflowSink, client: Any) -> None:
    sink.send(OPENED)
    experiment_id = client.get_experiment_by_name("digits").experiment_id
    # The one call after which a kill leaves a run behind, made as the sink makes it.
    run_id = sink._create(experiment_id, FINISHED, "control no_noise", 2_000)
    sink.close()
    sink.send(FINISHED)
    run = _runs(client)["control no_noise"]
    assert run.info.run_id == run_id
    assert (run.info.status, run.data.params) == ("FINISHED", {"noise": "none"})


def test_a_run_half_filled_before_a_kill_is_completed_by_the_resend(sink: MlflowSink, client: Any) -> None:
    run_id = sink._run(FINISHED, "control no_noise", 2_000)
    sink._log(run_id, FINISHED.parameters, {}, FINISHED.metrics[:2])
    sink.close()
    sink.send(FINISHED)
    assert [point.step for point in client.get_metric_history(run_id, "clean")] == [0, 1, 2, 3]
    assert client.get_run(run_id).info.status == "FINISHED"


def test_more_entries_than_one_batch_takes_all_arrive(sink: MlflowSink, client: Any) -> None:
    points = tuple(MetricPoint(f"m{i}", float(i), epoch, 5_000) for i in range(50) for epoch in range(41))
    parameters = {f"p{i}": str(i) for i in range(250)}
    tags = {f"t{i}": str(i) for i in range(150)}
    sink.send(replace(FINISHED, metrics=points, parameters=parameters, tags=tags))
    run = _runs(client)["control no_noise"]
    assert run.data.params == parameters
    assert tags.items() <= run.data.tags.items()
    assert run.data.metrics == {f"m{i}": float(i) for i in range(50)}
    assert len(client.get_metric_history(run.info.run_id, "m49")) == 41


def test_an_infinite_value_is_named_in_a_tag_because_mlflow_has_no_infinity(sink: MlflowSink, client: Any) -> None:
    points = (MetricPoint("loss", float("inf"), 1, 5_000), MetricPoint("nll", float("-inf"), 1, 5_000))
    for _ in range(2):
        sink.send(replace(FINISHED, metrics=points))
    run = _runs(client)["control no_noise"]
    assert run.data.tags["noise_search.infinite_metrics"] == "loss, nll"
    assert run.data.metrics == {"loss": sys.float_info.max, "nll": -sys.float_info.max}
    assert len(client.get_metric_history(run.info.run_id, "loss")) == 1


def test_many_infinite_metrics_are_counted_past_the_first_twenty(sink: MlflowSink, client: Any) -> None:
    sink.send(replace(FINISHED, metrics=tuple(MetricPoint(f"m{i:02}", float("inf"), 1, 5) for i in range(25))))
    tag = _runs(client)["control no_noise"].data.tags["noise_search.infinite_metrics"]
    assert tag.endswith("m19, and 5 more")


def test_a_deleted_experiment_is_an_error_that_says_how_to_restore_it(sink: MlflowSink, client: Any) -> None:
    sink.send(OPENED)
    experiment_id = client.get_experiment_by_name("digits").experiment_id
    client.delete_experiment(experiment_id)
    with pytest.raises(MlflowException):
        sink.send(FINISHED)
    with pytest.raises(CallerError, match=f"'digits'.*deleted.*restore --experiment-id {experiment_id}"):
        sink.send(FINISHED)
    client.restore_experiment(experiment_id)
    sink.send(FINISHED)
    assert set(_runs(client)) == {"sweep a", "control no_noise"}


def test_a_run_deleted_in_mlflow_is_made_anew(sink: MlflowSink, client: Any) -> None:
    sink.send(FINISHED)
    deleted = _runs(client)["control no_noise"].info.run_id
    client.delete_run(deleted)
    with pytest.raises(MlflowException, match="active"):
        sink.send(FINISHED)
    sink.send(FINISHED)
    assert _runs(client)["control no_noise"].info.run_id != deleted


def test_the_same_sweep_mirrored_under_another_experiment_gets_its_own_runs(sink: MlflowSink, client: Any) -> None:
    sink.send(OPENED)
    sink.send(SweepClosed("sweep a", "moved", "KILLED", 9_000, (), {}, ()))
    assert _runs(client)["sweep a"].info.status == "RUNNING"
    assert _runs(client, "moved")["sweep a"].info.status == "KILLED"


def test_the_schema_is_made_in_a_new_folder_with_a_write_ahead_log(tmp_path: Path) -> None:
    path = tmp_path / "a b" / "mlflow.db"
    for _ in range(2):
        create_schema(f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("SELECT count(*) FROM alembic_version").fetchone() == (1,)
    assert {file.name for file in path.parent.iterdir()} <= {"mlflow.db", "mlflow.db-wal", "mlflow.db-shm"}


def test_a_schema_that_another_process_finished_first_is_left_alone(
    mlflow_url: str, sink: MlflowSink, client: Any, tmp_path: Path
) -> None:
    from noise_search.tracking.mlflow_sink import _move_unless_there

    sink.send(OPENED)
    (tmp_path / "late").write_bytes(b"another")
    _move_unless_there(tmp_path / "late", tmp_path / "mlflow.db")
    create_schema(mlflow_url)
    assert set(_runs(client)) == {"sweep a"}


def test_the_first_use_prints_nothing_reports_nothing_and_leaves_nothing_in_the_working_folder(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "cwd"
    folder.mkdir()
    code = f"""
import os, sys
from noise_search.tracking import mlflow_sink
assert "mlflow" not in sys.modules
mlflow_sink.create_schema("sqlite:///{tmp_path}/m.db")
from mlflow.telemetry.client import get_telemetry_client
assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true" and get_telemetry_client() is None
"""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("url", ["mlruns", "file:///tmp/mlruns", "ftp://host:5000", "sqlite://", "sqlite:///:memory:"])
def test_a_place_that_is_no_database_file_or_server_is_refused(url: str) -> None:
    with pytest.raises(CallerError, match="tracking: expected"):
        create_schema(url)


def test_every_run_of_a_sweep_is_deleted_in_whatever_experiment_and_no_other(
    sink: MlflowSink, client: Any, place: Place
) -> None:
    other = replace(FINISHED, sweep="sweep b")
    for message in (OPENED, FINISHED, replace(FINISHED, member="trial 1", experiment="elsewhere"), other):
        sink.send(message)
    assert {run.member for run in sweep_runs(place, "sweep a")} == {
        None,
        "control no_noise",
        "trial 1",
    }
    assert delete_sweep_runs(place, "sweep a") == 4  # its own run is in both experiments
    assert set(_runs(client)) == {"sweep b", "control no_noise"}
    assert _runs(client, "elsewhere") == {}
    assert delete_sweep_runs(place, "sweep a") == 0


def test_a_sweep_whose_runs_were_deleted_starts_anew(sink: MlflowSink, client: Any, place: Place) -> None:
    sink.send(FINISHED)
    before = {run.info.run_id for run in _runs(client).values()}
    delete_sweep_runs(place, "sweep a")
    MlflowSink(place).send(FINISHED)
    after = _runs(client)
    assert set(after) == {"sweep a", "control no_noise"}
    assert before.isdisjoint(run.info.run_id for run in after.values())


def _registered(folder: Path, version: int) -> ModelRegistered:
    (folder / "card.yaml").write_text(f"version: {version}")
    files = (Artifact(str(folder / "card.yaml"), f"cards/{version}"),)
    return ModelRegistered("sweep a", "digits", "control no_noise", "sweep-a", version, {"rule": "best"}, 4_000, files)


def test_the_newest_version_of_a_model_is_called_tuned_also_when_an_older_one_comes_again(
    sink: MlflowSink, client: Any, tmp_path: Path
) -> None:
    sink.send(FINISHED)
    for version in (1, 2, 1):
        sink.send(_registered(tmp_path, version))
    tuned = client.get_model_version_by_alias("sweep-a", "tuned")
    assert (tuned.tags["noise_search.card_version"], tuned.tags["rule"]) == ("2", "best")
    run = _runs(client)["control no_noise"]
    assert (tuned.run_id, tuned.source) == (run.info.run_id, f"{run.info.artifact_uri}/cards/2")
    assert (Path(tuned.source.removeprefix("file://")) / "card.yaml").read_text() == "version: 2"


@pytest.mark.parametrize("call", ["log_artifact", "create_registered_model", "create_model_version"])
def test_a_registration_that_was_cut_short_anywhere_is_completed_by_a_resend(
    call: str, sink: MlflowSink, client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink.send(FINISHED)
    original = getattr(sink._client, call)

    def die(*arguments: Any, **options: Any) -> None:
        original(*arguments, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(sink._client, call, die)
        with pytest.raises(KeyboardInterrupt):
            sink.send(_registered(tmp_path, 1))
    sink.send(_registered(tmp_path, 1))
    assert client.get_model_version_by_alias("sweep-a", "tuned").version in (1, "1")
    assert len(client.search_model_versions("name = 'sweep-a'")) == 1


def test_models_of_a_sweep_go_with_its_runs_and_those_of_others_stay(
    sink: MlflowSink, client: Any, tmp_path: Path, place: Place
) -> None:
    sink.send(FINISHED)
    sink.send(_registered(tmp_path, 1))
    sink.send(replace(_registered(tmp_path, 1), sweep="sweep b", model="sweep-b"))
    client.create_registered_model("sweep-a of somebody else")
    delete_sweep_runs(place, "sweep a")
    names = {model.name for model in client.search_registered_models()}
    assert names == {"sweep-b", "sweep-a of somebody else"}
