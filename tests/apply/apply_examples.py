"""Small trainings of one's own with a bound card, and the same in a search."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
import yaml
from torch import Tensor, nn

from noise_search.apply import BoundNoise
from noise_search.config import config_folder
from noise_search.corruptions.suites import suite_from_mapping
from noise_search.data import DATASETS, Dataset, Split
from noise_search.models import CnnParameters, MlpParameters
from noise_search.optimizers import learning_rates, make_optimizer
from noise_search.policy import Card, Policy, Term
from noise_search.schedules import Schedule
from noise_search.seeds import generator
from noise_search.spec import DataSpec, ModelSpec, OptimizerSpec, TrainSpec
from noise_search.training import Job, Member, Setup, Workbench, make_workbench, run_job
from noise_search.training.job import skeleton

MODELS = {
    "mlp": ModelSpec("mlp", MlpParameters((32, 32))),
    "cnn": ModelSpec("cnn", CnnParameters((8, 16), 32)),
    "cnn with batch norm": ModelSpec("cnn", CnnParameters((8, 16), 32, "batch")),
}
ADAMW = OptimizerSpec("adamw", 5e-3, 0.01, warmup_fraction=0.1)
SGD = OptimizerSpec("sgd", 0.05, 5e-4, (("momentum", 0.9),), warmup_fraction=0.1)
IMAGES = {"modality": "images", "input_range": [0.0, 1.0]}
EPOCHS, BATCH, STEPS = 2, 32, 10


def _curve(kind: str, **parameters: float) -> Schedule:
    return Schedule(kind, tuple(sorted(parameters.items())))


# Every noise of the registry at once, with every knob it has.
EVERY_NOISE = Policy(
    (
        Term("inputs", "mixup", 0.8, 0.5, schedule=_curve("cosine", a=1.0, b=0.2, start=0.1, stop=0.9)),
        Term("inputs", "cutmix", 1.0, 0.5, schedule=_curve("linear", a=0.5, b=1.0, start=0.0, stop=1.0)),
        Term("inputs", "shot", 0.1, 0.6, "uniform", _curve("linear", a=0.0, b=1.0, start=0.0, stop=0.7)),
        Term("inputs", "speckle", 0.4, 0.6, "uniform", _curve("cosine", a=0.2, b=1.0, start=0.0, stop=1.0)),
        Term("inputs", "gaussian", 0.2, 0.5, "uniform", _curve("window", start=0.1, stop=0.9)),
        Term("inputs", "uniform", 0.2, 0.7),
        Term("inputs", "impulse", 0.2, 0.6, "uniform"),
        Term("inputs", "erase", 0.3, 0.5, "uniform"),
        Term("weights", "relative", 0.05, 0.8, "uniform", _curve("window", start=0.2, stop=0.9)),
        Term("weights", "additive", 0.02, 0.7, "uniform"),
        Term("weights", "dropconnect", 0.2, level="uniform", schedule=_curve("linear", a=0.2, b=1.0)),
        Term("targets", "label_flip", 0.2, schedule=_curve("linear", a=0.2, b=1.0, start=0.0, stop=0.5)),
        Term("targets", "label_smoothing", 0.2, 0.5, "uniform"),
        Term("gradients", "gaussian", 0.3, 0.7, "uniform", _curve("linear", a=1.0, b=0.1)),
    )
)


def card(*terms: Term, context: Mapping[str, Any] = IMAGES) -> Card:
    """A card of images in [0, 1] with these terms."""
    return Card(Policy(terms), context)


@cache
def digits() -> Dataset:
    """The first of the digits: with batches of 32, four full ones and one of 22."""
    whole: Dataset = DATASETS["digits"].load()
    first = {"train": 150, "validation": 60}
    splits = {name: getattr(whole, name) for name in first}
    cut = {name: Split(split.inputs[: first[name]], split.labels[: first[name]]) for name, split in splits.items()}
    return replace(whole, **cut)  # type: ignore[arg-type]  # two splits


def workbench(
    model: str, optimizer: OptimizerSpec, clip: float | None = None, dtype: torch.dtype = torch.float32
) -> Workbench:
    """What a search trains with, one member after another."""
    suite = suite_from_mapping(yaml.safe_load((config_folder() / "suite" / "digits.yaml").read_text()), "suite")
    small = replace(suite, kinds=suite.kinds[:1], weight_draws=1)
    train = TrainSpec(EPOCHS, batch_size=BATCH, clip=clip, device="cpu")
    setup = Setup(DataSpec("digits"), MODELS[model], optimizer, train, small, "looped", "looped")
    return make_workbench(setup, dataset=digits(), dtype=dtype)


def searched(bench: Workbench, policy: Policy, seed: int) -> dict[str, Tensor]:
    """Parameters and buffers of a trial, by the names that the model has for them."""
    _, (state,) = run_job(Job((Member("0", policy, seed),), 0, EPOCHS), bench)
    parts = {tuple(key.split("/", 1)): value for key, value in state.items() if "/" in key}
    return {name: value for (part, name), value in parts.items() if part in ("parameters", "buffers")}


class Training:
    """A plain loop over the digits with a bound card, batches in the order of a search; `run` goes on with it."""

    def __init__(self, bench: Workbench, applied: Card, seed: int, **bind: Any) -> None:
        setup = bench.setup
        self.bench, self.seed = bench, seed
        self.model = skeleton(setup, bench.dataset, seed=seed).to(bench.dtype).train()
        self.optimizer = make_optimizer(setup.optimizer, self.model.parameters())
        self.noise: BoundNoise = applied.bind(self.model, self.optimizer, total_steps=STEPS, seed=seed, **bind)

    def run(self, start: int = 0, stop: int = STEPS, *, prepared: Callable[[Tensor], Tensor] = lambda x: x) -> None:
        """Train from one step to another."""
        rates = learning_rates(self.bench.setup.optimizer, STEPS)
        for step, index in list(enumerate(self._batches()))[start:stop]:
            inputs, labels = prepared(self.bench.train.inputs[index]), self.bench.train.labels[index]
            with self.noise.step():
                inputs, targets = self.noise.batch(inputs, one_hot(labels, inputs.dtype))
                soft_cross_entropy(self.model(inputs), targets).backward()  # type: ignore[no-untyped-call]
            if self.bench.setup.train.clip is not None:
                nn.utils.clip_grad_norm_(self.model.parameters(), self.bench.setup.train.clip)
            self.optimizer.param_groups[0]["lr"] = rates[step]
            self.optimizer.step()
            self.optimizer.zero_grad()

    def _batches(self) -> Sequence[Tensor]:
        orders = [torch.randperm(150, generator=generator(self.seed, "order", epoch)) for epoch in range(EPOCHS)]
        return [index for order in orders for index in torch.split(order, BATCH)]


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean over samples of -sum_k y_k log p_k, summed in the order of a search."""
    return -(targets * F.log_softmax(logits, dim=-1)).sum(dim=-1).mean()


def one_hot(labels: Tensor, dtype: torch.dtype) -> Tensor:
    """Class indices as probabilities."""
    return F.one_hot(labels, 10).to(dtype)


def differing(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> list[str]:
    """Names whose tensors are not the same bit by bit, and names only one side has."""
    shared = one.keys() & other.keys()
    return sorted(one.keys() ^ other.keys()) + sorted(
        name for name in shared if not torch.equal(one[name], other[name])
    )
