"""Fused or looped: can this model be fused, which way is faster here, and do slots change the bits."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from noise_search.data import Split
from noise_search.evaluation import Scores
from noise_search.policy import Policy, Term
from noise_search.spec import Mode
from noise_search.training.fusability import refuse_unfusable, unfusable, unfusable_scoring
from noise_search.training.groups import RunGroup, side_by_side
from noise_search.training.job import Job, Member, Resolved, Workbench
from noise_search.training.loop import make_trainer, open_cohort, score_cohort
from noise_search.training.state import State, unstack
from noise_search.training.threads import cpu_threads

Found = TypeVar("Found")

_log = logging.getLogger(__name__)
_FIRST_BATCHES = 4
_TIMED_SECONDS = 0.15  # of a run: in much less, what it takes to start threads decides
_TURNS = 5
_CLEARLY = 1.3
_PATIENCE_SECONDS = 4.0
_PROBED_BATCHES = 2
# One noise at each site, so that timing and probe go through the code that trials go through.
_NOISY = Policy((Term("inputs", "gaussian", 0.1, 0.5), Term("weights", "relative", 0.05)))


def resolve_modes(workbench: Workbench, mode: Mode, score_mode: Mode, *, width: int) -> tuple[Resolved, Resolved]:
    """Modes to train and to score in, those left to us chosen by timing both for a few steps.

    Args:
        workbench: Of the sweep; its own modes are not looked at.
        mode, score_mode: As configured.
        width: Trials of a cohort.

    Raises:
        CallerError: When fused is asked for and the model refuses it.
    """
    refuse_unfusable(workbench, mode, score_mode)
    if mode != "looped" and (reason := unfusable(workbench)):
        _log.warning("trials train one after another: %s", reason)
        return "looped", "looped"
    training = faster_training(workbench, width=width) if mode == "auto" else mode
    if training == "looped":
        return "looped", "looped"  # a cohort of one: nothing to score together
    if score_mode != "looped" and (reason := unfusable_scoring(workbench)):
        _log.warning("trials are scored one after another: %s", reason)
        return training, "looped"
    scoring = (
        _faster(lambda way: seconds_to_score(workbench, "fused", way, width=width))
        if score_mode == "auto"
        else score_mode
    )
    return training, scoring


def faster_training(workbench: Workbench, *, width: int) -> Resolved:
    """What `train.mode=auto` chooses for cohorts of `width` trials, by training a few steps each way."""
    batches = _enough_batches(workbench, width)
    return _faster(lambda way: seconds_to_train(workbench, way, width=width, batches=batches))


def _enough_batches(workbench: Workbench, width: int) -> int:
    """As many as take a while fused; finding out also warms up."""
    seconds = seconds_to_train(workbench, "fused", width=width, batches=_FIRST_BATCHES)
    enough = math.ceil(_FIRST_BATCHES * _TIMED_SECONDS / seconds)
    return min(max(enough, _FIRST_BATCHES), workbench.steps_per_epoch)


def slots_are_bitwise(workbench: Workbench) -> bool:
    """Whether a trial comes out bit for bit the same in cohorts of width 2 and 5, in another slot."""
    if workbench.setup.mode == "looped":
        return True
    short = _shortened(workbench, "fused", _PROBED_BATCHES)
    with cpu_threads(1):  # one lane, so that each cohort is one group
        narrow, wide = _in_groups(short, 2, _train_group), _in_groups(short, 5, _train_group)
    return all(torch.equal(narrow[0][key], wide[3][key]) for key in narrow[0])


def _faster(seconds: Callable[[Resolved], float]) -> Resolved:
    """The way that took less time in the best of its runs, which take turns until one is clearly ahead."""
    best: dict[Resolved, float] = {"fused": math.inf, "looped": math.inf}
    started = time.perf_counter()
    for turn in range(_TURNS):
        for way in best:
            best[way] = min(best[way], seconds(way))
        clear = max(best.values()) > _CLEARLY * min(best.values())
        # Not after the first turn, which also warms up, unless turns are too long to wait for another.
        if (clear and turn > 0) or time.perf_counter() - started > _PATIENCE_SECONDS:
            break
    _log.info("a few steps took %.3f s fused, %.3f s looped", best["fused"], best["looped"])
    return "fused" if best["fused"] <= best["looped"] else "looped"


def seconds_to_train(workbench: Workbench, mode: Resolved, *, width: int, batches: int) -> float:
    """Seconds in which `width` noisy trials train so many batches, in the groups and lanes of a job.

    Args:
        workbench: Of the sweep; batches beyond its training split are left out.
        mode: Fused or looped.
        width: Trials.
        batches: Of each trial.
    """
    short = _shortened(workbench, mode, batches)
    return _seconds(lambda: _in_groups(short, width, _train_group), workbench.device)


def seconds_to_score(workbench: Workbench, mode: Resolved, score_mode: Resolved, *, width: int) -> float:
    """Seconds in which `width` trials are scored once, in the groups and lanes of a job.

    Args:
        workbench: Of the sweep.
        mode, score_mode: In which they train, and are scored.
        width: Trials.
    """
    bench = replace(workbench, setup=replace(workbench.setup, mode=mode, score_mode=score_mode))
    return _seconds(lambda: _in_groups(bench, width, _score_group), workbench.device)


def _seconds(run: Callable[[], object], device: torch.device) -> float:
    started = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def _in_groups(workbench: Workbench, width: int, run: RunGroup[Found]) -> list[Found]:
    return side_by_side(Job(_members(width), 0, 1), workbench, None, run, lambda _: None)


def _train_group(job: Job, workbench: Workbench, states: Sequence[State], _on_epoch: object) -> list[dict[str, Tensor]]:
    cohort = open_cohort(workbench, states)
    make_trainer(job.members, workbench)(cohort, 0, None)
    return unstack(cohort)


def _score_group(_job: Job, workbench: Workbench, states: Sequence[State], _on_epoch: object) -> list[Scores]:
    return score_cohort(open_cohort(workbench, states), workbench)


def _members(width: int) -> tuple[Member, ...]:
    return tuple(Member(str(slot), _NOISY, 0) for slot in range(width))


def _shortened(workbench: Workbench, mode: Resolved, batches: int) -> Workbench:
    samples = min(batches * workbench.setup.train.batch_size, len(workbench.train))
    train = Split(workbench.train.inputs[:samples], workbench.train.labels[:samples])
    return replace(workbench, setup=replace(workbench.setup, mode=mode), train=train)
