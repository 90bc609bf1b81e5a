"""Outcomes of a sweep as a user of MLflow reads them back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from sweep_examples import NAME, drive, put_tracking_database

from noise_search.commands import status
from noise_search.store import locate, open_store

TRACKED = ("tracking.enabled=true", "controls.constants=0", "controls.random=0", "train.epochs=4", "budget.trials=9")
STOPPING = (
    "stopping=halving",
    "stopping.at=[]",
    "stopping.factor=2",
    "stopping.rungs=2",
    "objective.clean_drop=0.0",
    "sampler.batch=3",
)


def _runs(folder: Path) -> dict[str, Any]:
    url = locate(folder).tracking_url
    client = MlflowClient(url, registry_uri=url)
    found = client.search_runs([client.get_experiment_by_name("noise_search").experiment_id])
    return {run.info.run_name: run for run in found}


def test_every_outcome_of_a_trial_and_the_sums_of_the_sweep_arrive(tmp_path: Path) -> None:
    put_tracking_database(tmp_path)
    drive(tmp_path, *TRACKED, *STOPPING)
    found, runs = status(NAME, store=tmp_path), _runs(tmp_path)
    with open_store(locate(tmp_path), create=False) as store:
        trials = [member for member in store.members(store.sweep(NAME).id) if member.number is not None]
    assert {trial.state for trial in trials} == {"complete", "stopped"}
    for trial in trials:
        run = runs[f"trial {trial.number}"]
        tags = {key.removeprefix("noise_search."): value for key, value in run.data.tags.items()}
        assert tags["state"] == trial.state
        assert run.info.status == {"complete": "FINISHED", "stopped": "KILLED"}[trial.state]
        assert tags.get("reason") == trial.reason
        assert tags.get("overuse") == trial.overuse
        assert ("over_constraint" in tags) == any(value > 0 for value in trial.constraints.values())
    metrics = runs[NAME].data.metrics
    assert metrics["trials"] == found["trials"]["complete"]
    assert metrics["trials_stopped"] == found["trials"]["stopped"] > 0
    for key in ("over_a_constraint", "overused", "epochs_saved"):
        assert metrics.get(key, 0.0) == found[key]


def test_a_sweep_whose_minutes_are_used_up_says_so_and_how_many_wait(tmp_path: Path) -> None:
    put_tracking_database(tmp_path)
    outcome = drive(tmp_path, *TRACKED, "budget.minutes=1e-9")
    assert (outcome.state, outcome.waiting, outcome.not_asked) == ("out_of_time", 0, 9)
    parent = _runs(tmp_path)[NAME]
    assert parent.info.status == "KILLED"
    assert parent.data.tags["noise_search.state"] == "interrupted"
    assert parent.data.tags["noise_search.reason"] == "budget.minutes is used up"
    assert status(NAME, store=tmp_path)["state"] == "out_of_time"


def test_with_more_minutes_it_goes_on_to_its_total(tmp_path: Path) -> None:
    small = ("budget.trials=2", "controls.constants=0", "controls.random=0")
    assert drive(tmp_path, *small, "budget.minutes=1e-9").not_asked == 2
    outcome = drive(tmp_path, *small)
    assert (outcome.state, outcome.changed, outcome.waiting, outcome.not_asked) == ("complete", True, 0, 0)
