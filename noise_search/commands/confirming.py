"""Confirm a sweep's front on fresh seeds and held-out corruptions."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from noise_search.commands.places import store_location
from noise_search.commands.sweeping import run_sweep
from noise_search.config import build
from noise_search.config.held_out import held_out_suite
from noise_search.corruptions.suites import Suite, families
from noise_search.data import Dataset
from noise_search.errors import CallerError, raise_if_any
from noise_search.execute import Executor, InlineExecutor
from noise_search.policy import Policy, policy_from_list
from noise_search.search.choosing import Candidate, candidates
from noise_search.search.confirm_mirroring import confirmation_entries
from noise_search.search.confirming import (
    CHOOSE,
    MEASURE,
    Confirmation,
    ConfirmSettings,
    run_choosing,
    run_measuring,
)
from noise_search.search.driver import Reporter
from noise_search.search.evidence import (
    BEST_CONSTANT,
    NO_NOISE,
    WINNER,
    Evidence,
    Yard,
    evidence,
    seen_families,
)
from noise_search.search.fronts import FrontRow, front_rows
from noise_search.search.identity import identity_of, refuse_another
from noise_search.search.measured import measured_arms
from noise_search.search.opening import drain, modes_of, start_mirror
from noise_search.search.pick import rule_named
from noise_search.search.reporting import Silent
from noise_search.seeds import stable_hash
from noise_search.spec import SweepSpec, TrainSpec
from noise_search.statistics import smallest_detectable
from noise_search.store import (
    Location,
    OutboxEntry,
    Store,
    SweepRecord,
    begin_confirmation,
    finish_confirmation,
    open_store,
)
from noise_search.training import Setup, load_dataset, make_workbench
from noise_search.training.threads import cpu_threads

SMALL = 10_000  # training samples, under which more seeds are measured by default
MEASURE_SEEDS, MEASURE_SEEDS_OF_SMALL = 5, 10


@dataclass(frozen=True, slots=True)
class ConfirmPlan:
    """A checked confirmation: nothing is written yet.

    Args:
        sweep, spec, dataset: What is confirmed.
        settings: What it does.
        held_out: Suite of stage 2.
        location: Of the store.
        epochs: Of single trainings, at most, by part.
        seconds: That these take at the pace of the sweep; None where it has trained nothing.
        smallest_gain: That stage 2 shows in 4 of 5 cases, in SDs of a difference between seeds.
    """

    sweep: SweepRecord
    spec: SweepSpec
    dataset: Dataset
    settings: ConfirmSettings
    held_out: Suite
    location: Location
    epochs: Mapping[str, int]
    seconds: float | None
    smallest_gain: float


@dataclass(frozen=True, slots=True)
class ConfirmOutcome:
    """How a confirmation stands.

    Args:
        name: Of the sweep.
        number: Of the confirmation.
        held_out: Suite of stage 2.
        settings: What it did.
        choice: What stage 1 chose.
        evidence: What stage 2 says.
        changed: False when everything was there before.
    """

    name: str
    number: int
    held_out: str
    settings: Mapping[str, object]
    choice: Mapping[str, Any]
    evidence: Evidence
    changed: bool


def plan_confirmation(
    name: str,
    *,
    rule: str = "best",
    top: int = 4,
    randoms: int = 3,
    seeds: int = 3,
    measure_seeds: int | None = None,
    constant_trials: int | None = None,
    store: str | Path | None = None,
) -> ConfirmPlan:
    """Check a confirmation, and say what it costs.

    Args:
        name: Of the sweep.
        rule: That picks the winner; see `pick`.
        top: Policies of the front, and constant ones, that race in stage 1.
        randoms: Policies drawn at random.
        seeds: Fresh seeds of stage 1.
        measure_seeds: Other seeds of stage 2; None: 10 for small data, else 5.
        constant_trials: Trials of the search among constant policies; None: as many as the sweep has.
        store: Folder of the store.

    Raises:
        CallerError: For every mistake in the arguments, a sweep that is running, an empty front, other data than those
            of the sweep, or data without a held-out suite.
    """
    rule_named(rule)
    location = store_location(store)
    with open_store(location, create=False) as opened:
        sweep = opened.sweep(name)
        _refuse_running(opened, sweep)
        spec = replace(build(sweep.config), name=sweep.name)
        dataset = load_dataset(spec.data)
        refuse_another(sweep, _identity(sweep, spec, dataset))
        fixed = MEASURE_SEEDS_OF_SMALL if len(dataset.train) < SMALL else MEASURE_SEEDS
        measured = fixed if measure_seeds is None else measure_seeds
        trials = sweep.budget_trials if constant_trials is None else constant_trials
        _refuse_mistakes(top=top, randoms=randoms, seeds=seeds, measure_seeds=measured, constant_trials=trials)
        candidates(front_rows(opened, sweep.id), [], spec.space, top=top, randoms=randoms, seed=0)
        pace = _seconds_an_epoch(opened, sweep)
    held_out = held_out_suite(spec.data.name, dataset.modality)
    settings = ConfirmSettings(
        sweep.budget_trials,
        rule,
        top,
        randoms,
        seeds,
        measured,
        (f"{name}-constant", trials),
        (held_out.name, held_out.digest),
    )
    epochs = _epochs(spec, settings)
    return ConfirmPlan(
        sweep,
        spec,
        dataset,
        settings,
        held_out,
        location,
        epochs,
        None if pace is None else pace * sum(epochs.values()),
        smallest_detectable(1 / math.sqrt(measured), measured - 1),
    )


def confirm(name: str, *, reporter: Reporter | None = None, **settings: Any) -> ConfirmOutcome:
    """Confirm a sweep's front, or go on with it; for the arguments see `plan_confirmation`."""
    return run_confirmation(plan_confirmation(name, **settings), reporter=reporter)


def run_confirmation(plan: ConfirmPlan, *, reporter: Reporter | None = None) -> ConfirmOutcome:
    """Search among constant policies, choose, measure; whatever is stored is not trained again.

    Args:
        plan: Checked.
        reporter: Told of progress.

    Raises:
        KeyboardInterrupt: It was interrupted; what is stored stays.
        CallerError: The search among constant policies was stopped from elsewhere, or failed.
    """
    said = reporter or Silent()
    constants, trials = plan.settings.constants
    if trials:
        _search_constants(plan, constants, trials, said)
    with _opened(plan, constants if trials else None, said) as (confirmation, racers, front):
        before = len(confirmation.trainings)
        run_choosing(confirmation, racers, front)
        run_measuring(confirmation)
        outcome = _outcome(plan, confirmation, changed=len(confirmation.trainings) > before)
        if plan.spec.tracking.enabled:
            drain(start_mirror(confirmation.store, plan.sweep.id, plan.location))
        return outcome


def _search_constants(plan: ConfirmPlan, name: str, trials: int, reporter: Reporter) -> None:
    """Run the rival's search to its end: one that was cut short would not be tuned as hard."""
    config = _constant_config(plan.sweep.config, name, trials)
    outcome = run_sweep(config, store=plan.location.folder, reporter=reporter)
    if outcome.state == "interrupted":  # a sweep closes itself and says so
        raise KeyboardInterrupt
    if outcome.state != "complete":
        raise CallerError(f"confirm: expected {name} to come to its end, got {outcome.state}; confirm again to go on")


@contextmanager
def _opened(
    plan: ConfirmPlan, constants: str | None, reporter: Reporter
) -> Iterator[tuple[Confirmation, list[Candidate], list[FrontRow]]]:
    spec = plan.spec
    with (
        cpu_threads(spec.train.threads),
        open_store(plan.location, create=True) as store,
        store.take_lease(plan.sweep.id) as writer,
    ):
        record = begin_confirmation(writer, plan.settings.stored())
        front = front_rows(store, plan.sweep.id)
        of_constants = front_rows(store, store.sweep(constants).id) if constants else []
        racers = candidates(
            front,
            of_constants,
            spec.space,
            top=plan.settings.top,
            randoms=plan.settings.randoms,
            seed=stable_hash(spec.seed, "confirm", record.number) % 2**63,
        )
        confirmation = Confirmation(spec, plan.settings, store, writer, record, _executors(plan), reporter.advance)
        done = len(confirmation.trainings) * spec.train.epochs
        reporter.begin(plan.epochs["choose"] + plan.epochs["measure"], done)
        yield confirmation, racers, front


def _executors(plan: ConfirmPlan) -> Callable[[str], Executor]:
    """Executor of a stage, made when it is asked for first: test is drawn for stage 2 alone."""
    mode, score_mode = modes_of(plan.sweep)

    @cache
    def executor(stage: str) -> Executor:
        spec, suite = plan.spec, plan.held_out if stage == MEASURE else plan.spec.suite
        setup = Setup(spec.data, spec.model, spec.optimizer, _scored_last(spec.train), suite, mode, score_mode)
        bench = make_workbench(setup, dataset=plan.dataset, scored_on="test" if stage == MEASURE else "validation")
        return InlineExecutor(bench, mode, score_mode)

    return executor


def _scored_last(train: TrainSpec) -> TrainSpec:
    return replace(train, score_every=train.epochs)


def _outcome(plan: ConfirmPlan, confirmation: Confirmation, *, changed: bool) -> ConfirmOutcome:
    choice: Mapping[str, Any] | None = confirmation.record.choice
    assert choice is not None
    measured = measured_arms(list(confirmation.trainings.values()), choice)
    winner = policy_from_list(next(one.policy for one in measured if one.arm == WINNER))
    found = evidence(measured, _yard(plan, winner))
    record = finish_confirmation(confirmation.writer, confirmation.record.id, _entries(plan, confirmation, found))
    return ConfirmOutcome(
        plan.sweep.name, record.number, plan.held_out.name, plan.settings.stored(), choice, found, changed
    )


def _entries(plan: ConfirmPlan, confirmation: Confirmation, found: Evidence) -> list[OutboxEntry]:
    """What the mirror is to show, once."""
    if not plan.spec.tracking.enabled or confirmation.record.finished_at is not None:
        return []
    trainings = list(confirmation.trainings.values())
    return confirmation_entries(plan.spec, plan.sweep, confirmation.record, trainings, found)


def _yard(plan: ConfirmPlan, winner: Policy) -> Yard:
    cells: dict[str, int] = dict.fromkeys(families(plan.held_out), 0)
    for kind in plan.held_out.kinds:
        cells[kind.family] += len(kind.strengths)
    return Yard(plan.dataset.classes, len(plan.dataset.test), cells, seen_families(winner))


def _refuse_running(store: Store, sweep: SweepRecord) -> None:
    """Refuse a sweep whose front may still change."""
    if sweep.state != "running":
        return
    if store.is_driven(sweep.id):
        what, then = "which is running", f"wait for it, or end it with: noise-search stop {sweep.name}"
    else:
        what, then = "whose process died", "continue it with the command that began it"
    raise CallerError(f"confirm: expected a sweep that has ended, got {sweep.name}, {what}; {then}")


def _refuse_mistakes(**numbers: int) -> None:
    least = {"top": 1, "randoms": 1, "seeds": 2, "measure_seeds": 2, "constant_trials": 0}
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


def _epochs(spec: SweepSpec, settings: ConfirmSettings) -> dict[str, int]:
    """Epochs of single trainings, at most: no arm drops out, the winner has a schedule."""
    racing = 2 * settings.top + settings.randoms
    measured = len((WINNER, NO_NOISE, BEST_CONSTANT)) + settings.randoms + 4
    counts = {
        "constants": settings.constants[1],
        CHOOSE: racing * settings.seeds,
        MEASURE: measured * settings.measure_seeds,
    }
    return {part: count * spec.train.epochs for part, count in counts.items()}


def _seconds_an_epoch(store: Store, sweep: SweepRecord) -> float | None:
    trained = sum(job.epochs_trained for job in store.jobs(sweep.id))
    return sweep.seconds / trained if trained else None


def _constant_config(config: Mapping[str, Any], name: str, trials: int) -> dict[str, Any]:
    """The sweep's configuration with constant schedules, for a search of its own."""
    own = copy.deepcopy(dict(config))
    own["name"] = name
    own["budget"] = {**own["budget"], "trials": trials, "minutes": None}
    own["controls"] = {**own["controls"], "constants": 0, "random": 0}
    own["sampler"] = {**own["sampler"], "warm_start": []}
    own["space"]["terms"] = {site: {**body, "schedule": "constant"} for site, body in own["space"]["terms"].items()}
    return own
