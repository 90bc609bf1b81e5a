"""One trial in plain PyTorch, written from the formulas alone: what cohorts must agree with.

Nothing of the package's noises, schedules, policies or training is used; only its seeds, models and data are, so
that both sides start from the same weights and the same base draws.

for epoch, for batch in the epoch's order:
    soften targets; mix inputs and targets; add input noise; clip
    add noise to the weights in place; forward; backward; take the noise away
    clip the gradient; optimiser step
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from noise_search.data import Dataset
from noise_search.models import build_model
from noise_search.seeds import generator, numpy_generator
from noise_search.spec import ModelSpec, OptimizerSpec, TrainSpec

TermNode = Mapping[str, Any]  # a term as a card writes it


@dataclass(frozen=True, slots=True)
class Trained:
    """What a trial comes to: its state_dict, the loss of each step, the gradient norm of each before clipping."""

    state: dict[str, Tensor]
    losses: list[float]
    norms: list[float]


@dataclass(frozen=True, slots=True)
class Moment:
    """Everything a draw or a schedule is a function of."""

    seed: int
    step: int
    total: int
    full_batch: int
    dtype: torch.dtype


def train_alone(
    terms: Sequence[TermNode],
    *,
    seed: int,
    dataset: Dataset,
    model: ModelSpec,
    train: TrainSpec,
    optimizer: OptimizerSpec,
    dtype: torch.dtype,
) -> Trained:
    """Train one model with the noises of `terms` for `train.epochs` epochs."""
    network = _network(model, dataset, seed).to(dtype).train()
    stepper = _optimizer(optimizer, network)
    by_key = {(term["site"], term["noise"]): term for term in terms}
    samples, size = len(dataset.train.labels), train.batch_size
    total = math.ceil(samples / size) * train.epochs
    losses: list[float] = []
    norms: list[float] = []
    for epoch in range(train.epochs):
        order = torch.randperm(samples, generator=generator(seed, "order", epoch))
        for start in range(0, samples, size):
            moment = Moment(seed, len(losses), total, size, dtype)
            inputs, targets = _batch(dataset, order[start : start + size], by_key, moment)
            stepper.param_groups[0]["lr"] = _learning_rate(optimizer, moment)
            loss, norm = _step(network, stepper, inputs, targets, by_key, train.clip, moment)
            losses.append(loss)
            norms.append(norm)
    return Trained(network.state_dict(), losses, norms)


def factor(schedule: Mapping[str, Any], step: int, total: int) -> float:
    """Factor of the magnitude at one of `total` steps, by the closed forms."""
    t = step / (total - 1)
    kind = schedule["kind"]
    if kind == "constant":
        return 1.0
    start, stop = schedule["start"], schedule["stop"]
    if kind == "window":
        return 1.0 if start <= t <= stop else 0.0
    share = min(max((t - start) / (stop - start), 0.0), 1.0)
    if kind == "cosine":
        share = (1 - math.cos(math.pi * share)) / 2
    elif kind != "linear":
        raise NotImplementedError(kind)
    return float(schedule["a"] * (1 - share) + schedule["b"] * share)


def _network(model: ModelSpec, dataset: Dataset, seed: int) -> nn.Module:
    name, parameters, target, normalise = model.name, model.parameters, model.target, model.normalise
    return build_model(name, parameters, dataset.statistics, seed=seed, target=target, normalise=normalise)


def _optimizer(spec: OptimizerSpec, network: nn.Module) -> torch.optim.Optimizer:
    if spec.name == "adamw":
        return torch.optim.AdamW(network.parameters(), lr=spec.lr, weight_decay=spec.weight_decay, **dict(spec.options))
    return torch.optim.SGD(network.parameters(), lr=spec.lr, weight_decay=spec.weight_decay, **dict(spec.options))


def _learning_rate(spec: OptimizerSpec, moment: Moment) -> float:
    warmup = round(spec.warmup_fraction * moment.total)
    if moment.step < warmup:
        return spec.lr * (moment.step + 1) / warmup
    if spec.lr_schedule == "constant":
        return spec.lr
    angle = math.pi * (moment.step - warmup) / (moment.total - warmup)
    floor = spec.final_fraction * spec.lr
    return floor + (spec.lr - floor) * (1 + math.cos(angle)) / 2


def _batch(
    dataset: Dataset, index: Tensor, terms: Mapping[tuple[str, str], TermNode], moment: Moment
) -> tuple[Tensor, Tensor]:
    inputs = dataset.train.inputs[index].to(moment.dtype)
    targets = F.one_hot(dataset.train.labels[index], dataset.classes).to(moment.dtype)
    if smoothing := terms.get(("targets", "label_smoothing")):
        share = _magnitudes(smoothing, len(index), moment)[:, None]
        targets = targets - share * targets + share * (1 / dataset.classes)
    if mixup := terms.get(("inputs", "mixup")):
        inputs, targets = _mixed(inputs, targets, mixup, moment)
    if gaussian := terms.get(("inputs", "gaussian")):
        sigma = _magnitudes(gaussian, len(index), moment)
        rng = generator(moment.seed, "inputs", "gaussian", "xi", moment.step)
        xi = torch.randn((moment.full_batch, *inputs.shape[1:]), generator=rng, dtype=moment.dtype)
        inputs = inputs + torch.einsum("b,b...->b...", sigma, xi[: len(index)])
    low, high = dataset.input_range or (-math.inf, math.inf)
    return torch.clamp(inputs, low, high), targets


def _magnitudes(term: TermNode, size: int, moment: Moment) -> Tensor:
    """Magnitude of each sample of the batch at hand, from draws for a full one."""
    select = _uniform(term, "select", (moment.full_batch,), moment)[:size]
    level = _uniform(term, "level", (moment.full_batch,), moment)[:size]
    magnitude = term["magnitude"] * factor(term["schedule"], moment.step, moment.total)
    levelled = magnitude * level if term.get("level") == "uniform" else torch.full_like(level, magnitude)
    levelled[select >= term.get("fraction", 1.0)] = 0.0
    return levelled


def _uniform(term: TermNode, draw: str, shape: tuple[int, ...], moment: Moment) -> Tensor:
    rng = generator(moment.seed, term["site"], term["noise"], draw, moment.step)
    return torch.rand(shape, generator=rng, dtype=moment.dtype)


def _mixed(inputs: Tensor, targets: Tensor, term: TermNode, moment: Moment) -> tuple[Tensor, Tensor]:
    rng = numpy_generator(moment.seed, "inputs", "mixup", "lam", moment.step)
    partner = _uniform(term, "partner", (moment.full_batch,), moment)[: len(inputs)].argsort(stable=True)
    new_inputs, new_targets = inputs.clone(), targets.clone()
    for sample, alpha in enumerate(_magnitudes(term, len(inputs), moment).tolist()):
        share = rng.beta(alpha or 1.0, alpha or 1.0)  # a sample that is left alone uses up its draw all the same
        if alpha:
            lam, other = max(share, 1 - share), int(partner[sample])
            new_inputs[sample] = lam * inputs[sample] + (1 - lam) * inputs[other]
            new_targets[sample] = lam * targets[sample] + (1 - lam) * targets[other]
    return new_inputs, new_targets


def _step(
    network: nn.Module,
    stepper: torch.optim.Optimizer,
    inputs: Tensor,
    targets: Tensor,
    terms: Mapping[tuple[str, str], TermNode],
    clip: float | None,
    moment: Moment,
) -> tuple[float, float]:
    clean = {name: value.detach().clone() for name, value in network.named_parameters()}
    if relative := terms.get(("weights", "relative")):
        _shake(network, relative, moment)
    stepper.zero_grad()
    loss = F.cross_entropy(network(inputs), targets)
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    with torch.no_grad():
        for name, value in network.named_parameters():
            value.copy_(clean[name])
    norm = nn.utils.clip_grad_norm_(network.parameters(), math.inf if clip is None else clip)
    stepper.step()
    return loss.item(), norm.item()


@torch.no_grad()
def _shake(network: nn.Module, term: TermNode, moment: Moment) -> None:
    if float(_uniform(term, "select", (), moment)) >= term["fraction"]:
        return
    magnitude = term["magnitude"] * factor(term["schedule"], moment.step, moment.total)
    if term["level"] == "uniform":
        magnitude *= float(_uniform(term, "level", (), moment))
    for name, value in network.named_parameters():
        if value.dim() > 1:
            rng = generator(moment.seed, "weights", "relative", name, moment.step)
            rms = math.sqrt(float((value * value).mean()))
            value.add_(magnitude * rms * torch.randn(value.shape, generator=rng, dtype=moment.dtype))
