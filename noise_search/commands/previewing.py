"""What a sweep would do, or what is left of it to do, before anything is written."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from noise_search.commands.places import sweep_location
from noise_search.config import build, compose
from noise_search.data import forget_loaded
from noise_search.execute import refuse_not_installed
from noise_search.search.opening import Earlier, Plan, earlier, make_plan, modes_of, widest_job
from noise_search.search.space import searched
from noise_search.search.stopping import COMPLETE_AT_LEAST, rung_epochs
from noise_search.spec import Choices, Range, SweepSpec
from noise_search.store import FINAL_STATES
from noise_search.training import Resolved, Workbench, load_dataset, provisional_workbench
from noise_search.training.modes import resolve_modes, seconds_to_score, seconds_to_train
from noise_search.training.threads import cpu_threads

_TIMED_BATCHES = 8
Part = tuple[int, int, int]  # how many train from one epoch to another


@dataclass(frozen=True, slots=True)
class Preview:
    """What a sweep would do.

    Args:
        name: It would have.
        parameters: Searched ones with what they can be.
        controls, trials, seeds: How many there are; every one trains with every seed.
        rungs: Epochs at which trials are scored and may be stopped.
        ended, waiting: Trials that an earlier run has brought to their end, and that it has left to be trained on.
        seconds_spent: By earlier runs.
        epochs_at_most: That are left, of all of them together, if none is stopped.
        epochs_expected: The same if as many are stopped at each rung as the rule says.
        train_mode, score_mode: How cohorts would train and be scored.
        seconds_expected: Of training and scoring on this machine as it is now, from timing a few steps and one scoring.
        minutes: Over all runs, after which the sweep starts no job; None for no limit.
    """

    name: str
    parameters: dict[str, str]
    controls: int
    trials: int
    seeds: int
    rungs: tuple[int, ...]
    ended: int
    waiting: int
    seconds_spent: float
    epochs_at_most: int
    epochs_expected: int
    train_mode: str
    score_mode: str
    seconds_expected: float
    minutes: float | None

    def to_mapping(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def preview(
    overrides: Sequence[str] = (), *, store: str | Path | None = None, config_dir: str | Path | None = None
) -> Preview:
    """Say what a sweep would do: parameters, epochs, and an estimate of seconds; nothing is written.

    Of a sweep that is there already, what is left to do.

    Args:
        overrides: Hydra overrides, as on the command line.
        store: Folder of the store; None takes `store.url` of the configuration.
        config_dir: Folder with configuration groups of your own.

    Raises:
        CallerError: For every mistake in the configuration, and where the sweep's name is another search's.
    """
    config = compose(overrides, config_dir=config_dir)
    forget_loaded()
    return preview_of(config, store=store)


def preview_of(config: Mapping[str, Any], *, store: str | Path | None = None) -> Preview:
    """Say what a sweep of a composed configuration would do; see `preview`."""
    spec = build(config)
    refuse_not_installed(spec.executor)
    plan = make_plan(spec, load_dataset(spec.data))
    found = earlier(plan, sweep_location(spec.store, store))
    rungs, slots = rung_epochs(spec.stopping, spec.train.epochs), spec.budget.seeds
    at_most, expected = _parts_left(spec, rungs, found)
    epochs = _epochs(expected) * slots
    scorings = sum(count * _scorings(spec, rungs, start, end) for count, start, end in expected) * slots
    modes, an_epoch, a_scoring = _timed(plan, found)
    trials = [] if found is None else [member for member in found.members if member.number is not None]
    ended = sum(member.state in FINAL_STATES for member in trials)
    return Preview(
        name=plan.name,
        parameters={name: _shown(value) for name, value in searched(spec.space).items()},
        controls=_controls(spec),
        trials=spec.budget.trials,
        seeds=slots,
        rungs=rungs,
        ended=ended,
        waiting=len(trials) - ended,
        seconds_spent=0.0 if found is None else round(found.sweep.seconds, 1),
        epochs_at_most=_epochs(at_most) * slots,
        epochs_expected=epochs,
        train_mode=modes[0],
        score_mode=modes[1],
        seconds_expected=round(epochs * an_epoch + scorings * a_scoring, 1),
        minutes=spec.budget.minutes,
    )


def _controls(spec: SweepSpec) -> int:
    return 1 + spec.controls.constants + spec.controls.random


def _timed(plan: Plan, found: Earlier | None) -> tuple[tuple[Resolved, Resolved], float, float]:
    """Modes of the sweep, as it has or would choose them, with the seconds of an epoch and of a scoring in them."""
    spec, width = plan.spec, widest_job(plan.spec)
    with cpu_threads(spec.train.threads):
        bench = provisional_workbench(spec, dataset=plan.dataset)
        if found is None or found.sweep.train_mode is None:
            modes = resolve_modes(bench, spec.train.mode, spec.train.score_mode, width=width)
        else:
            modes = modes_of(found.sweep)
        return modes, *_seconds_each(bench, modes, width)


def _epochs(parts: Sequence[Part]) -> int:
    return sum(count * (end - start) for count, start, end in parts)


def _parts_left(spec: SweepSpec, rungs: Sequence[int], found: Earlier | None) -> tuple[list[Part], list[Part]]:
    """What is left to train of controls and trials: at most, and if as many are stopped as the rule says."""
    members, reached = ([], {}) if found is None else (found.members, found.reached)
    at_most, expected = [], []
    controls = [(_controls(spec), start, end) for start, end in pairwise((0, *rungs))]
    for is_control, planned in ((True, controls), (False, _expected_parts(spec, rungs))):
        own = [member for member in members if (member.control is not None) == is_control]
        total = _controls(spec) if is_control else spec.budget.trials
        new = max(total - len(own), 0)
        for count, start, end in planned:
            done = sum(reached.get(member.id, 0) >= end for member in own)
            open_ = sum(member.state not in FINAL_STATES and reached.get(member.id, 0) < end for member in own)
            at_most.append((new + open_, start, end))
            expected.append((min(max(count - done, 0), new + open_), start, end))
    return at_most, expected


def _expected_parts(spec: SweepSpec, rungs: Sequence[int]) -> list[Part]:
    """Trials that train from one epoch to another, if one of `factor` goes on from each rung."""
    least = math.ceil(COMPLETE_AT_LEAST * spec.budget.trials)
    left, before, parts = spec.budget.trials, 0, []
    for rung in rungs:
        parts.append((left, before, rung))
        left, before = max(int(left / spec.stopping.factor), least), rung
    return parts


def _scorings(spec: SweepSpec, rungs: Sequence[int], start: int, end: int) -> int:
    """How often a trial is scored between two epochs: every so many of them, at rungs, and at the end."""
    return sum(epoch % spec.train.score_every == 0 or epoch in rungs for epoch in range(start + 1, end + 1))


def _seconds_each(bench: Workbench, modes: tuple[Resolved, Resolved], width: int) -> tuple[float, float]:
    """Seconds in which one member trains an epoch, and in which it is scored."""
    batches = min(_TIMED_BATCHES, bench.steps_per_epoch)
    seconds_to_train(bench, modes[0], width=width, batches=batches)  # warms up
    training = seconds_to_train(bench, modes[0], width=width, batches=batches) / batches * bench.steps_per_epoch
    return training / width, seconds_to_score(bench, *modes, width=width) / width


def _shown(value: Range | Choices) -> str:
    if isinstance(value, Choices):
        return ", ".join(str(option) for option in value.options)
    kinds = [kind for kind, has in (("log scale", value.log), ("whole", value.integer)) if has]
    return f"{value.low:g} to {value.high:g}" + (f" ({', '.join(kinds)})" if kinds else "")
