"""Check a confirmation, and say what it costs and what it can show, before anything is written."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from noise_search.commands.places import store_location
from noise_search.config import build, compose
from noise_search.config.held_out import held_out_suite
from noise_search.corruptions.suites import Suite
from noise_search.data import Dataset
from noise_search.errors import CallerError, raise_if_any
from noise_search.execute import refuse_not_installed
from noise_search.search.arms import ORDERING
from noise_search.search.choosing import candidates
from noise_search.search.confirming import ConfirmSettings
from noise_search.search.evidence import BEST_CONSTANT, NO_NOISE, WINNER
from noise_search.search.fronts import complete_trials
from noise_search.search.identity import identity_of, refuse_another
from noise_search.search.learning_rates import checked_arms
from noise_search.search.pick import contenders, rule_named
from noise_search.spec import SweepSpec
from noise_search.statistics import smallest_detectable
from noise_search.store import CHOOSE, MEASURE, Location, Store, SweepRecord, latest_with, open_store
from noise_search.training import load_dataset

SMALL = 10_000  # training samples, under which more seeds are measured by default
MEASURE_SEEDS, MEASURE_SEEDS_OF_SMALL = 5, 10


@dataclass(frozen=True, slots=True)
class ConfirmPlan:
    """A checked confirmation: nothing is written yet.

    Args:
        sweep, spec, dataset: What is confirmed.
        settings: What it does.
        lr_check: Whether the winner and no noise train at other learning rates too.
        held_out: Suite of stage 2.
        location: Of the store.
        epochs: Of single trainings, at most, by part.
        seconds: That these take at the pace of the sweep; None where it has trained nothing.
        paced_on: Executor that the sweep trained on, which the confirmation's own may be faster than.
        smallest_gain_in_sd: That stage 2 shows in 4 of 5 cases, in SDs of a difference between seeds.
        smallest_gain: The same in robust accuracy above chance, by the spread that stage 1 found; None before it has.
    """

    sweep: SweepRecord
    spec: SweepSpec
    dataset: Dataset
    settings: ConfirmSettings
    lr_check: bool
    held_out: Suite
    location: Location
    epochs: Mapping[str, int]
    seconds: float | None
    paced_on: str
    smallest_gain_in_sd: float
    smallest_gain: float | None


def plan_confirmation(
    name: str,
    *,
    rule: str = "best",
    top: int = 4,
    randoms: int = 3,
    seeds: int = 3,
    measure_seeds: int | None = None,
    constant_trials: int | None = None,
    lr_check: bool = True,
    store: str | Path | None = None,
    executor: Sequence[str] = (),
) -> ConfirmPlan:
    """Check a confirmation, and say what it costs.

    Args:
        name: Of the sweep.
        rule: That picks the winner; see `pick`. Of `trial=N` or `control=NAME` that alone races, against the others.
        top: Policies of the front, and constant ones, that race in stage 1.
        randoms: Policies drawn at random.
        seeds: Fresh seeds of stage 1.
        measure_seeds: Other seeds of stage 2; None: 10 for small data, else 5.
        constant_trials: Trials of the search among constant policies; None: as many as the sweep has.
        lr_check: Whether the winner and no noise train at half and double the learning rate too, on validation.
        store: Folder of the store.
        executor: Overrides such as `executor=processes`; none train where the sweep did.

    Raises:
        CallerError: For every mistake in the arguments, a sweep that is running, an empty front, other data than those
            of the sweep, or data without a held-out suite.
    """
    rule = rule_named(rule).text  # two spellings of one rule would read test twice
    with open_store(store_location(store), create=False, patient=True) as opened:
        sweep = _on_executor(opened.sweep(name), executor)
        spec, dataset = _loaded(opened, sweep)
        fixed = MEASURE_SEEDS_OF_SMALL if len(dataset.train) < SMALL else MEASURE_SEEDS
        held_out = held_out_suite(spec.data.name, dataset.modality)
        settings = ConfirmSettings(
            trials=complete_trials(opened, sweep.id),
            rule=rule,
            top=top,
            randoms=randoms,
            seeds=seeds,
            measure_seeds=fixed if measure_seeds is None else measure_seeds,
            constants=(f"{name}-constant", sweep.budget_trials if constant_trials is None else constant_trials),
            held_out=(held_out.name, held_out.digest),
        )
        _refuse_mistakes(settings)
        candidates(contenders(opened, sweep.id, rule), [], spec.space, top=top, randoms=randoms, seed=0)
        return _plan(opened, sweep, spec, dataset, settings, held_out, lr_check=lr_check)


def refuse_unready(plan: ConfirmPlan) -> None:
    """Refuse a confirmation that has to train where that cannot be; one that is finished needs nothing.

    Raises:
        CallerError: A library that its executor needs is not installed.
    """
    refuse_not_installed(plan.spec.executor)


def _plan(
    store: Store,
    sweep: SweepRecord,
    spec: SweepSpec,
    dataset: Dataset,
    settings: ConfirmSettings,
    held_out: Suite,
    *,
    lr_check: bool,
) -> ConfirmPlan:
    """Checked settings with what they cost and can show."""
    epochs = _epochs(spec, settings, lr_check=lr_check)
    pace, seeds = _seconds_an_epoch(store, sweep), settings.measure_seeds
    return ConfirmPlan(
        sweep=sweep,
        spec=spec,
        dataset=dataset,
        settings=settings,
        lr_check=lr_check,
        held_out=held_out,
        location=replace(store.location, retry_seconds=spec.store.retry_seconds),
        epochs=epochs,
        seconds=None if pace is None else pace * sum(epochs.values()),
        paced_on=str(cast(Mapping[str, object], store.sweep(sweep.name).config["executor"])["name"]),
        smallest_gain_in_sd=smallest_detectable(1 / math.sqrt(seeds), seeds - 1),
        smallest_gain=_smallest_gain(store, sweep, settings),
    )


def _on_executor(sweep: SweepRecord, overrides: Sequence[str]) -> SweepRecord:
    """The sweep as if it had trained on another executor, or its own with other values, which changes no number."""
    if not overrides:
        return sweep
    keys = [override.partition("=")[0] for override in overrides]
    if others := [key for key in keys if key.split(".")[0] != "executor"]:
        raise CallerError(f"confirm: expected executor=... or executor.KEY=..., got {others[0]}=...")
    own = cast(Mapping[str, object], sweep.config["executor"])
    if "executor" in keys:
        return replace(sweep, config={**sweep.config, "executor": compose(overrides)["executor"]})
    composed = compose([f"executor={own['name']}", *overrides])["executor"]
    given = {key.split(".")[1] for key in keys}
    return replace(sweep, config={**sweep.config, "executor": {**own, **{key: composed[key] for key in given}}})


def _loaded(store: Store, sweep: SweepRecord) -> tuple[SweepSpec, Dataset]:
    """What a sweep that has ended is today, with its data."""
    _refuse_running(store, sweep)
    spec = replace(build(sweep.config), name=sweep.name)
    dataset = load_dataset(spec.data)
    refuse_another(sweep, _identity(sweep, spec, dataset))
    return spec, dataset


def _refuse_running(store: Store, sweep: SweepRecord) -> None:
    """Refuse a sweep whose front may still change."""
    if sweep.state != "running":
        return
    if store.is_driven(sweep.id):
        what, then = "which is running", f"wait for it, or end it with: noise-search stop {sweep.name}"
    else:
        what, then = "whose process died", "continue it with the command that began it"
    raise CallerError(f"confirm: expected a sweep that has ended, got {sweep.name}, {what}; {then}")


def _refuse_mistakes(settings: ConfirmSettings) -> None:
    least = {"top": 1, "randoms": 1, "seeds": 2, "measure_seeds": 2}
    numbers: dict[str, int] = {name: getattr(settings, name) for name in least}
    numbers["constant_trials"], least["constant_trials"] = settings.constants[1], 0
    raise_if_any(
        [
            f"confirm {name}: expected a whole number from {least[name]} up, got {value!r}"
            for name, value in numbers.items()
            if value < least[name]
        ]
    )


def _identity(sweep: SweepRecord, spec: SweepSpec, dataset: Dataset) -> dict[str, object]:
    """What the stored configuration is today; trials that cards started with are what they were."""
    started = {key: value for key, value in sweep.identity.items() if key == "sampler.warm_start"}
    return identity_of(spec, dataset) | started


def _epochs(spec: SweepSpec, settings: ConfirmSettings, *, lr_check: bool) -> dict[str, int]:
    """Epochs of single trainings, at most: no arm drops out, the winner has a schedule."""
    racing = 2 * settings.top + settings.randoms
    measured = len((WINNER, NO_NOISE, BEST_CONSTANT)) + settings.randoms + len(ORDERING)
    counts = {
        "constants": settings.constants[1] + 1 if settings.constants[1] else 0,  # with its control
        CHOOSE: racing * settings.seeds,
        "learning_rates": len(checked_arms()) * settings.seeds if lr_check else 0,
        MEASURE: measured * settings.measure_seeds,
    }
    return {part: count * spec.train.epochs for part, count in counts.items()}


def _seconds_an_epoch(store: Store, sweep: SweepRecord) -> float | None:
    trained = sum(job.epochs_trained for job in store.jobs(sweep.id))
    return sweep.seconds / trained if trained else None


def _smallest_gain(store: Store, sweep: SweepRecord, settings: ConfirmSettings) -> float | None:
    """What stage 1 of this confirmation has found, where it has come to its end."""
    record = latest_with(store.confirmations(sweep.id), settings.stored())
    found = None if record is None else (record.choice or {}).get("smallest_gain")
    return found if isinstance(found, float) else None
