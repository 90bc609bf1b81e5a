"""Fused or looped: can this model be fused, which way is faster here, and do slots change the bits."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace

import torch

from noise_search.data import Split
from noise_search.evaluation import fused_logits, looped_logits, score
from noise_search.policy import Policy, Term
from noise_search.spec import Mode
from noise_search.training.fusability import refuse_unfusable, unfusable, unfusable_scoring
from noise_search.training.job import Member, Resolved, Workbench
from noise_search.training.loop import make_trainer, open_cohort
from noise_search.training.state import unstack

_log = logging.getLogger(__name__)
_TIMED_BATCHES = 4
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
    training = mode if mode != "auto" else _faster(lambda way: _time_training(workbench, way, width))
    if training == "looped":
        return "looped", "looped"  # a cohort of one: nothing to score together
    if score_mode != "looped" and (reason := unfusable_scoring(workbench)):
        _log.warning("trials are scored one after another: %s", reason)
        return training, "looped"
    scoring = score_mode if score_mode != "auto" else _faster(lambda way: _time_scoring(workbench, way, width))
    return training, scoring


def slots_are_bitwise(workbench: Workbench) -> bool:
    """Whether a trial comes out bit for bit the same in cohorts of width 2 and 5, in another slot."""
    if workbench.setup.mode == "looped":
        return True
    short = _shortened(workbench, "fused", _PROBED_BATCHES)
    narrow, wide = _train_epoch(short, 2), _train_epoch(short, 5)
    return all(torch.equal(narrow[0][key], wide[3][key]) for key in narrow[0])


def _faster(seconds: Callable[[Resolved], float]) -> Resolved:
    fused, looped = seconds("fused"), seconds("looped")
    _log.info("a few steps took %.3f s fused, %.3f s looped", fused, looped)
    return "fused" if fused <= looped else "looped"


def _time_training(workbench: Workbench, mode: Resolved, width: int) -> float:
    short = _shortened(workbench, mode, _TIMED_BATCHES)
    return _best_of_two(lambda: _train_epoch(short, width), workbench.device)


def _time_scoring(workbench: Workbench, mode: Resolved, width: int) -> float:
    cohort = open_cohort(_members(width), workbench, None)
    predict = (fused_logits if mode == "fused" else looped_logits)(workbench.model)
    return _best_of_two(
        lambda: score(workbench.model, predict, cohort.parameters, cohort.buffers, workbench.yardstick),
        workbench.device,
    )


def _best_of_two(run: Callable[[], object], device: torch.device) -> float:
    """Seconds of the faster of two runs; the first one also warms up."""
    taken = []
    for _ in range(2):
        started = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - started)
    return min(taken)


def _train_epoch(workbench: Workbench, width: int) -> list[dict[str, torch.Tensor]]:
    """Train one epoch, looped members one after another as a job would."""
    members = _members(width)
    groups = [members] if workbench.setup.mode == "fused" else [(member,) for member in members]
    states = []
    for group in groups:
        cohort = open_cohort(group, workbench, None)
        make_trainer(group, workbench)(cohort, 0)
        states += unstack(cohort)
    return states


def _members(width: int) -> tuple[Member, ...]:
    return tuple(Member(str(slot), _NOISY, 0) for slot in range(width))


def _shortened(workbench: Workbench, mode: Resolved, batches: int) -> Workbench:
    samples = min(batches * workbench.setup.train.batch_size, len(workbench.train))
    train = Split(workbench.train.inputs[:samples], workbench.train.labels[:samples])
    return replace(workbench, setup=replace(workbench.setup, mode=mode), train=train)
