"""One trial in plain PyTorch, written from the formulas alone: what cohorts must agree with.

Nothing of the package's noises, schedules, policies or training is used; only its seeds, models and data are, so
that both sides start from the same weights and the same base draws.

for epoch, for batch in the epoch's order:
    flip and soften targets; mix inputs and targets; add input noise; clip
    add noise to the weights in place; forward; backward; take the noise away
    clip the gradient; add noise to it; optimiser step
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import oracle_noises
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
    if flip := terms.get(("targets", "label_flip")):
        draw = _sample_draw(flip, _uniform, len(index), moment)
        targets = oracle_noises.label_flip(targets, _magnitudes(flip, len(index), moment).tolist(), draw)
    if smoothing := terms.get(("targets", "label_smoothing")):
        targets = oracle_noises.label_smoothing(targets, _magnitudes(smoothing, len(index), moment).tolist())
    for name, mixed in (("mixup", oracle_noises.mixup), ("cutmix", oracle_noises.cutmix)):
        if term := terms.get(("inputs", name)):
            draw = _sample_draw(term, _uniform, len(index), moment)
            rng = numpy_generator(moment.seed, "inputs", name, "lam", moment.step)
            inputs, targets = mixed(inputs, targets, _magnitudes(term, len(index), moment).tolist(), draw, rng)
    inputs = _noisy_inputs(inputs, terms, moment)
    low, high = dataset.input_range or (-math.inf, math.inf)
    return torch.clamp(inputs, low, high), targets


def _noisy_inputs(inputs: Tensor, terms: Mapping[tuple[str, str], TermNode], moment: Moment) -> Tensor:
    if shot := terms.get(("inputs", "shot")):
        rng = generator(moment.seed, "inputs", "shot", "counts", moment.step)
        inputs = oracle_noises.shot(inputs, _magnitudes(shot, len(inputs), moment).tolist(), rng)
    for name, noise, distribution in (
        ("speckle", oracle_noises.speckle, _normal),
        ("gaussian", oracle_noises.gaussian, _normal),
        ("uniform", oracle_noises.uniform, _uniform),
        ("impulse", oracle_noises.impulse, _uniform),
        ("erase", oracle_noises.erase, _uniform),
    ):
        if term := terms.get(("inputs", name)):
            draw = _sample_draw(term, distribution, len(inputs), moment)
            inputs = noise(inputs, _magnitudes(term, len(inputs), moment).tolist(), draw)
    return inputs


def _sample_draw(term: TermNode, distribution: Callable[..., Tensor], size: int, moment: Moment) -> oracle_noises.Draw:
    """Draws of a noise for the samples of the batch at hand, the first of those for a full one."""
    return lambda name, shape: distribution(term, name, (moment.full_batch, *shape), moment)[:size]


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


def _normal(term: TermNode, draw: str, shape: tuple[int, ...], moment: Moment) -> Tensor:
    rng = generator(moment.seed, term["site"], term["noise"], draw, moment.step)
    return torch.randn(shape, generator=rng, dtype=moment.dtype)


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
    _shake(network, terms, moment)
    stepper.zero_grad()
    loss = F.cross_entropy(network(inputs), targets)
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    with torch.no_grad():
        for name, value in network.named_parameters():
            value.copy_(clean[name])
    norm = nn.utils.clip_grad_norm_(network.parameters(), math.inf if clip is None else clip)
    _shake_gradients(network, terms, moment)
    stepper.step()
    return loss.item(), norm.item()


@torch.no_grad()
def _shake(network: nn.Module, terms: Mapping[tuple[str, str], TermNode], moment: Moment) -> None:
    for name, noise, distribution in (
        ("relative", oracle_noises.relative, _normal),
        ("additive", oracle_noises.additive, _normal),
        ("dropconnect", oracle_noises.dropconnect, _uniform),
    ):
        term = terms.get(("weights", name))
        if term and (magnitude := _batch_magnitude(term, moment)):
            for layer, value in network.named_parameters():
                if value.dim() > 1:
                    value.copy_(noise(value, magnitude, layer, _layer_draw(term, distribution, moment)))


@torch.no_grad()
def _shake_gradients(network: nn.Module, terms: Mapping[tuple[str, str], TermNode], moment: Moment) -> None:
    term = terms.get(("gradients", "gaussian"))
    if term and (magnitude := _batch_magnitude(term, moment)):
        for layer, value in network.named_parameters():
            assert value.grad is not None
            value.grad = oracle_noises.relative(value.grad, magnitude, layer, _layer_draw(term, _normal, moment))


def _layer_draw(term: TermNode, distribution: Callable[..., Tensor], moment: Moment) -> oracle_noises.LayerDraw:
    return lambda name, shape: distribution(term, name, shape, moment)


def _batch_magnitude(term: TermNode, moment: Moment) -> float:
    """One magnitude for the whole batch; 0 where the batch was not chosen."""
    if float(_uniform(term, "select", (), moment)) >= term.get("fraction", 1.0):
        return 0.0
    magnitude = float(term["magnitude"] * factor(term["schedule"], moment.step, moment.total))
    return magnitude * float(_uniform(term, "level", (), moment)) if term["level"] == "uniform" else magnitude
