"""Confirm a sweep's front on fresh seeds and held-out corruptions."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from noise_search.commands.confirm_plans import ConfirmPlan, plan_confirmation, refuse_unready
from noise_search.commands.sweeping import run_sweep
from noise_search.errors import CallerError
from noise_search.execute import Executor, make_executor
from noise_search.search.choosing import candidates
from noise_search.search.confirm_mirroring import ConfirmationMirror, mirrored
from noise_search.search.confirm_progress import left_after_choice
from noise_search.search.confirmed import Measured, is_finished, measured
from noise_search.search.confirming import (
    Confirmation,
    Sizes,
    mend_choice,
    run_choosing,
    run_measuring,
)
from noise_search.search.driver import Reporter, Watched
from noise_search.search.evidence import Evidence
from noise_search.search.fronts import front_rows
from noise_search.search.learning_rates import RateCheck, run_rate_check
from noise_search.search.opening import modes_of
from noise_search.search.pick import contenders
from noise_search.search.reporting import Silent
from noise_search.seeds import stable_hash
from noise_search.spec import TrainSpec
from noise_search.store import CHOOSE, MEASURE, begin_confirmation, finish_confirmation, latest_with, open_store
from noise_search.training import Setup, Workbench, make_workbench
from noise_search.training.threads import cpu_threads

Choice = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ConfirmOutcome:
    """How a confirmation stands.

    Args:
        name: Of the sweep.
        number: Of the confirmation.
        held_out: Suite of stage 2.
        settings: What it did.
        choice: What stage 1 chose, and the smallest gain that it said stage 2 would show.
        evidence: What stage 2 says.
        changed: False when everything was there before.
        learning_rates: How the winner and no noise do at other learning rates; None where that was not asked for.
    """

    name: str
    number: int
    held_out: str
    settings: Mapping[str, object]
    choice: Choice
    evidence: Evidence
    changed: bool
    learning_rates: RateCheck | None = None


def confirm(name: str, *, reporter: Reporter | None = None, **settings: Any) -> ConfirmOutcome:
    """Confirm a sweep's front, or go on with it; for the arguments see `plan_confirmation`."""
    plan = plan_confirmation(name, **settings)
    return confirmed_before(plan) or run_confirmation(plan, reporter=reporter)


def confirmed_before(plan: ConfirmPlan) -> ConfirmOutcome | None:
    """What a confirmation found that is finished; None where training, or telling MLflow of it, is not at its end."""
    with open_store(plan.location, create=False, patient=True) as store:
        record = latest_with(store.confirmations(plan.sweep.id), plan.settings.stored())
        if record is None or not is_finished(record) or (plan.spec.tracking.enabled and store.unsent(plan.sweep.id, 1)):
            return None
        found = measured(store, record)
        return None if plan.lr_check and found.learning_rates is None else _told(plan, found, changed=False)


def run_confirmation(
    plan: ConfirmPlan, *, reporter: Reporter | None = None, on_choice: Callable[[Choice], None] = lambda _: None
) -> ConfirmOutcome:
    """Search among constant policies, choose, measure; whatever is stored is not trained again.

    Args:
        plan: Checked.
        reporter: Told of progress.
        on_choice: Called when stage 1 has chosen, before test is read, with what it chose and the smallest gain in
            robust accuracy above chance, `smallest_gain`, that stage 2 shows in 4 of 5 cases.

    Raises:
        KeyboardInterrupt: It, or its search among constant policies, was interrupted or stopped from elsewhere; what is
            stored stays.
        CallerError: The search among constant policies failed; the sweep is driven by somebody.
    """
    refuse_unready(plan)
    with open_store(plan.location, create=True, patient=True) as store, store.take_lease(plan.sweep.id) as writer:
        writer.update_sweep(stop_requested=False)
        said = Watched(reporter or Silent(), store, plan.sweep.id)
        record = begin_confirmation(writer, plan.settings.stored())
        with mirrored(plan.spec, plan.sweep, store, writer, record) as mirror:
            if plan.settings.constants[1] and record.choice is None:
                _search_constants(plan, said)
            with cpu_threads(plan.spec.train.threads), closing(_Executors(plan)) as executors:
                confirmation = Confirmation(
                    plan.spec,
                    plan.settings,
                    store,
                    writer,
                    record,
                    executors.of,
                    said.advance,
                    _sizes(plan),
                )
                return _run(plan, confirmation, said, mirror, on_choice)


def _run(
    plan: ConfirmPlan,
    confirmation: Confirmation,
    reporter: Reporter,
    mirror: ConfirmationMirror,
    on_choice: Callable[[Choice], None],
) -> ConfirmOutcome:
    before = len(confirmation.trainings)
    _begin(plan, confirmation, reporter)
    reporter.message("stage 1")
    _choose(plan, confirmation, on_choice)
    mirror.arms(confirmation, CHOOSE)
    _begin(plan, confirmation, reporter)  # with what the race and the winner have left out
    if plan.lr_check:
        reporter.message("learning rates")
        run_rate_check(confirmation)
        mirror.rates(confirmation)
    reporter.message("stage 2")
    run_measuring(confirmation)
    mirror.arms(confirmation, MEASURE)
    return _outcome(plan, confirmation, mirror, changed=len(confirmation.trainings) > before)


def _begin(plan: ConfirmPlan, confirmation: Confirmation, reporter: Reporter) -> None:
    """Say how much there is to train, at most until stage 1 has chosen, and how much of it is done."""
    epochs, done = plan.spec.train.epochs, len(confirmation.trainings)
    if confirmation.record.choice is None:
        total = sum(plan.epochs[part] for part in (CHOOSE, "learning_rates", MEASURE))
    else:
        total = done * epochs + left_after_choice(confirmation, lr_check=plan.lr_check) * epochs
    reporter.begin(total, done * epochs)


def _search_constants(plan: ConfirmPlan, reporter: Reporter) -> None:
    """Run the rival's search to its end: one that was cut short would not be tuned as hard."""
    name, trials = plan.settings.constants
    config = _constant_config(plan.sweep.config, name, trials)
    outcome = run_sweep(config, store=plan.location, reporter=reporter)
    if outcome.state == "interrupted":  # a sweep closes itself and says so
        raise KeyboardInterrupt
    if outcome.state != "complete":
        raise CallerError(f"confirm: expected {name} to come to its end, got {outcome.state}; confirm again to go on")


def _choose(plan: ConfirmPlan, confirmation: Confirmation, on_choice: Callable[[Choice], None]) -> None:
    if confirmation.record.choice is not None:
        mend_choice(confirmation)
        return
    store, settings = confirmation.store, confirmation.settings
    name, trials = settings.constants
    front = contenders(store, plan.sweep.id, settings.rule)
    seed = stable_hash(plan.spec.seed, "confirm", confirmation.record.number) % 2**63
    racers = candidates(
        front,
        front_rows(store, store.sweep(name).id) if trials else [],
        plan.spec.space,
        top=settings.top,
        randoms=settings.randoms,
        seed=seed,
    )
    run_choosing(confirmation, racers, front)
    on_choice(_choice(confirmation))


def _choice(confirmation: Confirmation) -> Choice:
    assert confirmation.record.choice is not None
    return confirmation.record.choice


def _sizes(plan: ConfirmPlan) -> Sizes:
    data = plan.dataset
    steps = math.ceil(len(data.train) / plan.spec.train.batch_size)
    return Sizes(data.classes, steps, len(data.validation), len(data.test))


class _Executors:
    """Executors of stages, one at a time: workers of a stage are kept while it lasts.

    Test is drawn when that of stage 2 is asked for.
    """

    def __init__(self, plan: ConfirmPlan) -> None:
        self._plan = plan
        self._benches: dict[str, Workbench] = {}
        self._made: dict[tuple[str, float], Executor] = {}

    def of(self, stage: str, multiple: float) -> Executor:
        """Executor of a stage at a multiple of the learning rate; the one that was asked for before it is closed."""
        if (stage, multiple) not in self._made:
            self.close()
            made = self._bench(stage)
            optimizer = replace(made.setup.optimizer, lr=made.setup.optimizer.lr * multiple)
            bench = replace(made, setup=replace(made.setup, optimizer=optimizer))
            executor = make_executor(self._plan.spec.executor, bench, *modes_of(self._plan.sweep))
            self._made[stage, multiple] = executor
        return self._made[stage, multiple]

    def close(self) -> None:
        """End what still trains."""
        for executor in self._made.values():
            executor.close()
        self._made.clear()

    def _bench(self, stage: str) -> Workbench:
        if stage not in self._benches:
            self._benches.clear()  # a split's corruptions may take gigabytes: validation's make room for test's
            self._benches[stage] = _workbench(self._plan, stage)
        return self._benches[stage]


def _workbench(plan: ConfirmPlan, stage: str) -> Workbench:
    spec, suite = plan.spec, plan.held_out if stage == MEASURE else plan.spec.suite
    setup = Setup(spec.data, spec.model, spec.optimizer, _scored_last(spec.train), suite, *modes_of(plan.sweep))
    return make_workbench(setup, dataset=plan.dataset, scored_on="test" if stage == MEASURE else "validation")


def _scored_last(train: TrainSpec) -> TrainSpec:
    return replace(train, score_every=train.epochs)


def _outcome(
    plan: ConfirmPlan, confirmation: Confirmation, mirror: ConfirmationMirror, *, changed: bool
) -> ConfirmOutcome:
    found = measured(confirmation.store, confirmation.record)
    closing = mirror.closing(found.evidence)
    finish_confirmation(confirmation.writer, confirmation.record.id, closing)
    return _told(plan, found, changed=changed)


def _told(plan: ConfirmPlan, found: Measured, *, changed: bool) -> ConfirmOutcome:
    assert found.record.choice is not None
    return ConfirmOutcome(
        plan.sweep.name,
        found.record.number,
        plan.held_out.name,
        plan.settings.stored(),
        found.record.choice,
        found.evidence,
        changed,
        found.learning_rates,
    )


def _constant_config(config: Mapping[str, Any], name: str, trials: int) -> dict[str, Any]:
    """The sweep's configuration with constant schedules, for a search of its own."""
    own = copy.deepcopy(dict(config))
    own["name"] = name
    own["budget"] = {**own["budget"], "trials": trials, "minutes": None}
    own["controls"] = {**own["controls"], "constants": 0, "random": 0}
    own["sampler"] = {**own["sampler"], "warm_start": []}
    own["space"]["terms"] = {site: {**body, "schedule": "constant"} for site, body in own["space"]["terms"].items()}
    return own
