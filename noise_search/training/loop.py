"""The one training loop, for a cohort of any width.

for epoch in from_epoch .. to_epoch:
    for batch in the epoch's order, the same for all trials of one seed:
        inputs, targets <- every input and target noise        (noises.noisy_batch)
        weights'        <- every weight noise                  (noises.noisy_weights)
        gradients       <- at weights', fused or one trial     (engines)
        clip each trial's gradient
        gradients       <- every gradient noise                (noises.noisy_gradients)
        mask members that diverged
        optimiser step on the clean weights
    score on the yardstick where the epoch asks for it         (evaluation; averaging)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from noise_search.evaluation import Scores, fused_logits, looped_logits, score, weight_robustness
from noise_search.metrics import above_chance
from noise_search.noises import Batch, CohortTerm, noisy_batch, noisy_gradients, noisy_weights
from noise_search.optimizers import learning_rates, make_optimizer
from noise_search.policy import cohort_terms
from noise_search.seeds import generator, stable_hash
from noise_search.training.averaging import EpochMean
from noise_search.training.batch_norm import REESTIMATED, has_batch_norm, reestimated, score_reestimated
from noise_search.training.engines import Engine, clip_per_trial, fused_engine, looped_engine, masked
from noise_search.training.groups import side_by_side
from noise_search.training.job import Job, Member, Result, Workbench
from noise_search.training.state import (
    CohortState,
    State,
    restore_optimizer,
    stack_part,
    unstack,
)

History = list[list[dict[str, float]]]
Trainer = Callable[[CohortState, int, EpochMean | None], list[dict[str, float]]]
Progress = Callable[[int], None]
WORST = {"clean": 0.0, "robust": 0.0, "worst_family": 0.0, "drop": 0.0, "robust_weights": 0.0}


def run_job(
    job: Job,
    workbench: Workbench,
    states: Sequence[State] | None = None,
    *,
    on_epoch: Progress | None = None,
) -> tuple[list[Result], list[dict[str, Tensor]]]:
    """Train and score the members of a job, fused or each by itself, as the workbench's setup says.

    On a CPU they are shared out among its threads, see `groups`.

    Args:
        job: Members in slot order, and the epochs to train.
        workbench: Data, model and yardstick.
        states: State of each member after `job.from_epoch` epochs; None starts from initial weights.
        on_epoch: Told how many member-epochs were just finished, and in between, every second or so, of 0: what it
            raises ends the training.

    Returns:
        Results and states, in slot order.
    """
    found = side_by_side(job, workbench, states, _run_group, on_epoch or (lambda _: None))
    return [result for result, _ in found], [state for _, state in found]


def _run_group(
    job: Job, workbench: Workbench, states: Sequence[State], on_epoch: Progress
) -> list[tuple[Result, dict[str, Tensor]]]:
    """Train members together, and score them; result and state of each."""
    started = time.monotonic()
    cohort = judged = open_cohort(workbench, states)
    train = make_trainer(job.members, workbench, on_batch=lambda: on_epoch(0))
    history: History = [[] for _ in job.members]
    correct: list[dict[int, str]] = [{} for _ in job.members]
    scored: list[Scores] | None = None
    for epoch in range(job.from_epoch, job.to_epoch):
        mean = EpochMean() if _is_averaged(epoch + 1, job, workbench) else None
        rows = train(cohort, epoch, mean)
        judged = mean.of(cohort) if mean else cohort
        hits = job.hits and epoch + 1 == job.to_epoch
        scored = score_cohort(judged, workbench, hits=hits) if _is_scored(epoch + 1, job, workbench) else None
        for slot, row in enumerate(rows):
            history[slot].append(row | (scored[slot].named if scored else {}))
            if scored:
                correct[slot][epoch + 1] = scored[slot].correct
        on_epoch(len(job.members))
    assert scored is not None  # to_epoch is always scored
    if job.hits and has_batch_norm(workbench.model):
        scored = _with_reestimated(scored, judged, workbench)
    weights = weight_robustness(workbench.model, judged.parameters, judged.buffers, workbench.yardstick)
    seconds = (time.monotonic() - started) / len(job.members)
    alive = cohort.alive.tolist()
    results = [
        _result(member, job, scored[slot], weights[slot], history[slot], correct[slot], alive[slot], seconds, workbench)
        for slot, member in enumerate(job.members)
    ]
    return list(zip(results, unstack(cohort), strict=True))


def open_cohort(workbench: Workbench, states: Sequence[State]) -> CohortState:
    """Stack the states of a cohort's members, and make the optimiser over them."""
    parameters = stack_part(states, "parameters")
    optimizer = make_optimizer(workbench.setup.optimizer, parameters.values())
    restore_optimizer(optimizer, parameters, states)
    alive = torch.stack([state["alive"] for state in states]).to(workbench.device)
    return CohortState(parameters, stack_part(states, "buffers"), optimizer, alive)


def make_trainer(
    members: Sequence[Member], workbench: Workbench, *, on_batch: Callable[[], None] = lambda: None
) -> Trainer:
    """Function that trains a cohort for one epoch and returns a row of history for each member.

    It is given the cohort, the number of the epoch from 0, and where the weights' mean shall be taken, or None.

    Args:
        members: Of the cohort, in slot order.
        workbench: Data and model.
        on_batch: Called before every batch; what it raises ends the training.
    """
    setup, steps = workbench.setup, workbench.total_steps
    engine = (looped_engine if setup.mode == "looped" else fused_engine)(workbench.model.train())
    seeds = [member.seed for member in members]
    terms = cohort_terms(
        [member.policy for member in members],
        seeds=seeds,
        steps=steps,
        dtype=workbench.dtype,
    )
    rates = learning_rates(setup.optimizer, steps)

    def train_epoch(cohort: CohortState, epoch: int, mean: EpochMean | None) -> list[dict[str, float]]:
        first = epoch * workbench.steps_per_epoch
        total = torch.zeros(len(members), dtype=torch.float64, device=workbench.device)
        for offset, (batch, size) in enumerate(_batches(workbench, seeds, epoch)):
            on_batch()
            with _model_randomness(workbench, seeds[0], first + offset):
                losses = _step(cohort, batch, terms, first + offset, rates[first + offset], engine, workbench)
            total += losses.double() * size
            if mean:
                mean.add(cohort)
        mean_loss = (total / len(workbench.train)).tolist()
        last = first + workbench.steps_per_epoch - 1
        return [
            {"epoch": epoch + 1, "lr": rates[last], "train/loss": mean_loss[slot]}
            | _epoch_magnitudes(member, first, last + 1, steps)
            for slot, member in enumerate(members)
        ]

    return train_epoch


def _step(
    cohort: CohortState,
    clean: Batch,
    terms: Sequence[CohortTerm],
    step: int,
    rate: float,
    engine: Engine,
    workbench: Workbench,
) -> Tensor:
    """One optimiser step of all members; returns their losses, (trials,)."""
    train, input_range = workbench.setup.train, workbench.dataset.input_range
    batch = noisy_batch(clean, terms, step=step, full_batch=train.batch_size, input_range=input_range)
    weights = noisy_weights(cohort.parameters, terms, step=step)
    losses, gradients, buffers = engine(weights, cohort.buffers, batch.inputs, batch.targets)
    clipped, norms = clip_per_trial(gradients, train.clip)
    noisy = noisy_gradients(clipped, terms, step=step)
    cohort.alive &= losses.isfinite() & norms.isfinite()
    for parameter, gradient in zip(cohort.parameters.values(), masked(noisy, cohort.alive).values(), strict=True):
        parameter.grad = gradient
    cohort.buffers = buffers
    cohort.optimizer.param_groups[0]["lr"] = rate
    cohort.optimizer.step()
    return losses


def _batches(workbench: Workbench, seeds: Sequence[int], epoch: int) -> Iterator[tuple[Batch, int]]:
    """Batches of an epoch for every member, in the order its seed gives; with each its number of samples."""
    size = workbench.setup.train.batch_size
    unique = list(dict.fromkeys(seeds))
    slot_of = [unique.index(seed) for seed in seeds]
    orders = [torch.split(_order(workbench, seed, epoch), size) for seed in unique]
    targets = F.one_hot(workbench.train.labels, workbench.dataset.classes).to(workbench.dtype)
    for indices in zip(*orders, strict=True):
        inputs = _spread([workbench.train.inputs[index] for index in indices], slot_of)
        yield Batch(inputs, _spread([targets[index] for index in indices], slot_of)), len(indices[0])


def _order(workbench: Workbench, seed: int, epoch: int) -> Tensor:
    rng = generator(seed, "order", epoch, device=workbench.device)
    return torch.randperm(len(workbench.train), generator=rng, device=workbench.device)


def _spread(per_seed: list[Tensor], slot_of: list[int]) -> Tensor:
    """(trials, ...) from one tensor a seed; a view where there is only one."""
    if len(per_seed) == 1:
        return per_seed[0].expand(len(slot_of), *per_seed[0].shape)
    return torch.stack([per_seed[index] for index in slot_of])


@contextmanager
def _seeded(workbench: Workbench, seed: int, step: int) -> Iterator[None]:
    devices = [workbench.device] if workbench.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(stable_hash(seed, "model", step))
        yield


def _model_randomness(workbench: Workbench, seed: int, step: int) -> AbstractContextManager[None]:
    """Seed what the model itself draws, such as dropout masks; nothing to do for models that draw nothing."""
    return _seeded(workbench, seed, step) if workbench.stochastic else nullcontext()


def _epoch_magnitudes(member: Member, first: int, stop: int, steps: int) -> dict[str, float]:
    """Mean magnitude of each term over an epoch's steps: the schedule as a curve."""
    tables = member.policy.tabulate(steps)
    return {f"magnitude/{key}": float(table[first:stop].mean()) for key, table in tables.items()}


def _is_scored(epochs_done: int, job: Job, workbench: Workbench) -> bool:
    train = workbench.setup.train
    return epochs_done in (job.to_epoch, train.epochs) or epochs_done % train.score_every == 0


def _is_averaged(epochs_done: int, job: Job, workbench: Workbench) -> bool:
    return job.averaged and epochs_done < workbench.setup.train.epochs and _is_scored(epochs_done, job, workbench)


def score_cohort(cohort: CohortState, workbench: Workbench, *, hits: bool = False) -> list[Scores]:
    """Scores of every member as it now is, fused or one after another as the setup says, perhaps with hits."""
    predictor = fused_logits if workbench.setup.score_mode == "fused" else looped_logits
    model = workbench.model
    return score(model, predictor(model), cohort.parameters, cohort.buffers, workbench.yardstick, hits=hits)


def _with_reestimated(scored: Sequence[Scores], cohort: CohortState, workbench: Workbench) -> list[Scores]:
    """Scores with those beside them that the same weights have with batch norm's statistics of clean data."""
    buffers = reestimated(
        workbench.model,
        cohort.parameters,
        cohort.buffers,
        workbench.train.inputs,
        batch_size=workbench.setup.train.batch_size,
    )
    again = score_cohort(replace(cohort, buffers=buffers), workbench)
    more = [{score_reestimated(key): one.named[key] for key in REESTIMATED} for one in again]
    return [replace(one, named=one.named | extra) for one, extra in zip(scored, more, strict=True)]


def _result(
    member: Member,
    job: Job,
    scored: Scores,
    weights: list[float],
    history: list[dict[str, float]],
    correct: Mapping[int, str],
    alive: bool,
    seconds: float,
    workbench: Workbench,
) -> Result:
    normal = [above_chance(value, workbench.dataset.classes) for value in weights]
    named: Mapping[str, float] = scored.named | {"robust_weights": sum(normal) / len(normal)}
    return Result(
        member=member.name,
        epoch=job.to_epoch,
        seed=member.seed,
        scores=named if alive else {**named, **WORST},
        cells={**scored.cells, "weights": weights},
        history=tuple(history),
        diverged=not alive,
        seconds=seconds,
        correct=correct,
        hits=scored.hits,
    )
