#!/usr/bin/env python
"""The script that noise_search is measured against: PyTorch, Optuna and MLflow put together by hand.

One trial after another: `study.optimize` on SQLite, a plain training loop, the whole suite scored every few epochs,
one `mlflow.log_metrics(dict)` an epoch into a nested run on SQLite. The first trial is the no-noise control. With a
pruner, trials report their score wherever `stopping` of the configuration has a rung, and end where the pruner says so.

Only what must be the same on both sides comes from noise_search: the configuration, the data, the model class and the
suite (its tensors, and its perturbations of weights). Data are tensors in memory, indexed by a permutation: a
DataLoader would be slower.

The search space and the noises are in `handwritten_policies.py`, training and scoring in `handwritten_training.py`.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import mlflow
import optuna
import torch
from optuna.trial import FrozenTrial, TrialState

from handwritten_policies import DRAWS, suggest_policy
from handwritten_training import Cells, Task, load_task, relative_mce, train_trial
from noise_search.search.stopping import rung_epochs

NO_NOISE = {"inputs.noise": "none", "weights.noise": "none", "targets.noise": "none"}


def log_by_severity(cells: Cells) -> None:
    """Curves over severity: one call for each severity."""
    kinds = [kind for kind in cells if kind != "clean"]
    for severity in range(max(len(cells[kind]) for kind in kinds)):
        row = {f"accuracy_by_severity/{k}": cells[k][severity] for k in kinds if severity < len(cells[k])}
        mlflow.log_metrics(row, step=severity + 1)


def score(task: Task, metrics: Mapping[str, float]) -> float:
    weight = task.spec.objective.weight
    return weight * metrics["clean"] + (1 - weight) * metrics["robust"]


def make_objective(task: Task, *, prunes: bool, draws: str) -> Callable[[optuna.Trial], float]:
    control: Cells = {}

    def objective(trial: optuna.Trial) -> float:
        def log(row: dict[str, float], epoch: int) -> None:
            mlflow.log_metrics(row, step=epoch)
            if prunes and trial.number > 0 and "clean" in row:
                trial.report(score(task, row), epoch)
                if trial.should_prune():
                    raise optuna.TrialPruned

        with mlflow.start_run(run_name=f"trial {trial.number}", nested=True):
            policy = suggest_policy(trial)
            mlflow.log_params(trial.params)
            metrics, cells = train_trial(task, policy, DRAWS[draws](task.spec.seed), log)
            if trial.number == 0:
                control.update(cells)
            metrics["score"] = score(task, metrics)
            metrics["relative_mce"] = relative_mce(cells, control)
            mlflow.log_metrics(metrics, step=task.spec.train.epochs)
            log_by_severity(cells)
        return metrics["score"]

    return objective


class ReplayingTPE(optuna.samplers.TPESampler):
    """Works out TPE's proposal as ever, then gives the parameters of a list instead, so that trials are the same."""

    def __init__(self, trials: Sequence[Mapping[str, Any]], **options: Any) -> None:
        super().__init__(**options)
        self._trials = trials

    def sample_relative(self, *arguments: Any) -> dict[str, Any]:
        super().sample_relative(*arguments)
        return {}  # everything is then asked for below

    def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:  # noqa: ARG002
        return self._trials[trial.number][param_name]


def make_sampler(task: Task, trials: Sequence[Mapping[str, Any]] | None, seed: int) -> optuna.samplers.TPESampler:
    options = {"seed": seed, "multivariate": True, "group": True}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if trials is not None:
            return ReplayingTPE(trials, **options)
        return optuna.samplers.TPESampler(n_startup_trials=task.spec.sampler.startup_trials, **options)


def make_pruner(task: Task, name: str) -> optuna.pruners.BasePruner:
    if name == "none":
        return optuna.pruners.NopPruner()
    epochs = task.spec.train.epochs
    first = rung_epochs(task.spec.stopping, epochs)[0]  # nothing is reported before
    return optuna.pruners.HyperbandPruner(min_resource=first, max_resource=epochs, reduction_factor=3)


def stop_at(until: float) -> Callable[[optuna.Study, FrozenTrial], None]:
    """Callback that ends the search once a trial that trained to the end, not the control, has such a score."""

    def callback(study: optuna.Study, trial: FrozenTrial) -> None:
        if trial.number > 0 and trial.state is TrialState.COMPLETE and trial.values[0] >= until:
            study.stop()

    return callback


def run(
    task: Task,
    trials: Sequence[Mapping[str, Any]] | None,
    folder: Path,
    *,
    sampler_seed: int | None = None,
    pruner: str = "none",
    until: float = math.inf,
    draws: str = "plain",
) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=f"sqlite:///{folder / 'optuna.db'}",
        study_name="handwritten",
        direction="maximize",
        sampler=make_sampler(task, trials, task.spec.seed if sampler_seed is None else sampler_seed),
        pruner=make_pruner(task, pruner),
    )
    if trials is None:
        study.enqueue_trial(NO_NOISE)
    count = task.spec.budget.trials + 1 if trials is None else len(trials)
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    mlflow.set_experiment("handwritten")
    with mlflow.start_run(run_name="search"):
        objective = make_objective(task, prunes=pruner != "none", draws=draws)
        study.optimize(objective, n_trials=count, callbacks=[stop_at(until)])
        mlflow.log_metric("best", study.best_value)
    return study


def ended(trial: FrozenTrial) -> dict[str, Any]:
    """State and score of a trial, and when it ended, in seconds since 1970; of a pruned one the last score it had."""
    assert trial.datetime_complete is not None
    return {"state": trial.state.name, "score": trial.value, "ended": trial.datetime_complete.timestamp()}


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="handwritten_search.py", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="where the two databases are put")
    parser.add_argument(
        "--trials",
        type=Path,
        help="JSON list of the parameters of every trial (default: the control, then budget.trials proposals of TPE)",
    )
    parser.add_argument("--threads", type=int, default=2, help="of torch (default: %(default)s)")
    parser.add_argument("--sampler-seed", type=int, help="of TPE (default: seed of the configuration)")
    parser.add_argument("--pruner", choices=["none", "hyperband"], default="none", help="(default: %(default)s)")
    parser.add_argument("--until", type=float, default=math.inf, help="score at which the search ends")
    parser.add_argument("--draws", choices=DRAWS, default="plain", help="random numbers (default: %(default)s)")
    parser.add_argument("overrides", nargs="*", help="configuration, as of noise-search sweep")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    options.folder.mkdir(parents=True, exist_ok=True)
    trials = None if options.trials is None else json.loads(options.trials.read_text())
    task = load_task(options.overrides)
    study = run(
        task,
        trials,
        options.folder,
        sampler_seed=options.sampler_seed,
        pruner=options.pruner,
        until=options.until,
        draws=options.draws,
    )
    found = [ended(trial) for trial in study.trials]
    print(json.dumps({"best": study.best_value, "scores": [trial["score"] for trial in found], "trials": found}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
