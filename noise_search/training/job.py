"""Jobs, results, and the workbench a job runs on: plain frozen data in, plain data out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor, nn

from noise_search.corruptions.suites import Suite
from noise_search.data import Dataset, Split, load
from noise_search.errors import CallerError, raise_if_any
from noise_search.evaluation import Yardstick, make_yardstick
from noise_search.models import build_model, forward_mistakes
from noise_search.optimizers import make_optimizer
from noise_search.policy import Policy
from noise_search.spec import DataSpec, ModelSpec, OptimizerSpec, SweepSpec, TrainSpec

Resolved = Literal["fused", "looped"]
ScoredOn = Literal["validation", "test"]


@dataclass(frozen=True, slots=True)
class Setup:
    """What all jobs of a sweep share; names are looked up where the job runs."""

    data: DataSpec
    model: ModelSpec
    optimizer: OptimizerSpec
    train: TrainSpec
    suite: Suite
    mode: Resolved
    score_mode: Resolved


@dataclass(frozen=True, slots=True)
class Member:
    """One slot of a job: the caller's name for it, the policy, the seed of all its draws, where its state lies."""

    name: str
    policy: Policy
    seed: int
    checkpoint: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """Members in slot order, trained together from one epoch to another.

    Args:
        folder: Where checkpoints lie; None: there are none.
        keep: Whether to write one for each member after the last epoch.
        averaged: Whether scores before the end of the training are those of weights averaged over their epoch.
        hits: Whether results say of each sample in how many cells it was classified rightly; and how models with batch
            norm score with its statistics of clean data, see `batch_norm`.
    """

    members: tuple[Member, ...]
    from_epoch: int
    to_epoch: int
    folder: str | None = None
    keep: bool = False
    averaged: bool = False
    hits: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """What a job found out about one member.

    Args:
        scores: Named numbers at `epoch`: clean, robust, worst_family, drop, robust_weights and details.
        cells: Kind -> accuracy at each severity; `clean` and `weights` among them.
        history: One dictionary an epoch: epoch, lr, train/loss, magnitude/TERM, and scores where scored.
        diverged: Whether loss or gradient stopped being finite; scores are then the finite worst.
        correct: Which validation samples were classified rightly, for each epoch that was scored; see `metrics.packed`.
        hits: Family -> in how many of its cells each sample was classified rightly, where the job asked for it; see
            `metrics.counts_packed`.
        checkpoint: Where the state after `epoch` lies.
        retrained: Epochs that were trained again because a checkpoint could not be used.
    """

    member: str
    epoch: int
    seed: int
    scores: Mapping[str, float]
    cells: Mapping[str, list[float]]
    history: tuple[Mapping[str, float], ...]
    diverged: bool
    seconds: float
    correct: Mapping[int, str] = field(default_factory=dict)
    hits: Mapping[str, str] = field(default_factory=dict)
    checkpoint: Mapping[str, str] | None = None
    retrained: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Workbench:
    """Data on the device, the model's skeleton and the yardstick: built once, used by every job of a sweep.

    stochastic: Whether the model itself draws random numbers when training, as dropout does.
    shared: Whether two models of the setup have a module or tensor in common, as those of one's own may: only one of
        them may then be at work at a time.
    scored_on: Split that trials are scored on.
    """

    setup: Setup
    dataset: Dataset
    model: nn.Module
    train: Split
    yardstick: Yardstick
    device: torch.device
    dtype: torch.dtype
    stochastic: bool
    shared: bool
    scored_on: ScoredOn = "validation"

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch, the last one possibly smaller."""
        return math.ceil(len(self.train) / self.setup.train.batch_size)

    @property
    def total_steps(self) -> int:
        """Steps of the whole training, over which schedules and learning rates run."""
        return self.steps_per_epoch * self.setup.train.epochs


def make_workbench(
    setup: Setup,
    *,
    dataset: Dataset | None = None,
    dtype: torch.dtype = torch.float32,
    scored_on: ScoredOn = "validation",
) -> Workbench:
    """Load the data, draw the suite on the split that is scored, build the model's skeleton.

    Args:
        setup: Names and numbers.
        dataset: Already loaded data; None loads `setup.data`.
        dtype: Of inputs and parameters; float64 for comparisons with an oracle.
        scored_on: Validation steers a search; test is read where a chosen policy is measured, and nowhere else.

    Raises:
        CallerError: When torch refuses the optimiser's options, a batch would hold a single sample, which batch
            norm cannot take, or the model does not suit the data.
    """
    data = dataset or load_dataset(setup.data)
    device = resolve_device(setup.train.device)
    train = data.train.to(device, dtype)
    scored = (data.test if scored_on == "test" else data.validation).to(device, dtype)
    _refuse_batches_of_one(len(train), setup.train.batch_size)
    model = skeleton(setup, data).to(device, dtype)
    if setup.model.target is not None:
        raise_if_any(forward_mistakes(model, train.inputs, data.classes))
    make_optimizer(setup.optimizer, model.parameters())  # refuses bad options here, before anything is written
    yardstick = make_yardstick(setup.suite, scored, data.classes)
    stochastic = _draws_random_numbers(model, train.inputs[:2])
    shared = setup.model.target is not None and _have_parts_in_common(model, skeleton(setup, data))
    return Workbench(setup, data, model, train, yardstick, device, dtype, stochastic, shared, scored_on)


def provisional_workbench(spec: SweepSpec, *, dataset: Dataset | None = None) -> Workbench:
    """Workbench for `modes.resolve_modes`, from a configuration whose modes are not settled; see `make_workbench`."""
    setup = Setup(spec.data, spec.model, spec.optimizer, spec.train, spec.suite, mode="fused", score_mode="looped")
    return make_workbench(setup, dataset=dataset)


def _refuse_batches_of_one(samples: int, batch_size: int) -> None:
    if samples % batch_size == 1:
        larger = next(size for size in range(batch_size + 1, samples + 1) if samples % size != 1)
        raise CallerError(
            f"train.batch_size: {batch_size} leaves a last batch of one of {samples} samples, "
            f"got a remainder of 1; try {larger}"
        )


def load_dataset(spec: DataSpec) -> Dataset:
    """Load the data set that `spec` names; the last one is kept, see `data.load`."""
    return load(spec)


def skeleton(setup: Setup, data: Dataset, *, seed: int = 0) -> nn.Module:
    """Model of a sweep with initial weights of `seed`, on the CPU in float32."""
    model = setup.model
    return build_model(
        model.name,
        model.parameters,
        data.statistics,
        seed=seed,
        target=model.target,
        normalise=model.normalise,
    )


def own_model(workbench: Workbench) -> Workbench:
    """The same workbench with a skeleton of its own, for a thread that trains beside others."""
    model = skeleton(workbench.setup, workbench.dataset).to(workbench.device, workbench.dtype)
    return replace(workbench, model=model)


def resolve_device(name: str) -> torch.device:
    """Device for `train.device`; "auto" is CUDA where there is one.

    Raises:
        CallerError: For a device that torch does not know or does not have.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        if name.split(":")[0] not in ("cpu", "cuda", "mps"):
            raise ValueError(name)
        torch.empty(0, device=name)
        return torch.device(name)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise CallerError(f"train.device: expected auto, cpu, cuda or mps at hand, got {name!r}") from error


def _have_parts_in_common(one: nn.Module, other: nn.Module) -> bool:
    parts, others = ({id(part) for part in (*m.modules(), *m.parameters(), *m.buffers())} for m in (one, other))
    return not parts.isdisjoint(others)


def _draws_random_numbers(model: nn.Module, inputs: Tensor) -> bool:
    """Whether a forward pass in train mode moves the global generator."""
    devices = [inputs.device] if inputs.device.type == "cuda" else []
    buffers = {name: value.clone() for name, value in model.named_buffers()}
    with torch.random.fork_rng(devices=devices), torch.no_grad():
        before = _generator_state(inputs.device)
        torch.func.functional_call(model.train(), buffers, (inputs,))
        return not torch.equal(before, _generator_state(inputs.device))


def _generator_state(device: torch.device) -> Tensor:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()
