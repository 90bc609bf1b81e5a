"""What a sweep would do, before anything is written."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from noise_search.config import build, compose
from noise_search.data import forget_loaded
from noise_search.search.opening import make_plan
from noise_search.search.space import searched
from noise_search.search.stopping import COMPLETE_AT_LEAST, rung_epochs
from noise_search.spec import Choices, Range, SweepSpec
from noise_search.training import Resolved, Workbench, load_dataset, provisional_workbench
from noise_search.training.modes import resolve_modes, seconds_to_score, seconds_to_train
from noise_search.training.threads import cpu_threads

_TIMED_BATCHES = 8


@dataclass(frozen=True, slots=True)
class Preview:
    """What a sweep would do.

    Args:
        name: It would have.
        parameters: Searched ones with what they can be.
        controls, trials, seeds: How many there are; every one trains with every seed.
        rungs: Epochs at which trials are scored and may be stopped.
        epochs_at_most: Of all of them together, if none is stopped.
        epochs_expected: The same if as many are stopped at each rung as the rule says.
        train_mode, score_mode: How cohorts would train and be scored.
        seconds_expected: Of training and scoring on this machine as it is now, from timing a few steps and one scoring.
        minutes: After which the sweep starts nothing more; None for no limit.
    """

    name: str
    parameters: dict[str, str]
    controls: int
    trials: int
    seeds: int
    rungs: tuple[int, ...]
    epochs_at_most: int
    epochs_expected: int
    train_mode: str
    score_mode: str
    seconds_expected: float
    minutes: float | None

    def to_mapping(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def preview(overrides: Sequence[str] = (), *, config_dir: str | Path | None = None) -> Preview:
    """Say what a sweep would do: parameters, epochs, and an estimate of seconds; nothing is written.

    Args:
        overrides: Hydra overrides, as on the command line.
        config_dir: Folder with configuration groups of your own.

    Raises:
        CallerError: For every mistake in the configuration.
    """
    config = compose(overrides, config_dir=config_dir)
    forget_loaded()
    return preview_of(config)


def preview_of(config: Mapping[str, Any]) -> Preview:
    """Say what a sweep of a composed configuration would do; see `preview`."""
    spec = build(config)
    plan = make_plan(spec, load_dataset(spec.data))
    controls = 1 + spec.controls.constants + spec.controls.random
    slots = spec.budget.seeds
    rungs = rung_epochs(spec.stopping, spec.train.epochs)
    parts = [(controls, 0, rungs[-1]), *_expected_parts(spec, rungs)]
    expected = sum(count * (end - start) for count, start, end in parts) * slots
    scorings = sum(count * _scorings(spec, rungs, start, end) for count, start, end in parts) * slots
    width = min(spec.driver.cohort, spec.sampler.batch * slots)
    with cpu_threads(spec.train.threads):
        bench = provisional_workbench(spec, dataset=plan.dataset)
        modes = resolve_modes(bench, spec.train.mode, spec.train.score_mode, width=width)
        an_epoch, a_scoring = _seconds_each(bench, modes, width)
    return Preview(
        name=plan.name,
        parameters={name: _shown(value) for name, value in searched(spec.space).items()},
        controls=controls,
        trials=spec.budget.trials,
        seeds=slots,
        rungs=rungs,
        epochs_at_most=(controls + spec.budget.trials) * rungs[-1] * slots,
        epochs_expected=expected,
        train_mode=modes[0],
        score_mode=modes[1],
        seconds_expected=round(expected * an_epoch + scorings * a_scoring, 1),
        minutes=spec.budget.minutes,
    )


def _expected_parts(spec: SweepSpec, rungs: Sequence[int]) -> list[tuple[int, int, int]]:
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
