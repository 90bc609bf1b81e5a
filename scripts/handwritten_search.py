#!/usr/bin/env python
"""The script that noise_search is measured against: PyTorch, Optuna and MLflow put together by hand.

One trial after another: `study.optimize` on SQLite, a plain training loop, the whole suite scored every few epochs,
one `mlflow.log_metrics(dict)` an epoch into a nested run on SQLite. The first trial is the no-noise control. With a
pruner, trials report their score wherever `stopping` of the configuration has a rung, and end where the pruner says so.

Only what must be the same on both sides comes from noise_search: the configuration, the data, the model class and the
suite (its tensors, and its perturbations of weights). Data are tensors in memory, indexed by a permutation: a
DataLoader would be slower.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import optuna
import torch
import torch.nn.functional as F
from optuna.trial import FrozenTrial, TrialState
from torch import Tensor, nn
from torch.func import functional_call

from noise_search.config import build, compose
from noise_search.corruptions.suites import families
from noise_search.corruptions.weights import perturbed
from noise_search.data import Dataset
from noise_search.evaluation import make_yardstick
from noise_search.models import build_model
from noise_search.search.stopping import rung_epochs
from noise_search.seeds import generator, numpy_generator
from noise_search.spec import SweepSpec
from noise_search.training import load_dataset

Policy = dict[str, dict[str, Any]]  # "inputs.gaussian" -> its magnitude, fraction, level, schedule
Cells = dict[str, list[float]]  # kind -> accuracy at each severity
NO_NOISE = {"inputs.noise": "none", "weights.noise": "none", "targets.noise": "none"}
EVALUATION_BATCH = 1000
CALIBRATION_BINS = 15


@dataclass(frozen=True)
class Draws:
    """Where random numbers come from: generators asked for by purpose."""

    torch: Callable[..., torch.Generator]
    numpy: Callable[..., np.random.Generator]


def plain_draws(seed: int) -> Draws:
    """One generator of each kind, whatever the purpose."""
    one, beta = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    return Draws(lambda *_: one, lambda *_: beta)


def shared_draws(seed: int) -> Draws:
    """The generators of noise_search, so that a policy comes out the same on both sides; they cost some time."""
    return Draws(partial(generator, seed), partial(numpy_generator, seed))


DRAWS = {"plain": plain_draws, "shared": shared_draws}


@dataclass(frozen=True)
class Task:
    """Configuration and tensors that all trials share; `images` holds the clean validation images, then the suite."""

    spec: SweepSpec
    data: Dataset
    inputs: Tensor
    targets: Tensor
    images: Tensor
    labels: Tensor


def load_task(overrides: Sequence[str], dtype: torch.dtype = torch.float32) -> Task:
    spec = build(compose(overrides))
    data = load_dataset(spec.data)
    validation = data.validation.to(torch.device("cpu"), dtype)
    yardstick = make_yardstick(spec.suite, validation, data.classes)
    targets = F.one_hot(data.train.labels, data.classes).to(dtype)
    return Task(spec, data, data.train.inputs.to(dtype), targets, yardstick.images, yardstick.labels)


# --- the search space ---


def suggest_policy(trial: optuna.trial.BaseTrial) -> Policy:
    policy: Policy = {}
    noise = trial.suggest_categorical("inputs.noise", ["none", "gaussian", "mixup"])
    if noise == "gaussian":
        policy["inputs.gaussian"] = {
            "magnitude": trial.suggest_float("inputs.gaussian.magnitude", 0.02, 0.6, log=True),
            "fraction": trial.suggest_float("inputs.gaussian.fraction", 0.1, 1.0),
            "level": trial.suggest_categorical("inputs.gaussian.level", ["fixed", "uniform"]),
            "schedule": suggest_schedule(trial, "inputs.gaussian"),
        }
    if noise == "mixup":
        policy["inputs.mixup"] = {
            "magnitude": trial.suggest_float("inputs.mixup.magnitude", 0.1, 2.0),
            "fraction": trial.suggest_float("inputs.mixup.fraction", 0.1, 1.0),
            "schedule": suggest_schedule(trial, "inputs.mixup"),
        }
    if trial.suggest_categorical("weights.noise", ["none", "relative"]) == "relative":
        policy["weights.relative"] = {
            "magnitude": trial.suggest_float("weights.relative.magnitude", 0.005, 0.2, log=True),
            "schedule": suggest_schedule(trial, "weights.relative"),
        }
    if trial.suggest_categorical("targets.noise", ["none", "label_smoothing"]) == "label_smoothing":
        policy["targets.label_smoothing"] = {
            "magnitude": trial.suggest_float("targets.label_smoothing.magnitude", 0.01, 0.4),
            "schedule": {"kind": "constant"},
        }
    return policy


def suggest_schedule(trial: optuna.trial.BaseTrial, term: str) -> dict[str, Any]:
    kind = trial.suggest_categorical(f"{term}.schedule", ["constant", "linear", "cosine", "window"])
    searched = {"a": (0.0, 1.0), "b": (0.0, 1.0), "stop": (0.3, 1.0)}
    if kind == "window":
        searched = {"start": (0.0, 0.5), "stop": (0.55, 1.0)}
    if kind == "constant":
        searched = {}
    return {"kind": kind, **{name: trial.suggest_float(f"{term}.{kind}.{name}", *searched[name]) for name in searched}}


def factor(schedule: Mapping[str, Any], progress: float) -> float:
    """Factor of the magnitude at `progress`, from 0 at the first step to 1 at the last."""
    kind, start, stop = schedule["kind"], schedule.get("start", 0.0), schedule.get("stop", 1.0)
    if kind == "constant":
        return 1.0
    if kind == "window":
        return 1.0 if start <= progress <= stop else 0.0
    ramp = min(max((progress - start) / (stop - start), 0.0), 1.0)
    if kind == "cosine":
        ramp = 0.5 * (1 - math.cos(math.pi * ramp))
    return float(schedule["a"] + (schedule["b"] - schedule["a"]) * ramp)


# --- noises ---


def sample_magnitudes(key: str, policy: Policy, magnitude: float, like: Tensor, draws: Draws, step: int) -> Tensor:
    """Magnitude of each sample of the batch, 0 for those that the noise leaves alone."""
    term, size, names = policy[key], len(like), key.split(".")
    magnitudes = torch.full((size,), magnitude, dtype=like.dtype)
    if term.get("level") == "uniform":
        magnitudes *= torch.rand(size, generator=draws.torch(*names, "level", step), dtype=like.dtype)
    if "fraction" in term:
        chosen = torch.rand(size, generator=draws.torch(*names, "select", step), dtype=like.dtype) < term["fraction"]
        magnitudes *= chosen
    return magnitudes


def add_gaussian(x: Tensor, sigma: Tensor, draws: Draws, step: int) -> Tensor:
    xi = torch.randn(x.shape, generator=draws.torch("inputs", "gaussian", "xi", step), dtype=x.dtype)
    return (x + sigma.view(-1, 1, 1, 1) * xi).clamp(0, 1)


def mix_up(x: Tensor, y: Tensor, alphas: Tensor, draws: Draws, step: int) -> tuple[Tensor, Tensor]:
    mixed, alpha = alphas > 0, np.where(alphas > 0, alphas, 1.0)
    share = torch.from_numpy(draws.numpy("inputs", "mixup", "lam", step).beta(alpha, alpha)).to(x.dtype)
    lam = torch.where(mixed, torch.maximum(share, 1 - share), 1.0)
    draw = torch.rand(len(x), generator=draws.torch("inputs", "mixup", "partner", step), dtype=x.dtype)
    partner = draw.argsort(stable=True)
    own = lam.view(-1, 1, 1, 1)
    return own * x + (1 - own) * x[partner], lam[:, None] * y + (1 - lam[:, None]) * y[partner]


@torch.no_grad()
def perturb_weights(model: nn.Module, magnitude: float, draws: Draws, step: int) -> dict[str, Tensor]:
    """Add noise to the layers' weights in place; returns what they were."""
    before = {name: weight.clone() for name, weight in model.named_parameters() if weight.dim() > 1}
    for name, weight in model.named_parameters():
        if name in before:
            rng = draws.torch("weights", "relative", name, step)
            rms = weight.square().mean().sqrt()
            weight += magnitude * rms * torch.randn(weight.shape, generator=rng, dtype=weight.dtype)
    return before


@torch.no_grad()
def restore_weights(model: nn.Module, before: Mapping[str, Tensor]) -> None:
    for name, weight in model.named_parameters():
        if name in before:
            weight.copy_(before[name])


def noisy_batch(
    x: Tensor, y: Tensor, policy: Policy, magnitudes: Mapping[str, float], draws: Draws, step: int
) -> tuple[Tensor, Tensor]:
    if share := magnitudes.get("targets.label_smoothing"):
        y = (1 - share) * y + share / y.shape[1]
    if alpha := magnitudes.get("inputs.mixup"):
        alphas = sample_magnitudes("inputs.mixup", policy, alpha, x, draws, step)
        x, y = mix_up(x, y, alphas, draws, step)
    if sigma := magnitudes.get("inputs.gaussian"):
        sigmas = sample_magnitudes("inputs.gaussian", policy, sigma, x, draws, step)
        x = add_gaussian(x, sigmas, draws, step)
    return x, y


# --- training ---


def learning_rate(task: Task, step: int, steps: int) -> float:
    optimizer = task.spec.optimizer
    warmup = round(optimizer.warmup_fraction * steps)
    if step < warmup:
        return optimizer.lr * (step + 1) / warmup
    if optimizer.lr_schedule == "constant":
        return optimizer.lr
    done = (step - warmup) / max(steps - warmup, 1)
    share = optimizer.final_fraction + (1 - optimizer.final_fraction) * 0.5 * (1 + math.cos(math.pi * done))
    return optimizer.lr * share


def train_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    x: Tensor,
    y: Tensor,
    weight_noise: float,
    clip: float | None,
    draws: Draws,
    step: int,
) -> float:
    before = perturb_weights(model, weight_noise, draws, step) if weight_noise else {}
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    restore_weights(model, before)
    if clip is not None:
        nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimizer.step()
    return loss.item()


def train_epoch(
    task: Task, model: nn.Module, optimizer: torch.optim.Optimizer, policy: Policy, draws: Draws, epoch: int
) -> dict[str, float]:
    """One pass over the data; returns what is logged of it."""
    train, samples = task.spec.train, len(task.inputs)
    per_epoch = math.ceil(samples / train.batch_size)
    steps, totals = per_epoch * train.epochs, dict.fromkeys(policy, 0.0)
    rate, loss_sum = 0.0, 0.0
    model.train()
    order = torch.randperm(samples, generator=draws.torch("order", epoch))
    for offset, index in enumerate(order.split(train.batch_size)):
        step = epoch * per_epoch + offset
        progress = step / max(steps - 1, 1)
        magnitudes = {key: term["magnitude"] * factor(term["schedule"], progress) for key, term in policy.items()}
        x, y = noisy_batch(task.inputs[index], task.targets[index], policy, magnitudes, draws, step)
        rate = learning_rate(task, step, steps)
        optimizer.param_groups[0]["lr"] = rate
        weight_noise = magnitudes.get("weights.relative", 0.0)
        loss_sum += len(index) * train_step(model, optimizer, x, y, weight_noise, train.clip, draws, step)
        totals = {key: totals[key] + magnitudes[key] for key in policy}
    means = {f"magnitude/{key}": total / per_epoch for key, total in totals.items()}
    return {"lr": rate, "train/loss": loss_sum / samples, **means}


# --- scoring ---


def above_chance(accuracy: float, classes: int) -> float:
    return max(0.0, (accuracy - 1 / classes) / (1 - 1 / classes))


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def calibration_error(confidence: Tensor, right: Tensor) -> Tensor:
    bins = (confidence * CALIBRATION_BINS).ceil().long().clamp(1, CALIBRATION_BINS) - 1
    gaps = torch.zeros(CALIBRATION_BINS, dtype=confidence.dtype).index_add_(0, bins, right - confidence)
    return gaps.abs().sum() / len(confidence)


def measure(logits: Tensor, labels: Tensor) -> dict[str, float]:
    log_p = F.log_softmax(logits, dim=1)
    p = log_p.exp()
    confidence, predicted = p.max(dim=1)
    right = (predicted == labels).to(p.dtype)
    return {
        "accuracy": (predicted == labels).double().mean().item(),
        "nll": F.nll_loss(log_p, labels).item(),
        "brier": (p - F.one_hot(labels, p.shape[1])).square().sum(dim=1).mean().item(),
        "ece": calibration_error(confidence, right).item(),
        "entropy": -(log_p * p).sum(dim=1).mean().item(),
    }


@torch.no_grad()
def evaluate(task: Task, model: nn.Module) -> tuple[dict[str, float], Cells]:
    """Metrics on the clean and on every corrupted set, as they are logged, and the accuracies."""
    model.eval()
    found = []
    for images in task.images:
        logits = torch.cat([model(batch) for batch in images.split(EVALUATION_BATCH)])
        found.append(measure(logits, task.labels))
    clean, corrupted = found[0], iter(found[1:])
    by_kind = {kind.name: [next(corrupted) for _ in kind.strengths] for kind in task.spec.suite.kinds}
    cells = {kind: [row["accuracy"] for row in rows] for kind, rows in by_kind.items()}
    groups, classes = families(task.spec.suite), task.data.classes
    kinds = {kind: mean([above_chance(a, classes) for a in row]) for kind, row in cells.items()}
    per_family = [mean([kinds[kind] for kind in names]) for names in groups.values()]
    level, robust = above_chance(clean["accuracy"], classes), mean(per_family)
    metrics = {"clean": level, "robust": robust, "worst_family": min(per_family), "drop": level - robust}
    metrics |= {f"kind/{kind}": value for kind, value in kinds.items()}
    for name, value in clean.items():
        over_kinds = {kind: mean([row[name] for row in rows]) for kind, rows in by_kind.items()}
        metrics[f"clean/{name}"] = value
        metrics[f"corrupted/{name}"] = mean([mean([over_kinds[kind] for kind in names]) for names in groups.values()])
    return metrics, {"clean": [clean["accuracy"]], **cells}


@torch.no_grad()
def evaluate_weights(task: Task, model: nn.Module) -> list[float]:
    """Clean accuracy under the suite's weight noise, at each of its strengths."""
    model.eval()
    suite, parameters = task.spec.suite, dict(model.named_parameters())
    rows = []
    for strength in suite.weight_strengths:
        accuracies = []
        for draw in range(suite.weight_draws):
            noisy = perturbed(parameters, strength, generator(suite.seed, "suite", "weights", draw))
            logits = functional_call(model, noisy, (task.images[0],))
            accuracies.append((logits.argmax(dim=1) == task.labels).double().mean().item())
        rows.append(mean(accuracies))
    return rows


def relative_mce(cells: Cells, control: Cells) -> float:
    clean, reference, ratios = cells["clean"][0], control["clean"][0], []
    for kind in cells.keys() - {"clean", "weights"}:
        lost = sum(reference - accuracy for accuracy in control[kind])
        if lost > 0:
            ratios.append(sum(clean - accuracy for accuracy in cells[kind]) / lost)
    return mean(ratios) if ratios else math.nan


# --- the search ---


def train_trial(
    task: Task, policy: Policy, draws: Draws, log: Callable[[dict[str, float], int], None]
) -> tuple[dict[str, float], Cells]:
    """Train one model and score it; `log` is told of every epoch. Returns the last scores."""
    spec = task.spec
    model = build_model(spec.model.name, spec.model.parameters, task.data.statistics, seed=spec.seed)
    model = model.to(task.inputs.dtype)
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=spec.optimizer.lr,
        weight_decay=spec.optimizer.weight_decay,
        **dict(spec.optimizer.options),
    )
    metrics: dict[str, float] = {}
    cells: Cells = {}
    rungs = rung_epochs(spec.stopping, spec.train.epochs)  # the last epoch among them
    for epoch in range(1, spec.train.epochs + 1):
        metrics = train_epoch(task, model, optimizer, policy, draws, epoch - 1)
        if epoch % spec.train.score_every == 0 or epoch in rungs:
            scores, cells = evaluate(task, model)
            metrics |= scores
        if epoch < spec.train.epochs:
            log(metrics, epoch)
    cells["weights"] = evaluate_weights(task, model)
    metrics["robust_weights"] = mean([above_chance(a, task.data.classes) for a in cells["weights"]])
    return metrics, cells


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
