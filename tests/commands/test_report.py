"""The page of a sweep: where it is written, and what MLflow has of it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from confirm_examples import FEW, confirmed_store
from mlflow import MlflowClient
from sweep_examples import NAME, Quitter, contents, drive, finished_store, put_tracking_database

import noise_search
from noise_search.commands import confirm, report, status
from noise_search.errors import CallerError
from noise_search.search import sending
from noise_search.search.mirroring import files_entry
from noise_search.store import locate, open_store


def test_the_page_is_written_and_nothing_else_changes(tmp_path: Path) -> None:
    folder, outcome = confirmed_store()
    before = contents(folder)
    written = report(NAME, output=tmp_path / "page.html", store=folder)
    assert (written.path, written.mlflow) == (tmp_path / "page.html", "off")
    assert written.numbers["confirmation"] == outcome.number
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    assert contents(folder) == before


def test_the_package_has_it_under_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert noise_search.report(NAME, store=finished_store()).path == Path(f"{NAME}.html")
    assert [path.name for path in tmp_path.iterdir()] == [f"{NAME}.html"]


def test_a_sweep_leaves_the_page_that_is_written_when_one_is_asked_for(tmp_path: Path) -> None:
    report(NAME, output=tmp_path / "page.html", store=finished_store())
    own = finished_store() / "sweeps" / NAME / "report" / "report.html"
    assert (tmp_path / "page.html").read_bytes() == own.read_bytes()


class Impatient(Quitter):
    """Reporter that interrupts, as Ctrl-C would, before anything is trained."""

    def begin(self, total: int, done: int) -> None:  # noqa: ARG002  # as reporters have it
        raise KeyboardInterrupt


@pytest.mark.parametrize(("reporter", "ended"), [(None, "out_of_time"), (Impatient(), "interrupted")])
def test_a_sweep_whose_time_is_used_up_leaves_the_page_that_is_written_when_one_is_asked_for_whatever_ended_it(
    reporter: Quitter | None, ended: str, tmp_path: Path
) -> None:
    few = ("budget.trials=2", "controls.constants=0", "controls.random=0")
    drive(tmp_path / "store", *few)
    more = (*few[1:], "budget.trials=3", "budget.minutes=1e-9")
    assert drive(tmp_path / "store", *more, reporter=reporter).state == ended
    assert status(NAME, store=tmp_path / "store")["state"] == "out_of_time"
    written = report(NAME, output=tmp_path / "page.html", store=tmp_path / "store")
    own = tmp_path / "store" / "sweeps" / NAME / "report" / "report.html"
    assert written.numbers["state"] == "out_of_time"
    assert written.path.read_bytes() == own.read_bytes()


def test_mistakes_are_told_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(CallerError, match="expected the folder"):
        report(NAME, output=tmp_path / "missing" / "page.html", store=finished_store())
    with pytest.raises(CallerError, match="expected the name of a file, got a folder"):
        report(NAME, output=tmp_path, store=finished_store())
    with pytest.raises(CallerError, match="did you mean 'tiny'"):
        report("tinny", output=tmp_path / "page.html", store=finished_store())
    assert list(tmp_path.iterdir()) == []


def test_of_a_running_sweep_there_is_a_page_that_says_so(tmp_path: Path) -> None:
    shutil.copytree(finished_store(), tmp_path / "store")
    with open_store(locate(tmp_path / "store"), create=False) as store:
        sweep = store.sweep(NAME)
        with store.take_lease(sweep.id) as writer:
            writer.update_sweep(state="running")
            written = report(NAME, output=tmp_path / "page.html", store=tmp_path / "store")
    assert written.numbers["state"] == "running"
    assert "The sweep is running" in written.path.read_text(encoding="utf-8")


def test_a_sweep_without_a_complete_trial_has_a_page(tmp_path: Path) -> None:
    drive(tmp_path / "store", "budget.minutes=1e-9")
    written = report(NAME, output=tmp_path / "page.html", store=tmp_path / "store")
    assert written.numbers["picks"] == {}
    assert "There is no front yet" in written.path.read_text(encoding="utf-8")


def test_files_are_sent_again_when_they_say_something_else(tmp_path: Path) -> None:
    shutil.copytree(finished_store(), tmp_path / "store")
    file = tmp_path / "report.html"
    with open_store(locate(tmp_path / "store"), create=False) as store:
        sweep = store.sweep(NAME)
        with store.take_lease(sweep.id) as writer:
            for text, sent in (("one", True), ("one", False), ("two", True)):
                file.write_text(text)
                writer.enqueue([files_entry(sweep, "report", [file])])
                waiting = store.unsent(sweep.id)
                assert [record.key for record in waiting] == (["report"] if sent else [])
                store.mark_sent([record.id for record in waiting])


def tracked_without_a_mirror(folder: Path) -> Path:
    """Store with the tiny sweep, as if tracked, whose MLflow database is no database."""
    shutil.copytree(finished_store(), folder)
    with open_store(locate(folder), create=False) as store:
        sweep = store.sweep(NAME)
        with store.take_lease(sweep.id) as writer:
            tracking = {**sweep.config["tracking"], "enabled": True}  # type: ignore[dict-item]
            writer.update_sweep(config={**sweep.config, "tracking": tracking})
    locate(folder).tracking_path.write_bytes(b"no database")
    return folder


def test_where_mlflow_does_not_take_the_page_it_is_said_to_be_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tracked_without_a_mirror(tmp_path / "store")
    monkeypatch.setattr(sending, "FAILING_MIRROR_SECONDS", 1.0)
    written = report(NAME, output=tmp_path / "page.html", store=folder)
    assert written.mlflow == "behind"
    with open_store(locate(folder), create=False) as store:
        assert [one.key for one in store.unsent(store.sweep(NAME).id)] == ["report"]


def test_while_somebody_drives_the_sweep_its_page_is_written_and_mlflow_not_told(tmp_path: Path) -> None:
    folder = tracked_without_a_mirror(tmp_path / "store")
    with open_store(locate(folder), create=False) as store:
        sweep = store.sweep(NAME)
        with store.take_lease(sweep.id):
            assert report(NAME, output=tmp_path / "page.html", store=folder).mlflow == "busy"
        assert store.unsent(sweep.id) == []


@pytest.mark.slow
def test_mlflow_has_the_page_and_its_figures_and_those_of_the_latest_page_only(tmp_path: Path) -> None:
    put_tracking_database(tmp_path)
    drive(tmp_path, "tracking.enabled=true")
    url = locate(tmp_path).tracking_url
    client: Any = MlflowClient(url, registry_uri=url)

    def logged() -> dict[str, bytes]:
        experiment = client.get_experiment_by_name("noise_search")
        (run,) = client.search_runs([experiment.experiment_id], f"tags.`mlflow.runName` = '{NAME}'")
        folder = Path(run.info.artifact_uri.removeprefix("file://")) / "report"
        assert run.info.status == "FINISHED"
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    closed = logged()
    assert "front.json" in closed
    assert "arms.json" not in closed
    written = report(NAME, output=tmp_path / "page.html", store=tmp_path)
    assert written.mlflow == "sent"
    assert logged() == closed
    confirm(NAME, store=tmp_path, **FEW)
    assert logged() == closed
    report(NAME, output=tmp_path / "page.html", store=tmp_path)
    after = logged()
    assert after["report.html"] == (tmp_path / "page.html").read_bytes() != closed["report.html"]
    assert {"arms.json", "families.json", "gains-confirmed.json"} <= after.keys()
