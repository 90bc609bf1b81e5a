"""Training and scoring by hand: one trial, one model, plain PyTorch. Part of `handwritten_search.py`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from handwritten_policies import Draws, Policy, factor, noisy_batch, perturb_weights, restore_weights
from noise_search.config import build, compose
from noise_search.corruptions.suites import families
from noise_search.corruptions.weights import perturbed
from noise_search.data import Dataset
from noise_search.evaluation import make_yardstick
from noise_search.models import build_model
from noise_search.search.stopping import rung_epochs
from noise_search.seeds import generator
from noise_search.spec import SweepSpec
from noise_search.training import load_dataset

Cells = dict[str, list[float]]  # kind -> accuracy at each severity
EVALUATION_BATCH = 1000
CALIBRATION_BINS = 15


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


# --- a trial ---


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
