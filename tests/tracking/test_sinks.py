"""What every sink does: one contract, run over MLflow's SQLite backend and the in-memory twin."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from noise_search.errors import CallerError
from noise_search.tracking.memory import MemorySink
from noise_search.tracking.messages import (
    Artifact,
    FilesLogged,
    MemberFinished,
    MetricPoint,
    ModelRegistered,
    SweepClosed,
    SweepOpened,
)
from noise_search.tracking.mirror import Sink
from noise_search.tracking.mlflow_sink import MlflowSink
from noise_search.tracking.places import Place

pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy is deprecated:sqlalchemy.exc.SADeprecationWarning"
)

EXPERIMENT = "digits"
OPENED = SweepOpened("sweep a", EXPERIMENT, {"model": "mlp", "trials": "8"}, {"state": "open"}, started_ms=1_000)
POINTS = tuple(
    MetricPoint(key, value, epoch, 10_000 + epoch)
    for epoch in (1, 2, 3)
    for key, value in {"clean": 0.1 * epoch, "loss": 1.0 / epoch}.items()
)
FINISHED = MemberFinished(
    "sweep a", EXPERIMENT, "trial 3", {"noise": "mixup"}, {"reason": "rank"}, POINTS, "FINISHED", 2_000, 3_000
)
CLOSED = SweepClosed("sweep a", EXPERIMENT, "FINISHED", 9_000, (MetricPoint("best", 0.7, 0, 9_000),), {"n": "1"}, ())


@dataclass
class Seen:
    """A run as a reader finds it."""

    name: str
    parent: str | None
    status: str
    started_ms: int
    ended_ms: int | None
    parameters: dict[str, str]
    tags: dict[str, str]
    artifacts: dict[str, bytes]


Point = tuple[int, int, float]


class Kit(Protocol):
    sink: Sink

    def members(self) -> list[str]: ...

    def seen(self, name: str) -> Seen: ...

    def history(self, name: str, key: str) -> list[Point]: ...

    def models(self, name: str) -> dict[int, dict[str, str]]: ...


class MemoryKit:
    def __init__(self) -> None:
        self.memory = MemorySink()
        self.sink: Sink = self.memory

    def members(self) -> list[str]:
        return sorted(run.name for run in self.memory.runs.values())

    def seen(self, name: str) -> Seen:
        run = self._run(name)
        times = (run.started_ms, run.ended_ms)
        return Seen(name, run.parent, run.status, *times, run.parameters, run.tags, run.artifacts)

    def history(self, name: str, key: str) -> list[Point]:
        return [(p.step, p.timestamp_ms, p.value) for p in self._run(name).history(key)]

    def models(self, name: str) -> dict[int, dict[str, str]]:
        return self.memory.models.get(name, {})

    def _run(self, name: str) -> Any:
        return next(run for run in self.memory.runs.values() if run.name == name)


class MlflowKit:
    def __init__(self, url: str, folder: Path) -> None:
        self.client: Any = MlflowClient(url, registry_uri=url)
        self.sink: Sink = MlflowSink(Place(url, folder, ""))

    def members(self) -> list[str]:
        return sorted(run.info.run_name for run in self._runs())

    def seen(self, name: str) -> Seen:
        run = self._run(name)
        names = {other.info.run_id: other.info.run_name for other in self._runs()}
        hidden = ("mlflow.", "noise_search.sweep", "noise_search.member")
        tags = {key: value for key, value in run.data.tags.items() if not key.startswith(hidden)}
        parent = names.get(run.data.tags.get("mlflow.parentRunId"))
        times = (run.info.start_time, run.info.end_time)
        files = self._artifacts(run.info.run_id, "")
        return Seen(name, parent, run.info.status, *times, run.data.params, tags, files)

    def history(self, name: str, key: str) -> list[Point]:
        metrics = self.client.get_metric_history(self._run(name).info.run_id, key)
        return sorted((metric.step, metric.timestamp, metric.value) for metric in metrics)

    def models(self, name: str) -> dict[int, dict[str, str]]:
        found = {}
        for one in self.client.search_model_versions(f"name = '{name}'"):
            tags = dict(one.tags)
            found[int(tags.pop("noise_search.card_version"))] = tags
        return found

    def _runs(self) -> list[Any]:
        experiment = self.client.get_experiment_by_name(EXPERIMENT)
        return list(self.client.search_runs([experiment.experiment_id]))

    def _run(self, name: str) -> Any:
        return next(run for run in self._runs() if run.info.run_name == name)

    def _artifacts(self, run_id: str, folder: str) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for item in self.client.list_artifacts(run_id, folder or None):
            if item.is_dir:
                found |= self._artifacts(run_id, item.path)
            else:
                root = self.client.get_run(run_id).info.artifact_uri.removeprefix("file://")
                found[item.path] = (Path(root) / item.path).read_bytes()
        return found


@pytest.fixture(params=["memory", "mlflow"])
def kit(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Kit]:
    made: Kit = MemoryKit()
    if request.param == "mlflow":
        made = MlflowKit(request.getfixturevalue("mlflow_url"), tmp_path / "artifacts")
    yield made
    made.sink.close()


def test_an_opened_sweep_is_a_running_run_with_its_parameters_and_tags(kit: Kit) -> None:
    kit.sink.send(OPENED)
    assert kit.seen("sweep a") == Seen(
        "sweep a", None, "RUNNING", 1_000, None, {"model": "mlp", "trials": "8"}, {"state": "open"}, {}
    )


def test_a_member_is_a_finished_run_under_its_sweep_with_the_given_times(kit: Kit) -> None:
    kit.sink.send(OPENED)
    kit.sink.send(FINISHED)
    assert kit.seen("trial 3") == Seen(
        "trial 3", "sweep a", "FINISHED", 2_000, 3_000, {"noise": "mixup"}, {"reason": "rank"}, {}
    )


def test_a_metric_has_one_point_for_each_epoch(kit: Kit) -> None:
    kit.sink.send(OPENED)
    kit.sink.send(FINISHED)
    assert kit.history("trial 3", "loss") == [(1, 10_001, 1.0), (2, 10_002, 1 / 2), (3, 10_003, 1 / 3)]


def test_every_message_sent_twice_leaves_what_it_left_once(kit: Kit, tmp_path: Path) -> None:
    card = tmp_path / "card.yaml"
    card.write_text("version: 1")
    for message in (OPENED, FINISHED, replace(CLOSED, artifacts=(Artifact(str(card), "card"),))):
        kit.sink.send(message)
        once = [kit.seen(name) for name in kit.members()]
        kit.sink.send(message)
        assert [kit.seen(name) for name in kit.members()] == once
    assert kit.members() == ["sweep a", "trial 3"]
    assert len(kit.history("trial 3", "clean")) == 3
    assert kit.history("sweep a", "best") == [(0, 9_000, 0.7)]


def test_a_value_that_is_not_a_number_is_kept_and_not_doubled_by_a_resend(kit: Kit) -> None:
    diverged = replace(FINISHED, metrics=(MetricPoint("loss", math.nan, 4, 10_004),), status="FAILED")
    kit.sink.send(diverged)
    kit.sink.send(replace(diverged, metrics=(MetricPoint("loss", float("nan"), 4, 10_004),)))
    [(step, timestamp_ms, value)] = kit.history("trial 3", "loss")
    assert (step, timestamp_ms) == (4, 10_004)
    assert math.isnan(value)


def test_closing_a_sweep_ends_its_run_with_metrics_and_files(kit: Kit, tmp_path: Path) -> None:
    (tmp_path / "front.html").write_text("<p>")
    (tmp_path / "card.yaml").write_text("version: 1")
    files = (Artifact(str(tmp_path / "front.html"), ""), Artifact(str(tmp_path / "card.yaml"), "cards/best"))
    kit.sink.send(OPENED)
    kit.sink.send(replace(CLOSED, artifacts=files))
    seen = kit.seen("sweep a")
    assert (seen.status, seen.started_ms, seen.ended_ms) == ("FINISHED", 1_000, 9_000)
    assert seen.artifacts == {"front.html": b"<p>", "cards/best/card.yaml": b"version: 1"}
    assert seen.tags == {"state": "open", "n": "1"}
    assert kit.history("sweep a", "best") == [(0, 9_000, 0.7)]


def test_a_newer_file_of_the_same_name_replaces_the_older(kit: Kit, tmp_path: Path) -> None:
    card = tmp_path / "card.yaml"
    for text in ("old", "new"):
        card.write_text(text)
        kit.sink.send(replace(CLOSED, artifacts=(Artifact(str(card), ""),)))
    assert kit.seen("sweep a").artifacts == {"card.yaml": b"new"}


def test_files_are_added_to_a_run_over_those_of_the_same_name_and_change_nothing_else(kit: Kit, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    logged = FilesLogged("sweep a", EXPERIMENT, (Artifact(str(page), "report"),), "0", started_ms=500)
    for message in (OPENED, CLOSED):
        kit.sink.send(message)
    before = kit.seen("sweep a")
    for text in ("old", "new", "new"):
        page.write_text(text)
        kit.sink.send(logged)
        assert kit.seen("sweep a") == replace(before, artifacts={"report/report.html": text.encode()})


def test_files_of_a_sweep_without_a_run_give_it_one(kit: Kit, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("page")
    kit.sink.send(
        FilesLogged("sweep a", EXPERIMENT, (Artifact(str(tmp_path / "report.html"), ""),), "0", started_ms=500)
    )
    assert (kit.seen("sweep a").started_ms, kit.seen("sweep a").status) == (500, "RUNNING")


def test_a_missing_file_is_an_error_that_does_not_leave_the_run_open(kit: Kit, tmp_path: Path) -> None:
    kit.sink.send(OPENED)
    with pytest.raises(OSError, match=r"gone\.yaml"):
        kit.sink.send(replace(CLOSED, artifacts=(Artifact(str(tmp_path / "gone.yaml"), ""),)))
    assert kit.seen("sweep a").status == "FINISHED"


def test_opening_a_closed_sweep_sets_it_running_and_keeps_its_start(kit: Kit) -> None:
    kit.sink.send(OPENED)
    kit.sink.send(CLOSED)
    kit.sink.send(replace(OPENED, started_ms=20_000, tags={"state": "continued"}))
    seen = kit.seen("sweep a")
    assert (seen.status, seen.started_ms) == ("RUNNING", 1_000)
    assert seen.tags["state"] == "continued"


def test_a_parameter_changed_by_continuing_keeps_its_first_value_and_gets_a_tag(kit: Kit) -> None:
    kit.sink.send(OPENED)
    kit.sink.send(replace(OPENED, parameters={"model": "mlp", "trials": "16", "device": "cpu"}))
    seen = kit.seen("sweep a")
    assert seen.parameters == {"model": "mlp", "trials": "8", "device": "cpu"}
    assert seen.tags == {"state": "open", "noise_search.changed.trials": "16"}


def test_a_member_that_comes_again_with_another_policy_is_refused(kit: Kit) -> None:
    kit.sink.send(FINISHED)
    with pytest.raises((CallerError, MlflowException), match="gaussian"):
        kit.sink.send(replace(FINISHED, parameters={"noise": "gaussian"}))


def test_members_of_two_sweeps_share_a_name_without_meeting(kit: Kit) -> None:
    kit.sink.send(FINISHED)
    kit.sink.send(replace(FINISHED, sweep="sweep b"))
    assert kit.members() == ["sweep a", "sweep b", "trial 3", "trial 3"]


def test_a_member_without_an_opened_sweep_gets_a_run_to_lie_under(kit: Kit) -> None:
    kit.sink.send(FINISHED)
    assert kit.seen("trial 3").parent == "sweep a"
    assert (kit.seen("sweep a").status, kit.seen("sweep a").started_ms) == ("RUNNING", 2_000)


@pytest.mark.parametrize("status", ["FAILED", "KILLED"])
def test_how_a_member_ended_is_how_its_run_ended(kit: Kit, status: Any) -> None:
    kit.sink.send(replace(FINISHED, status=status))
    assert kit.seen("trial 3").status == status


@pytest.mark.parametrize("name", ["it's", 'say "x"', "both ' and \"", "back`tick", "a\\", "100%_", "x' OR '1'='1"])
def test_a_name_with_quotes_and_wildcards_finds_its_own_run_only(kit: Kit, name: str) -> None:
    for sweep in (name, "100xy", "xxx", name.replace("'", "x").replace('"', "x")):
        kit.sink.send(replace(OPENED, sweep=sweep))
        kit.sink.close()
        kit.sink.send(replace(OPENED, sweep=sweep, tags={"of": sweep}))
    assert kit.seen(name).tags["of"] == name
    assert len(kit.members()) == len(set(kit.members()))


def registered(folder: Path, version: int = 1, text: str = "version: 1") -> ModelRegistered:
    """Two files of a version, lying in `folder`."""
    own = folder / str(version)
    own.mkdir(exist_ok=True)
    (own / "card.yaml").write_text(text)
    (own / "model.safetensors").write_bytes(bytes([version]))
    files = tuple(Artifact(str(own / name), f"cards/{version}") for name in ("model.safetensors", "card.yaml"))
    return ModelRegistered("sweep a", EXPERIMENT, "trial 3", "sweep-a", version, {"rule": "knee"}, 9_500, files)


def test_a_registered_model_is_a_version_with_its_files_under_the_trials_run(kit: Kit, tmp_path: Path) -> None:
    for message in (OPENED, FINISHED, registered(tmp_path)):
        kit.sink.send(message)
    assert kit.models("sweep-a") == {1: {"rule": "knee"}}
    seen = kit.seen("trial 3")
    assert seen.artifacts == {"cards/1/card.yaml": b"version: 1", "cards/1/model.safetensors": b"\x01"}
    assert (seen.status, seen.ended_ms, seen.parameters) == ("FINISHED", 3_000, {"noise": "mixup"})
    assert kit.members() == ["sweep a", "trial 3"]


def test_versions_of_a_model_that_come_again_are_not_doubled(kit: Kit, tmp_path: Path) -> None:
    kit.sink.send(FINISHED)
    for version in (1, 2, 1, 2):
        kit.sink.send(registered(tmp_path, version))
        kit.sink.close()
    assert kit.models("sweep-a") == {1: {"rule": "knee"}, 2: {"rule": "knee"}}
    assert len(kit.seen("trial 3").artifacts) == 4
