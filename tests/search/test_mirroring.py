"""The mirror as a user of MLflow reads it back."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from sweep_examples import (
    BUDGET,
    CONTROLS,
    NAME,
    Quitter,
    diverging,
    drive,
    findings,
    finished_store,
    plan,
    put_tracking_database,
    record,
    tracked_store,
)

from noise_search.commands import front
from noise_search.execute import InlineExecutor
from noise_search.policy import load_card, policy_from_list
from noise_search.search.mirroring import milliseconds
from noise_search.search.pick import pick_row
from noise_search.store import locate

STEPS_AN_EPOCH, EPOCHS = 5, 2
MEMBERS = ("control no_noise", "control constant_1", "control random_1", *(f"trial {n}" for n in range(BUDGET)))


def client_of(folder: Path) -> Any:
    from mlflow import MlflowClient

    url = locate(folder).tracking_url
    return MlflowClient(url, registry_uri=url)


def runs_of(folder: Path, experiment: str = "noise_search") -> dict[str, Any]:
    """Every run of the experiment, by name."""
    client = client_of(folder)
    found = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    runs = {run.info.run_name: run for run in found}
    assert len(runs) == len(found)
    return runs


@cache
def runs() -> dict[str, Any]:
    """Runs of the finished sweep."""
    return runs_of(tracked_store())


@cache
def stored() -> dict[str, Any]:
    """What the store knows of each member."""
    return {name: json.loads(text) for name, text in findings(tracked_store()).items()}


def points(member: str, key: str) -> list[Any]:
    """One metric of a member over the epochs."""
    return list(client_of(tracked_store()).get_metric_history(runs()[member].info.run_id, key))


def test_a_sweep_is_one_finished_run_with_a_run_nested_under_it_for_each_trial_and_control() -> None:
    parent = runs()[NAME]
    assert sorted(runs()) == sorted([NAME, *MEMBERS])
    assert {run.info.status for run in runs().values()} == {"FINISHED"}
    assert "mlflow.parentRunId" not in parent.data.tags
    assert {runs()[name].data.tags["mlflow.parentRunId"] for name in MEMBERS} == {parent.info.run_id}


def test_tracking_changes_no_number() -> None:
    assert findings(tracked_store()) == findings(finished_store())


def test_the_run_of_the_sweep_says_what_was_searched_and_how_it_went() -> None:
    parent = runs()[NAME].data
    expected = {"budget.trials": str(BUDGET), "model.name": "mlp", "train.epochs": "2", "optimizer.lr": "0.02"}
    assert {key: parent.params[key] for key in expected} == expected
    assert parent.tags["noise_search.identity"] == plan().digest
    assert parent.tags["noise_search.state"] == "complete"
    best = max(entry["scores"]["score"] for name, entry in stored().items() if name.startswith("trial"))
    assert parent.metrics == {"trials": float(BUDGET), "best": best}


@pytest.mark.parametrize("member", MEMBERS)
def test_the_parameters_of_a_run_are_its_policy(member: str) -> None:
    expected = {}
    for term in stored()[member]["policy"]:
        key = f"{term['site']}.{term['noise']}"
        expected[f"{key}.magnitude"] = f"{term['magnitude']:.6g}"
        expected |= {f"{key}.fraction": f"{term['fraction']:.6g}"} if "fraction" in term else {}
        expected |= {f"{key}.level": term["level"]} if "level" in term else {}
        expected[f"{key}.schedule"] = term["schedule"]["kind"]
        numbers = {name: value for name, value in term["schedule"].items() if name != "kind"}
        expected |= {f"{key}.schedule.{name}": f"{value:.6g}" for name, value in numbers.items()}
    assert runs()[member].data.params == (expected or {"policy": "no noise"})


@pytest.mark.parametrize("member", MEMBERS)
def test_the_magnitude_of_each_term_is_its_schedule_one_point_an_epoch(member: str) -> None:
    tables = policy_from_list(stored()[member]["policy"]).tabulate(STEPS_AN_EPOCH * EPOCHS)
    curves = {key for key in runs()[member].data.metrics if key.startswith("magnitude/")}
    assert curves == {f"magnitude/{key}" for key in tables}
    for key, table in tables.items():
        found = points(member, f"magnitude/{key}")
        assert [point.step for point in found] == [1, 2]
        expected = table.reshape(EPOCHS, STEPS_AN_EPOCH).mean(dim=1).tolist()
        assert [point.value for point in found] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("member", ["control no_noise", "trial 0"])
def test_curves_have_one_point_an_epoch_and_final_scores_are_those_of_the_store(member: str) -> None:
    entry, run = stored()[member], runs()[member]
    for key in ("train/loss", "lr"):
        found = points(member, key)
        assert [(point.step, point.value) for point in found] == [(r["epoch"], r[key]) for r in entry["history"]]
    for key, value in entry["scores"].items():
        assert run.data.metrics[key] == value
        assert [point.step for point in points(member, key)] == [EPOCHS]
    for kind, row in entry["cells"].items():
        if kind != "clean":  # one number, not a curve
            found = points(member, f"accuracy_by_severity/{kind}")
            assert [(point.step, point.value) for point in found] == list(enumerate(row, start=1))


def test_times_lie_within_the_sweep() -> None:
    sweep = record(tracked_store())
    assert sweep.finished_at is not None
    first, last = milliseconds(sweep.created_at), milliseconds(sweep.finished_at)
    for name in MEMBERS:
        info = runs()[name].info
        stamps = [point.timestamp for point in points(name, "train/loss")]
        assert first <= info.start_time <= min(stamps) <= max(stamps) <= info.end_time <= last


def test_runs_say_what_they_are() -> None:
    tags = {name: runs()[name].data.tags for name in MEMBERS}
    assert {tag["noise_search.state"] for tag in tags.values()} == {"complete"}
    controls = {name: tag["noise_search.control"] for name, tag in tags.items() if "noise_search.control" in tag}
    assert controls == {f"control {kind}": kind for kind in ("no_noise", "constant_1", "random_1")}


def test_the_card_and_the_report_can_be_downloaded_from_the_run_of_the_sweep(tmp_path: Path) -> None:
    client, run_id = client_of(tracked_store()), runs()[NAME].info.run_id
    card = load_card(client.download_artifacts(run_id, "card/card.yaml", str(tmp_path)))
    picked = pick_row(front(NAME, store=tracked_store()), "best")
    assert card.policy == policy_from_list(picked.policy)
    page = Path(client.download_artifacts(run_id, "report/report.html", str(tmp_path)))
    assert page.read_bytes() == (tracked_store() / "sweeps" / NAME / "report" / "report.html").read_bytes()


def test_artifacts_lie_in_the_store() -> None:
    uri = runs()[NAME].info.artifact_uri
    assert uri.startswith((tracked_store() / "artifacts").resolve().as_uri())


def test_an_interrupted_sweep_is_closed_as_killed_and_finished_when_it_is_continued(tmp_path: Path) -> None:
    put_tracking_database(tmp_path)
    drive(tmp_path, "tracking.enabled=true", reporter=Quitter(jobs=3))
    before = runs_of(tmp_path)
    assert len(before) == 1 + CONTROLS + 2
    parent = before.pop(NAME)
    assert (parent.info.status, parent.data.tags["noise_search.state"]) == ("KILLED", "interrupted")
    assert parent.info.end_time is not None
    assert {run.info.status for run in before.values()} == {"FINISHED"}
    drive(tmp_path, "tracking.enabled=true")
    after = runs_of(tmp_path)
    assert {run.info.status for run in after.values()} == {"FINISHED"}
    assert after[NAME].info.run_id == parent.info.run_id
    assert after[NAME].data.tags["noise_search.state"] == "complete"
    assert after[NAME].data.metrics == runs()[NAME].data.metrics
    assert {name: after[name].info.run_id for name in before} == {name: before[name].info.run_id for name in before}
    assert sorted(after) == sorted([NAME, *MEMBERS])


def test_a_trial_that_diverged_says_so_under_the_experiment_that_was_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_tracking_database(tmp_path)
    monkeypatch.setattr(InlineExecutor, "run", diverging(InlineExecutor.run, [CONTROLS + 1, CONTROLS + 2]))
    drive(tmp_path, "budget.trials=2", "tracking.enabled=true", "tracking.experiment=divergence")
    trial = runs_of(tmp_path, "divergence")["trial 0"]
    assert trial.data.tags["noise_search.state"] == "infeasible"
    assert trial.data.tags["noise_search.reason"].startswith("diverged")
    assert trial.data.metrics["score"] == 0.0
    assert client_of(tmp_path).list_artifacts(runs_of(tmp_path, "divergence")[NAME].info.run_id) == []
