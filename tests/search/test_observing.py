"""What operators see of real sweeps: the log and the metrics, against what the store has."""

from __future__ import annotations

import json
import logging
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sweep_examples import (
    CONTROLS,
    NAME,
    TINY,
    Quitter,
    die_after,
    drive,
    findings,
    finished_store,
    put_tracking_database,
    spec,
)

from noise_search.commands import front, run_sweep, status
from noise_search.config import build, compose
from noise_search.errors import CallerError
from noise_search.execute import InlineExecutor
from noise_search.search.driver import StopRequested
from noise_search.search.hypervolume import front_hypervolume
from noise_search.store import LeaseLost, MemberRecord, Writer, locate, open_store
from noise_search.training import Job, Result

HALVING = ("stopping=pareto_halving", "train.epochs=4")


def lines(folder: Path) -> list[dict[str, Any]]:
    """Lines of the log of the tiny sweep, every one of them whole."""
    text = (folder / "sweeps" / NAME / "log.jsonl").read_text(encoding="utf-8")
    assert text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def events(folder: Path, event: str) -> list[dict[str, Any]]:
    return [line for line in lines(folder) if line["event"] == event]


def metrics(folder: Path) -> dict[tuple[str, str], float]:
    """Numbers of the metrics file of the tiny sweep, by name and state."""
    text = (folder / "sweeps" / NAME / "metrics.prom").read_text(encoding="utf-8")
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    assert {sample.labels["sweep"] for sample in samples} == {NAME}
    return {(one.name.removeprefix("noise_search_"), one.labels.get("state", "")): one.value for one in samples}


def members(folder: Path) -> list[MemberRecord]:
    with open_store(locate(folder), create=False) as store:
        return store.members(store.sweep(NAME).id)


def assert_as_the_store_has_it(folder: Path) -> None:
    """The metrics at the end of a run are what the store says, by queries of its own."""
    found, one, rows = metrics(folder), status(NAME, store=folder), front(NAME, store=folder)
    with open_store(locate(folder), create=False) as store:
        sweep = store.sweep(NAME)
        jobs = Counter(job.state for job in store.jobs(sweep.id))
    for kind in ("trials", "controls"):
        assert {state: count for (name, state), count in found.items() if name == kind} == one[kind]
    assert {state: n for (name, state), n in found.items() if name == "jobs_total" and n} == jobs
    ended = sum(one["trials"][state] for state in ("complete", "stopped", "infeasible", "failed"))
    points = [(row.clean, row.robust) for row in rows if row.on_front]
    control = next(row for row in rows if row.control == "no_noise")
    assert {name: found[name, ""] for name in ("running", "jobs_under_way", "mirror_unsent_messages")} == {
        "running": 0,
        "jobs_under_way": 0,
        "mirror_unsent_messages": 0,
    }
    assert found["budget_trials", ""] == one["budget"]["trials"]
    assert found["trials_ended_total", ""] == ended
    assert found["epochs_trained_total", ""] == one["epochs_trained"]
    assert found["samples_scored_total", ""] == one["samples_scored"]
    assert found["job_seconds_total", ""] == pytest.approx(sweep.seconds, abs=1e-6)
    assert found["best_score", ""] == one["best"]["score"]
    assert found["front_trials", ""] == len(points)
    expected = front_hypervolume(points, (control.clean, control.robust))
    assert found["front_hypervolume", ""] == pytest.approx(expected, abs=1e-12)


@pytest.fixture(scope="module")
def halved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Store with a sweep of which most trials are stopped; to be read only."""
    folder = tmp_path_factory.mktemp("halved")
    assert drive(folder, *HALVING).state == "complete"
    return folder


def test_at_the_end_the_metrics_are_those_of_the_store(halved: Path) -> None:
    assert_as_the_store_has_it(finished_store())
    assert_as_the_store_has_it(halved)


def test_a_sweep_is_told_from_its_lease_to_its_end(halved: Path) -> None:
    told = lines(halved)
    assert [line["event"] for line in told[:2]] == ["lease_taken", "sweep_started"]
    assert (told[-1]["event"], told[-1]["state"]) == ("sweep_finished", "complete")
    assert told[-1]["trials"] == status(NAME, store=halved)["trials"]
    assert {line["sweep"] for line in told} == {NAME}
    assert {line["level"] for line in told} == {"info"}
    assert [line["time"] for line in told] == sorted(line["time"] for line in told)


def test_every_trial_is_told_from_its_asking_to_its_end_with_the_reason(halved: Path) -> None:
    for member in members(halved):
        own = [line for line in lines(halved) if line.get("trial") == member.number is not None]
        if member.number is None:
            own = [line for line in lines(halved) if line.get("control") == member.control]
        else:
            assert own[0]["event"] == "trial_asked"
            assert own[0]["parameters"] == member.parameters
        assert own[-1]["event"] in ("trial_ended", "control_ended")
        assert (own[-1]["state"], own[-1].get("reason")) == (member.state, member.reason)


def test_the_scores_at_rungs_are_those_of_the_store(halved: Path) -> None:
    with open_store(locate(halved), create=False) as store:
        sweep_id = store.sweep(NAME).id
        stored = {(found.member_id, found.epoch): found.scores for found in store.rung_scores(sweep_id)}
    ids = {member.number if member.control is None else member.control: member.id for member in members(halved)}
    told = {
        (ids[line.get("trial", line.get("control"))], line["rung"]): line for line in events(halved, "rung_reached")
    }
    assert told.keys() == stored.keys()
    for key, scores in stored.items():
        assert {name: told[key][name] for name in ("clean", "robust", "score")} == pytest.approx(
            {name: scores[name] for name in ("clean", "robust", "score")}, abs=1e-6
        )


def test_every_job_is_told_twice_who_was_in_it_and_who_trained_it(halved: Path) -> None:
    with open_store(locate(halved), create=False) as store:
        jobs = store.jobs(store.sweep(NAME).id)
    submitted, ended = events(halved, "job_submitted"), events(halved, "job_ended")
    assert [line["job"] for line in submitted] == [line["job"] for line in ended] == [job.id for job in jobs]
    for job, begun, line in zip(jobs, submitted, ended, strict=True):
        assert (begun["from_epoch"], begun["rung"]) == (job.from_epoch, job.to_epoch)
        assert len(begun.get("trials", [])) + len(begun.get("controls", [])) == len(job.members)
        assert (line["epochs"], line["samples"]) == (job.epochs_trained, job.samples_scored)
        assert line["worker"] == "the driver"


def _poisoned(run: Callable[..., list[Result]], member: int) -> Callable[..., list[Result]]:
    def poisoned(self: InlineExecutor, job: Job, on_epoch: Callable[[int], None]) -> list[Result]:
        if any(slot.name == str(member) for slot in job.members):
            raise RuntimeError("a bad layer")
        return run(self, job, on_epoch)

    return poisoned


def test_a_job_that_fails_is_told_until_its_culprit_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(InlineExecutor, "run", _poisoned(InlineExecutor.run, CONTROLS + 1))
    drive(tmp_path)
    failed = events(tmp_path, "job_failed")
    assert [line["trials"] for line in failed] == [[0, 1], [0], [0]]  # split, alone, and tried again
    assert {(line["level"], line["kind"], line["reason"]) for line in failed} == {
        ("warning", "error", "RuntimeError: a bad layer")
    }
    assert failed[0]["message"] == "a job of 2 slots failed and is split: RuntimeError: a bad layer"
    assert {line["worker"] for line in failed} == {"the driver"}
    (ended,) = [line for line in events(tmp_path, "trial_ended") if line["trial"] == 0]
    assert (ended["state"], ended["reason"]) == ("failed", "RuntimeError: a bad layer")
    assert metrics(tmp_path)["jobs_total", "failed"] == 3
    assert_as_the_store_has_it(tmp_path)


def test_a_sweep_that_is_killed_and_continued_has_one_log_of_whole_lines(tmp_path: Path) -> None:
    die_after(tmp_path, Writer, "start_job", 4)
    killed = lines(tmp_path)
    assert [line["job"] for line in killed if line["event"] == "job_submitted"] == [1, 2, 3]  # of the fourth no word
    before = metrics(tmp_path)
    assert before["running", ""] == 1
    drive(tmp_path)
    assert findings(tmp_path) == findings(finished_store())
    assert lines(tmp_path)[: len(killed)] == killed
    assert [line["generation"] for line in events(tmp_path, "lease_taken")] == [1, 2]
    assert len({line["driver"] for line in events(tmp_path, "lease_taken")}) == 2
    assert [line["state"] for line in events(tmp_path, "sweep_finished")] == ["complete"]
    asked = [line["trial"] for line in events(tmp_path, "trial_asked")]
    assert asked == list(range(len(asked)))  # nothing is asked twice
    assert metrics(tmp_path)["jobs_total", "abandoned"] == 1
    assert_as_the_store_has_it(tmp_path)


class _Stopper(Quitter):
    """Reporter as a request to stop ends it."""

    def advance(self, epochs: int) -> None:
        try:
            super().advance(epochs)
        except KeyboardInterrupt:
            raise StopRequested from None


@pytest.mark.parametrize(("reporter", "reason"), [(Quitter, None), (_Stopper, "a stop was asked for")])
def test_an_interruption_is_an_end_and_its_jobs_are_given_up(
    reporter: type[Quitter], reason: str | None, tmp_path: Path
) -> None:
    drive(tmp_path, reporter=reporter(epochs=9))
    (ended,) = events(tmp_path, "sweep_finished")
    assert (ended["state"], ended.get("reason")) == ("interrupted", reason)
    found = metrics(tmp_path)
    assert (found["running", ""], found["trials", "running"], found["jobs_under_way", ""]) == (0, 0, 0)
    assert found["jobs_total", "abandoned"] == 1
    assert found["trials", "waiting"] == status(NAME, store=tmp_path)["trials"]["waiting"] > 0


class _Thief(Quitter):
    """Reporter after whose first job somebody else has the lease."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def message(self, text: str) -> None:  # noqa: ARG002  # as reporters have it
        with closing(sqlite3.connect(self._folder / "search.db")) as connection, connection:
            connection.execute("UPDATE sweeps SET lease_generation = 7, lease_owner = 'elsewhere:1:'")


def test_a_driver_that_has_lost_its_lease_says_so_and_leaves_the_metrics_to_the_next(tmp_path: Path) -> None:
    with pytest.raises(LeaseLost):
        drive(tmp_path, reporter=_Thief(tmp_path))
    lost, failed = lines(tmp_path)[-2:]
    assert (lost["event"], lost["level"], lost["generation"]) == ("lease_lost", "error", 1)
    assert lost["reason"] == "sweep tiny has been taken over by elsewhere:1"
    assert (failed["event"], failed["reason"]) == ("sweep_failed", f"LeaseLost: {lost['reason']}")
    assert events(tmp_path, "sweep_finished") == []
    assert metrics(tmp_path)["running", ""] == 1


def test_a_driver_that_has_lost_its_lease_leaves_what_mlflow_has_not_got_to_the_next(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put_tracking_database(tmp_path)
    _mlflow(tmp_path, "CREATE TRIGGER away BEFORE INSERT ON runs BEGIN SELECT RAISE(ABORT, 'out to lunch'); END")
    with pytest.raises(LeaseLost):
        drive(tmp_path, "tracking.enabled=true", reporter=_Thief(tmp_path))
    assert "messages behind" not in caplog.text  # nobody has waited for it
    with open_store(locate(tmp_path), create=False) as store:
        assert store.unsent_count(store.sweep(NAME).id) > 0


class _Mender(Quitter):
    """Reporter that gives the driver time to look, and mends MLflow's database once the log says that it is behind."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self.seen: dict[tuple[str, str], float] = {}

    def advance(self, epochs: int) -> None:  # noqa: ARG002  # as reporters have it
        if not self.seen:
            time.sleep(0.4)
            if events(self._folder, "mirror_behind"):
                self.seen = metrics(self._folder)
                _mlflow(self._folder, "DROP TRIGGER away")


def _mlflow(folder: Path, statement: str) -> None:
    with closing(sqlite3.connect(folder / "mlflow.db")) as connection, connection:
        connection.execute(statement)


def test_a_mirror_that_falls_behind_is_told_and_counted_and_so_is_that_it_sends_again(tmp_path: Path) -> None:
    put_tracking_database(tmp_path)
    _mlflow(tmp_path, "CREATE TRIGGER away BEFORE INSERT ON runs BEGIN SELECT RAISE(ABORT, 'out to lunch'); END")
    mender = _Mender(tmp_path)
    assert drive(tmp_path, "tracking.enabled=true", "train.epochs=4", reporter=mender).state == "complete"
    behind = events(tmp_path, "mirror_behind")
    assert behind[0]["reason"].startswith("MlflowException: ")
    assert behind[0]["level"] == "warning"
    assert mender.seen["mirror_failing", ""] == 1
    assert mender.seen["mirror_unsent_messages", ""] >= behind[0]["unsent"] >= 1
    assert metrics(tmp_path)["mirror_failing", ""] == 0
    assert_as_the_store_has_it(tmp_path)


def test_what_cannot_be_written_stops_no_sweep_and_changes_no_number(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("log.jsonl", "metrics.prom"):
        (tmp_path / "sweeps" / NAME / name).mkdir(parents=True)
    assert drive(tmp_path).state == "complete"
    assert findings(tmp_path) == findings(finished_store())
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert sorted(Path(line.partition(" ")[0]).name for line in said) == ["log.jsonl", "metrics.prom"]


def test_the_level_is_that_of_the_configuration_or_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert spec("log.level=warning").log.level == "warning"
    monkeypatch.setenv("NOISE_SEARCH_LOG_LEVEL", "error")
    composed = compose([*TINY, "budget.trials=1"])
    assert build(composed).log.level == "error"
    run_sweep(composed, store=tmp_path)
    assert not (tmp_path / "sweeps" / NAME / "log.jsonl").exists()  # nothing went wrong
    assert metrics(tmp_path)["trials", "complete"] == 1


def test_another_level_is_refused() -> None:
    with pytest.raises(CallerError, match=r"^log\.level: expected 'debug', 'info', 'warning' or 'error', got 'loud'"):
        spec("log.level=loud")
