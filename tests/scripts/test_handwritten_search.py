"""The script that benchmarks compare with does the same work: the same accuracies, the same logged metrics."""

from __future__ import annotations

import importlib
import json
import sqlite3
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import mlflow
import optuna
import pytest
import sweep_examples
import torch

from noise_search.config import build, compose
from noise_search.search.space import Stored, policy_of
from noise_search.training import Job, Member, Setup, make_workbench, run_job

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
NO_NOISE = {"inputs.noise": "none", "weights.noise": "none", "targets.noise": "none"}
POLICIES: dict[str, Mapping[str, Any]] = {
    "no noise": NO_NOISE,
    "gaussian and label smoothing": {
        "inputs.noise": "gaussian",
        "inputs.gaussian.magnitude": 0.3,
        "inputs.gaussian.fraction": 0.6,
        "inputs.gaussian.level": "uniform",
        "inputs.gaussian.schedule": "linear",
        "inputs.gaussian.linear.a": 0.2,
        "inputs.gaussian.linear.b": 1.0,
        "inputs.gaussian.linear.stop": 0.7,
        "weights.noise": "none",
        "targets.noise": "label_smoothing",
        "targets.label_smoothing.magnitude": 0.1,
    },
    "mixup and relative": {
        "inputs.noise": "mixup",
        "inputs.mixup.magnitude": 0.8,
        "inputs.mixup.fraction": 0.5,
        "inputs.mixup.schedule": "window",
        "inputs.mixup.window.start": 0.1,
        "inputs.mixup.window.stop": 0.8,
        "weights.noise": "relative",
        "weights.relative.magnitude": 0.05,
        "weights.relative.schedule": "cosine",
        "weights.relative.cosine.a": 1.0,
        "weights.relative.cosine.b": 0.0,
        "weights.relative.cosine.stop": 0.9,
        "targets.noise": "none",
    },
}


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    sys.path.insert(0, str(SCRIPTS))
    yield importlib.import_module("handwritten_search")
    sys.path.remove(str(SCRIPTS))


def test_both_sides_have_the_same_accuracies_at_three_policies(script: ModuleType) -> None:
    # In float64, where a cohort and a model by itself round alike to 15 digits: no sample may change sides. In float32
    # AdamW magnifies the last bits, and single samples do.
    spec = build(compose([]))
    setup = Setup(spec.data, spec.model, spec.optimizer, spec.train, spec.suite, mode="fused", score_mode="looped")
    policies = [policy_of(spec.space, Stored(parameters)) for parameters in POLICIES.values()]
    members = tuple(Member(str(slot), policy, spec.seed) for slot, policy in enumerate(policies))
    results, _ = run_job(Job(members, 0, spec.train.epochs), make_workbench(setup, dtype=torch.float64))
    task = script.load_task([], torch.float64)
    for parameters, result in zip(POLICIES.values(), results, strict=True):
        last, cells, history = trained_by_hand(script, task, parameters, script.DRAWS["shared"](spec.seed))
        assert cells == result.cells
        assert last == pytest.approx(without_epoch(result.history[-1]) | dict(result.scores))
        expected = [pytest.approx(without_epoch(row)) for row in result.history[:-1]]
        assert [history[epoch] for epoch in range(1, spec.train.epochs)] == expected


def test_both_sides_log_the_same_metrics_as_often(script: ModuleType, tmp_path: Path) -> None:
    overrides = [override for override in sweep_examples.TINY if "tracking" not in override]
    trials = [dict(NO_NOISE), dict(POLICIES["gaussian and label smoothing"])]
    (tmp_path / "trials.json").write_text(json.dumps(trials))
    run_by_hand(script, tmp_path, "--trials", str(tmp_path / "trials.json"), *overrides)
    theirs = logged(tmp_path / "mlflow.db", "name = 'trial 0'")
    ours = logged(sweep_examples.tracked_store() / "mlflow.db", "name = 'control no_noise'")
    assert theirs == ours


def test_hyperband_prunes_trials_at_a_rung_but_not_the_control(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = [
        "train.epochs=3",
        "train.score_every=3",
        "stopping=halving",
        "stopping.at=[]",
        "stopping.factor=3",
        "budget.trials=9",
    ]
    started = time.time()
    run_by_hand(script, tmp_path, "--pruner", "hyperband", *sweep_examples.TINY, *more)
    finished, trials = time.time(), json.loads(capsys.readouterr().out)["trials"]
    states, ends = [trial["state"] for trial in trials], [trial["ended"] for trial in trials]
    assert len(trials) == 1 + 9
    assert (states[0], set(states)) == ("COMPLETE", {"COMPLETE", "PRUNED"})
    assert [started, *ends, finished] == sorted([started, *ends, finished])
    # Rungs are after 1 and 3 epochs: a pruned trial was logged and scored once, a complete one at both.
    for number, state in enumerate(states):
        steps = {step for key, step in logged(tmp_path / "mlflow.db", f"name = 'trial {number}'") if key == "clean"}
        assert steps == ({1} if state == "PRUNED" else {1, 3})


def test_a_search_by_hand_ends_with_the_first_trial_that_has_the_score(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_by_hand(script, tmp_path, "--until", "0.0", *sweep_examples.TINY)
    assert len(json.loads(capsys.readouterr().out)["trials"]) == 1 + 1  # the control does not count


def test_trials_are_those_of_the_list_while_tpe_proposes_others(script: ModuleType) -> None:
    trials = [{"x": index / 20} for index in range(15)]
    study = optuna.create_study(sampler=script.ReplayingTPE(trials, seed=0))
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=len(trials))
    assert [trial.params for trial in study.trials] == trials


def run_by_hand(script: ModuleType, folder: Path, *arguments: str) -> None:
    """The script's search, with databases in a folder."""
    sweep_examples.put_tracking_database(folder)
    before, threads = mlflow.get_tracking_uri(), torch.get_num_threads()
    try:
        script.main(["--folder", str(folder), "--threads", "1", *arguments])
    finally:
        mlflow.set_tracking_uri(before)
        torch.set_num_threads(threads)


def trained_by_hand(
    script: ModuleType, task: Any, parameters: Mapping[str, Any], draws: Any
) -> tuple[dict[str, float], dict[str, list[float]], dict[int, dict[str, float]]]:
    """Last metrics, accuracies, and what was logged after each epoch."""
    policy = script.suggest_policy(optuna.trial.FixedTrial(dict(parameters)))
    history: dict[int, dict[str, float]] = {}
    last, cells = script.train_trial(task, policy, draws, lambda row, epoch: history.update({epoch: row}))
    return last, cells, history


def without_epoch(row: Mapping[str, float]) -> dict[str, float]:
    return {key: value for key, value in row.items() if key != "epoch"}


def logged(database: Path, of_runs: str) -> dict[tuple[str, int], int]:
    """How many values of each metric there are at each step."""
    query = f"""SELECT key, step, count(*) FROM metrics JOIN runs USING (run_uuid) WHERE {of_runs} GROUP BY key, step"""
    with closing(sqlite3.connect(database)) as connection:
        return {(key, step): count for key, step, count in connection.execute(query)}
