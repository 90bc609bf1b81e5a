"""The driver: asks, trains, stores, tells, until the total is reached.

    controls train first, then, until `budget.trials` are asked:
        ask a batch -> policies -> members in the store -> jobs of a cohort each
        a job's results: (1) committed to our store with what the mirror shall show,
                         (2) told to Optuna, (3) sent to MLflow by the mirror's own thread

A start replays what the last driver left undone between (1) and (2); trials without a result run again with
their stored parameters; nothing is asked twice.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Protocol, cast

from noise_search.metrics import combined, relative_corruption_error
from noise_search.policy import Policy, policy_from_list, policy_to_list
from noise_search.search.asking import random_policies
from noise_search.search.mirroring import member_entry
from noise_search.search.opening import OpenSweep, unmirrored
from noise_search.search.space import Stored, constant_policies, policy_of
from noise_search.store import MemberRecord, NewMember, NewResult, OutboxEntry
from noise_search.training import Job, Member, Result

NO_NOISE_CONTROL = "no_noise"
DIVERGED = "diverged: loss or gradient was not finite"
Best = tuple[float, int]  # score and number of a trial


class Reporter(Protocol):
    """Whoever shows progress, counted in epochs of members."""

    def begin(self, total: int, done: int) -> None:
        """Work of the whole sweep, and how much of it an earlier run has done."""

    def advance(self, epochs: int) -> None:
        """So much more is done."""

    def message(self, text: str) -> None:
        """How it stands, in a few words."""


def drive(opened: OpenSweep, reporter: Reporter) -> None:
    """Run a sweep up to its total. An interruption between or within jobs loses the current job at most."""
    _recover(opened)
    _add_controls(opened)
    reporter.begin(*_work(opened))
    best = _best_stored(opened)
    while job := _next_members(opened):
        best = _better(best, _run(opened, job, reporter))
        reporter.message("controls" if best is None else f"best {best[0]:.3f} (trial {best[1]})")


def _recover(opened: OpenSweep) -> None:
    opened.writer.abandon_running_jobs()
    known = {member.number for member in opened.store.members(opened.sweep.id)}
    opened.writer.add_members(
        [
            _new_trial(number, parameters, policy_of(opened.spec.space, Stored(parameters)))
            for number, parameters in opened.study.running()
            if number not in known
        ]
    )
    _tell(opened)
    if opened.mirror is not None:
        opened.writer.enqueue(_entries_of_untracked_runs(opened))


def _entries_of_untracked_runs(opened: OpenSweep) -> list[OutboxEntry]:
    left = unmirrored(opened.store, opened.sweep.id)
    results = opened.store.latest_results(opened.sweep.id, member_ids=[member.id for member in left])
    entries = []
    for member in left:
        found = results[member.id]
        result = NewResult(
            member_id=member.id,
            epoch=found.epoch,
            seed=found.seed,
            state=member.state,
            reason=member.reason,
            scores=found.scores,
            cells=found.cells,
            history=found.history,
            seconds=found.seconds,
        )
        started, ended = member.started_at or found.created_at, member.finished_at or found.created_at
        entries.append(member_entry(opened.spec, opened.sweep, member, result, started, ended))
    return entries


def _add_controls(opened: OpenSweep) -> None:
    spec = opened.spec
    policies = {NO_NOISE_CONTROL: Policy()}
    constants = constant_policies(spec.space, spec.controls.constants)
    policies |= {f"constant_{index}": policy for index, policy in enumerate(constants, start=1)}
    randoms = random_policies(spec.space, spec.controls.random, seed=spec.seed)
    policies |= {f"random_{index}": policy for index, policy in enumerate(randoms, start=1)}
    opened.writer.add_members([NewMember(None, name, {}, policy_to_list(policy)) for name, policy in policies.items()])


def _work(opened: OpenSweep) -> tuple[int, int]:
    """Epochs of all members up to the total, and how many of them are done."""
    members = opened.store.members(opened.sweep.id)
    finished = sum(member.state not in ("waiting", "running") for member in members)
    controls = sum(member.control is not None for member in members)
    trials = max(opened.spec.budget.trials, len(members) - controls)
    epochs = opened.spec.train.epochs
    return (controls + trials) * epochs, finished * epochs


def _next_members(opened: OpenSweep) -> list[MemberRecord]:
    """Members of the next job: whoever waits, controls first, else a newly asked batch; empty at the end."""
    waiting = _waiting(opened)
    if _may_ask(opened, waiting):
        _ask(opened)
        waiting = _waiting(opened)
    controls = [member for member in waiting if member.control is not None]
    return (controls or waiting)[: opened.spec.driver.cohort]


def _waiting(opened: OpenSweep) -> list[MemberRecord]:
    return opened.store.members(opened.sweep.id, states=["waiting"])


def _may_ask(opened: OpenSweep, waiting: Sequence[MemberRecord]) -> bool:
    """Whether to ask now: when nobody waits, or to complete a batch that a kill cut short before it ran."""
    asked, batch = len(opened.study), opened.spec.sampler.batch
    if asked >= opened.spec.budget.trials:
        return False
    started = asked - asked % batch
    cut_short = {member.number for member in waiting} >= set(range(started, asked)) and asked > started
    return not waiting or cut_short


def _ask(opened: OpenSweep) -> None:
    """Ask up to the end of the batch; batches are numbered, so that a kill does not shift them."""
    asked, batch = len(opened.study), opened.spec.sampler.batch
    count = min(batch - asked % batch, opened.spec.budget.trials - asked)
    opened.writer.renew()  # Optuna knows no lease: make sure of ours before writing there
    proposals = [opened.study.ask() for _ in range(count)]
    opened.writer.add_members([_new_trial(p.number, p.parameters, p.policy) for p in proposals])


def _new_trial(number: int, parameters: Mapping[str, object], policy: Policy) -> NewMember:
    return NewMember(number, None, dict(parameters), policy_to_list(policy))


def _run(opened: OpenSweep, members: Sequence[MemberRecord], reporter: Reporter) -> list[Best]:
    """Train, store and tell one job; returns the scores of its trials."""
    spec, epochs = opened.spec, opened.spec.train.epochs
    job_id = opened.writer.start_job([member.id for member in members], from_epoch=0, to_epoch=epochs)
    slots = tuple(Member(str(member.id), policy_from_list(member.policy), spec.seed) for member in members)
    started, clock = datetime.now(UTC), time.monotonic()
    results = opened.executor.run(Job(slots, 0, epochs), reporter.advance)
    ended, seconds = datetime.now(UTC), time.monotonic() - clock
    outcomes = _outcomes(opened, members, results)
    opened.writer.finish_job(
        job_id,
        outcomes,
        [
            member_entry(spec, opened.sweep, member, outcome, started, ended)
            for member, outcome in zip(members, outcomes, strict=True)
            if spec.tracking.enabled
        ],
        epochs_trained=epochs * len(members),
        samples_scored=_samples_scored(opened, results),
        seconds=seconds,
    )
    _tell(opened)
    if opened.mirror is not None:
        opened.mirror.wake()
    return [
        (outcome.scores["score"], member.number)
        for member, outcome in zip(members, outcomes, strict=True)
        if member.number is not None
    ]


def _outcomes(opened: OpenSweep, members: Sequence[MemberRecord], results: Sequence[Result]) -> list[NewResult]:
    control = _control_cells(opened, members, results)
    return [
        NewResult(
            member_id=member.id,
            epoch=result.epoch,
            seed=result.seed,
            state="infeasible" if result.diverged else "complete",
            reason=DIVERGED if result.diverged else None,
            scores=_scores(opened, result, control),
            cells=dict(result.cells),
            history=[dict(row) for row in result.history],
            seconds=result.seconds,
        )
        for member, result in zip(members, results, strict=True)
    ]


def _control_cells(
    opened: OpenSweep, members: Sequence[MemberRecord], results: Sequence[Result]
) -> Mapping[str, Sequence[float]]:
    """Accuracies of the no-noise control, which is in the first job at the latest."""
    for member, result in zip(members, results, strict=True):
        if member.control == NO_NOISE_CONTROL:
            return result.cells
    control = opened.store.find_control(opened.sweep.id, NO_NOISE_CONTROL)
    assert control is not None  # the driver adds it before any job
    return opened.store.latest_results(opened.sweep.id, member_ids=[control.id])[control.id].cells


def _scores(opened: OpenSweep, result: Result, control: Mapping[str, Sequence[float]]) -> dict[str, float]:
    kinds = {kind.name for kind in opened.spec.suite.kinds}
    own = {kind: row for kind, row in result.cells.items() if kind in kinds}
    theirs = {kind: row for kind, row in control.items() if kind in kinds}
    weight = opened.spec.objective.weight
    return {
        **result.scores,
        "score": combined(result.scores["clean"], result.scores["robust"], weight),
        "relative_mce": relative_corruption_error(own, result.cells["clean"][0], theirs, control["clean"][0]),
    }


def _samples_scored(opened: OpenSweep, results: Sequence[Result]) -> int:
    suite = opened.spec.suite
    sets = 1 + sum(len(kind.strengths) for kind in suite.kinds)
    scorings = sum(1 for result in results for row in result.history if "clean" in row)
    perturbed = len(suite.weight_strengths) * suite.weight_draws * len(results)
    samples: int = (scorings * sets + perturbed) * opened.executor.validation_samples
    return samples


def _tell(opened: OpenSweep) -> None:
    """Tell Optuna every outcome it does not know yet, in trial order."""
    finished = opened.store.members(opened.sweep.id, states=["complete", "infeasible"], told=False)
    untold = [member for member in finished if member.number is not None]
    if not untold:
        return
    opened.writer.renew()
    results = opened.store.latest_results(opened.sweep.id, member_ids=[member.id for member in untold])
    for member in untold:
        assert member.number is not None
        score = results[member.id].scores["score"]
        opened.study.tell(member.number, score, diverged=member.state == "infeasible")
    opened.writer.mark_told([member.id for member in untold])


def _best_stored(opened: OpenSweep) -> Best | None:
    """Best trial of earlier runs of the sweep."""
    results = opened.store.latest_results(opened.sweep.id)
    trials = [member for member in opened.store.members(opened.sweep.id) if member.number is not None]
    return _better(None, [(results[m.id].scores["score"], cast(int, m.number)) for m in trials if m.id in results])


def _better(best: Best | None, found: Sequence[Best]) -> Best | None:
    return max([*found, *([] if best is None else [best])], default=None)
