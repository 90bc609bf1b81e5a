"""The driver: asks, trains, judges, stores, tells, until the total is reached.

    as long as there is anything to do:
        while fewer jobs are under way than may be, the next one is submitted; who is to train next:
            controls first, and until they are scored nobody else
            else whoever is due up to the next rung, in jobs of a cohort each
            else, if so many trials may go on from a rung as a batch leaves there, they do
            else a batch is asked: batch -> policies -> members in the store
            else, when nothing is under way, those go on that may
        a job ends; its results: (1) committed to our store with what the mirror shall show,
                                 (2) told to Optuna, (3) sent to MLflow by the mirror's own thread
    who still waits at a rung is stopped

A start replays what the last driver left undone between (1) and (2); jobs that were under way run again as they were;
nothing is asked twice. What is decided depends on what is stored and on the jobs under way alone, so that a sweep that
was killed and continued is the sweep that was not: with one job at a time, or with `driver.ordered`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Protocol

from noise_search.policy import Policy, policy_to_list
from noise_search.search.asking import random_policies
from noise_search.search.board import NO_NOISE_CONTROL, Board, Seat
from noise_search.search.checkpoint_files import forget_checkpoints, forget_unfinished
from noise_search.search.failing import after_failure
from noise_search.search.left_behind import plan_left_behind
from noise_search.search.mirroring import member_entries
from noise_search.search.opening import OpenSweep, unmirrored
from noise_search.search.outcomes import Reference, refuse_diverged
from noise_search.search.space import Stored, constant_policies, policy_of
from noise_search.search.stopping import Verdict, judge, rung_epochs
from noise_search.search.telling import show_waiting, tell_finished
from noise_search.search.working import (
    Work,
    apply,
    end,
    out_of_time,
    plan,
    receive,
    submit_planned,
    take_up,
)
from noise_search.store import FINAL_STATES, NewMember, OutboxEntry, Store

STOP_POLL_SECONDS = 1.0


class StopRequested(KeyboardInterrupt):
    """Somebody asked the sweep to stop, from elsewhere."""


class Reporter(Protocol):
    """Whoever shows progress, counted in epochs of members."""

    def begin(self, total: int, done: int) -> None:
        """Work of the whole sweep, and how much of it an earlier run has done."""

    def advance(self, epochs: int) -> None:
        """So much more is done; or so much less, where a job has failed that had told of it."""

    def message(self, text: str) -> None:
        """How it stands, in a few words."""


class Watched:
    """Reporter that passes on what it is told, and looks about every second whether somebody asked to stop.

    Args:
        reporter: That shows it.
        store, sweep_id: Whose request counts.
        poll: Called before each look.
    """

    def __init__(
        self, reporter: Reporter, store: Store, sweep_id: int, poll: Callable[[], None] = lambda: None
    ) -> None:
        self._reporter, self._store, self._sweep_id, self._poll = reporter, store, sweep_id, poll
        self._looked = time.monotonic()

    def begin(self, total: int, done: int) -> None:
        """Pass it on."""
        self._reporter.begin(total, done)

    def message(self, text: str) -> None:
        """Pass it on."""
        self._reporter.message(text)

    def advance(self, epochs: int) -> None:
        """Pass it on, and look.

        Raises:
            StopRequested: Somebody asked for it.
        """
        self._reporter.advance(epochs)
        if time.monotonic() - self._looked >= STOP_POLL_SECONDS:
            self._looked = time.monotonic()
            self._poll()
            refuse_to_go_on(self._store, self._sweep_id)


def drive(opened: OpenSweep, reporter: Reporter) -> None:
    """Run a sweep up to its total. An interruption between or within jobs loses the current job at most.

    Raises:
        StopRequested: Somebody asked for it.
        CallerError: The control without noise diverged.
    """
    spec = opened.spec
    board = Board(spec, rung_epochs(spec.stopping, spec.train.epochs), opened.executor.steps_per_epoch)
    _recover(opened)
    _add_controls(opened)
    board.load(opened.store, opened.sweep.id)
    reference = Reference(spec.train.epochs, opened.executor.validation_samples)
    reference.load(opened.store, opened.sweep.id, board)
    on_job = partial(_report, board, reporter)
    watched = Watched(reporter, opened.store, opened.sweep.id, opened.observer.poll)
    work = Work(opened, board, reference, watched.advance, on_job, spec.driver.cohort)
    _bring_up_to_date(work)
    plan_left_behind(work)
    opened.observer.watch(board, opened.mirror)
    reporter.begin(*_amount(work))
    _keep_busy(work)
    while work.under_way:
        _take_in(work)
        _keep_busy(work)
    if not out_of_time(opened):
        _stop_the_rest(work)


def _keep_busy(work: Work) -> None:
    """Submit jobs until so many are under way as may be, or nothing can be done before one of them ends.

    Everything is compared with the control without noise: as long as it trains, nothing else does.
    """
    while len(work.under_way) < work.window and not work.board.control().busy and not out_of_time(work.opened):
        if work.planned:
            submit_planned(work)
        elif seats := _next(work) if work.is_in_order else []:
            plan(work, seats)
            forget_checkpoints(work, [seat for seat in seats if seat.reached])
        else:
            return


def _take_in(work: Work) -> None:
    """Wait for a job to end, and apply what came of it."""
    finished = receive(work)
    own = take_up(work, finished)
    if finished.results is None:
        assert finished.error is not None
        after_failure(work, own, finished.error)
    else:
        apply(work, own, finished.results)
        forget_checkpoints(work, own.group.seats)
    if work.split and own.turn not in {
        *(one.turn for one in work.under_way.values()),
        *(group.turn for group in work.planned),
    }:
        work.split.discard(own.turn)


def refuse_to_go_on(store: Store, sweep_id: int) -> None:
    """Raise where somebody asked the sweep to stop.

    Raises:
        StopRequested: So it is.
    """
    if store.stop_requested(sweep_id):
        raise StopRequested


# --- at the start ---


def _recover(opened: OpenSweep) -> None:
    opened.writer.abandon_running_jobs()
    forget_unfinished(opened.checkpoint_folder)
    known = {member.number for member in opened.store.members(opened.sweep.id)}
    opened.writer.add_members(
        [
            _new_trial(number, parameters, policy_of(opened.spec.space, Stored(parameters)))
            for number, parameters in opened.study.running()
            if number not in known
        ]
    )
    if opened.mirror is not None:
        opened.writer.enqueue(_entries_of_untracked_runs(opened))


def _entries_of_untracked_runs(opened: OpenSweep) -> list[OutboxEntry]:
    left = unmirrored(opened.store, opened.sweep.id)
    rows = opened.store.results(opened.sweep.id, member_ids=[member.id for member in left])
    made = opened.sweep.created_at
    return member_entries(opened.spec, opened.sweep, left, rows, outcomes={}, started=made, ended=made)


def _add_controls(opened: OpenSweep) -> None:
    spec = opened.spec
    policies = {NO_NOISE_CONTROL: Policy()}
    constants = constant_policies(spec.space, spec.controls.constants)
    policies |= {f"constant_{index}": policy for index, policy in enumerate(constants, start=1)}
    randoms = random_policies(spec.space, spec.controls.random, seed=spec.seed)
    policies |= {f"random_{index}": policy for index, policy in enumerate(randoms, start=1)}
    opened.writer.add_members([NewMember(None, name, {}, policy_to_list(policy)) for name, policy in policies.items()])


def _bring_up_to_date(work: Work) -> None:
    """Tell Optuna what the last driver did not come to tell, and show samplers who waits."""
    seats = list(work.board.seats())
    tell_finished(work.opened, seats)
    show_waiting(work.opened, [seat for seat in seats if seat.reached >= seat.target])
    forget_checkpoints(work, seats)


def _amount(work: Work) -> tuple[int, int]:
    """Epochs of all members up to the total, and how many of them are done."""
    seats, epochs, slots = list(work.board.seats()), work.board.rungs[-1], len(work.seeds)
    controls = sum(seat.control is not None for seat in seats)
    trials = max(work.opened.spec.budget.trials, len(seats) - controls)
    done = sum(epochs if seat.state in FINAL_STATES else seat.reached for seat in seats)
    return (controls + trials) * epochs * slots, done * slots


# --- what next ---


def _next(work: Work) -> list[Seat]:
    """Members to train next; empty at the end, and where that depends on jobs under way."""
    opened, board = work.opened, work.board
    refuse_to_go_on(opened.store, opened.sweep.id)
    refuse_diverged(opened.spec, board.control())
    if any(seat.busy for seat in board.controls()):
        return []
    if _is_cut_short(work):
        _ask(work)
    if due := board.due():
        controls = [seat for seat in due if seat.control is not None]
        return controls or due
    if going_on := _promote(work):
        return going_on
    if len(opened.study) < opened.spec.budget.trials:
        _ask(work)
        return board.due()
    return [] if work.under_way else _promote(work, at_least=1)


def _promote(work: Work, *, at_least: int | None = None) -> list[Seat]:
    """Let up to a batch of trials go on from the highest rung at which enough may.

    Args:
        work: Of the driver.
        at_least: How many are enough; None: so many as a batch leaves at the rung.
    """
    board, batch = work.board, work.opened.spec.sampler.batch
    for rung in reversed(board.rungs[:-1]):
        ready = _ready(work, rung, at_least=at_least or _left_of_a_batch(work, rung))
        if ready:
            chosen = ready[:batch]
            target = board.after(rung)
            work.opened.writer.promote([seat.id for seat in chosen], target)
            for seat in chosen:
                assert seat.number is not None
                seat.target = target
                work.opened.study.resume(seat.number)
            work.opened.observer.promoted(chosen, rung)
            return sorted(chosen, key=lambda seat: seat.number or 0)
    return []


def _left_of_a_batch(work: Work, rung: int) -> int:
    """How many of a batch go on from a rung, two at least, which train side by side.

    Were it a whole batch at every rung, none would come to its end before nearly all have begun, and samplers would
    propose without knowing how any ends.
    """
    spec = work.opened.spec
    left = spec.sampler.batch / spec.stopping.factor ** (work.board.rungs.index(rung) + 1)
    return max(min(2, spec.sampler.batch), round(left))


def _ready(work: Work, rung: int, *, at_least: int) -> list[Seat]:
    """Trials that wait at a rung and may go on, the best first; none where they are too few."""
    waiting = work.board.waiting(rung)
    if len(waiting) < at_least:
        return []
    verdicts = _verdicts(work, rung, waiting)
    ready = [(verdicts[seat.number], seat) for seat in waiting if seat.number is not None]
    going_on = [seat for verdict, seat in sorted(ready, key=lambda pair: pair[0].place) if verdict.goes_on]
    return going_on if len(going_on) >= at_least else []


def _verdicts(work: Work, rung: int, waiting: Sequence[Seat]) -> Mapping[int, Verdict]:
    board, numbers = work.board, {seat.number for seat in waiting if seat.number is not None}
    return judge(board.ranking(rung), work.opened.spec.stopping, judged_first=board.judged_first(), of=numbers)


def _is_cut_short(work: Work) -> bool:
    """Whether a kill cut short the asking of a batch: nothing of it has run, and some of it is not there."""
    asked, spec = len(work.opened.study), work.opened.spec
    started = asked - asked % spec.sampler.batch
    if asked >= spec.budget.trials or asked == started:
        return False
    last = [work.board.trial(number) for number in range(started, asked)]
    return all(seat.state == "waiting" and not seat.reached for seat in last)


def _ask(work: Work) -> None:
    """Ask up to the end of the batch; batches are numbered, so that a kill does not shift them."""
    opened = work.opened
    asked, batch = len(opened.study), opened.spec.sampler.batch
    count = min(batch - asked % batch, opened.spec.budget.trials - asked)
    opened.writer.renew()  # Optuna knows no lease: make sure of ours before writing there
    proposals = opened.study.ask_batch(count)
    members = opened.writer.add_members([_new_trial(p.number, p.parameters, p.policy) for p in proposals])
    work.board.add(members)
    opened.observer.asked(members)


def _new_trial(number: int, parameters: Mapping[str, object], policy: Policy) -> NewMember:
    return NewMember(number, None, dict(parameters), policy_to_list(policy))


# --- at the end ---


def _stop_the_rest(work: Work) -> None:
    """Stop whoever waits at a rung, the reason being its place there."""
    for rung in work.board.rungs[:-1]:
        waiting = work.board.waiting(rung)
        if waiting:
            verdicts = _verdicts(work, rung, waiting)
            at = f"after {rung} of {work.board.rungs[-1]} epochs"
            reasons = {seat.id: f"{verdicts[seat.number or 0].reason}, {at}" for seat in waiting}
            end(work, reasons, "stopped")
    forget_checkpoints(work, list(work.board.seats()))


def _report(board: Board, reporter: Reporter) -> None:
    reporter.message(_how_it_stands(board))


def _how_it_stands(board: Board) -> str:
    if board.best is None:
        return "first rung" if board.has_trials else "controls"
    return f"best {board.best.scores[board.rungs[-1]]['score']:.3f} (trial {board.best.number})"
