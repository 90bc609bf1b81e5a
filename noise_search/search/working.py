"""Work on due members: jobs, what becomes of their results, and what need not be trained.

Several jobs may be under way. Each belongs to a turn: the turns count up in the order in which jobs were planned, and
what a failed job is split into takes its turn. Results are applied as they come, or, with `driver.ordered`, by turn:
what is decided then depends on nothing but the jobs under way at a time, whoever trains them and however long it takes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from noise_search.execute import Finished
from noise_search.search.board import NO_NOISE_CONTROL, Board, Seat
from noise_search.search.mirroring import member_entries
from noise_search.search.opening import OpenSweep
from noise_search.search.outcomes import Reference, first_rows, settled, taken_from_control, with_comparisons
from noise_search.search.results import Row
from noise_search.search.telling import show_waiting, tell_finished
from noise_search.seeds import seeds_of
from noise_search.spec import SweepSpec
from noise_search.store import FINAL_STATES, NewResult, OutboxEntry, ResultRecord
from noise_search.training import Job, Member, Result

OnEpoch = Callable[[int], None]


class LostResultError(RuntimeError):
    """A job ended without the result of each of its slots."""


@dataclass(frozen=True, slots=True)
class Group:
    """Members that stand at the same epoch and shall train to the same, together as far as there are slots.

    Args:
        seats: In slot order.
        from_epoch, to_epoch: What they train.
        turn: Of the job that they are left of; None before they are submitted.
    """

    seats: tuple[Seat, ...]
    from_epoch: int
    to_epoch: int
    turn: int | None = None


@dataclass(slots=True)
class UnderWay:
    """A job that is submitted.

    Args:
        group, turn: Who trains, and when it counts.
        job_id, job: As what in the store, and for the executor.
        left: Parts that are to be trained yet: a member with more seeds than there are slots trains in several.
        started, clock: When, by the calendar and by the executor's clock.
        results: Of the parts that are trained.
        epochs: Member-epochs that were told of.
        worker: Who trained it, or the last part of it.
    """

    group: Group
    turn: int
    job_id: int
    job: Job
    left: list[Job]
    started: datetime
    clock: float
    results: list[Result] = field(default_factory=list)
    epochs: int = 0
    worker: str | None = None


@dataclass(slots=True)
class Work:
    """A driver at work.

    Args:
        opened, board: The sweep, and how it stands.
        reference: What trials are compared with.
        on_epoch: Told of finished member-epochs.
        on_job: Called after every job whose results are stored.
        width: Slots of a job, at most.
        planned: Groups that are to be submitted next.
        under_way: Jobs by ticket.
        ended: Jobs that have ended before it was their turn.
        turn: The last that was given.
        split: Turns of which a job has failed, and which are not through yet.
        narrowed: Turn -> slots of a job before memory ran out in it.
        counted: Until when seconds are counted, by the executor's clock: those of jobs side by side count once.
    """

    opened: OpenSweep
    board: Board
    reference: Reference
    on_epoch: OnEpoch
    on_job: Callable[[], None]
    width: int
    planned: deque[Group] = field(default_factory=deque)
    under_way: dict[int, UnderWay] = field(default_factory=dict)
    ended: dict[int, Finished] = field(default_factory=dict)
    turn: int = 0
    split: set[int] = field(default_factory=set)
    narrowed: dict[int, int] = field(default_factory=dict)
    counted: float = float("-inf")
    seeds: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.seeds = training_seeds(self.opened.spec)

    @property
    def window(self) -> int:
        """Jobs that may be under way at the same time."""
        return self.opened.spec.driver.window or self.opened.executor.places

    @property
    def is_in_order(self) -> bool:
        """Whether new work may be planned: where the order counts, not while a turn is applied in part."""
        return not (self.opened.spec.driver.ordered and self.split)

    def has_left(self, turn: int) -> bool:
        """Whether anything of a turn is under way or planned."""
        of_jobs = any(one.turn == turn for one in self.under_way.values())
        return of_jobs or any(group.turn == turn for group in self.planned)


def training_seeds(spec: SweepSpec) -> tuple[int, ...]:
    """Seeds that every trial is trained with: the sweep's own first."""
    return seeds_of(spec.seed, spec.budget.seeds)


def out_of_time(opened: OpenSweep) -> bool:
    """Whether `budget.minutes` is used up, so that no job is to be started any more."""
    minutes = opened.spec.budget.minutes
    return minutes is not None and opened.store.sweep(opened.sweep.name).seconds >= 60 * minutes


def plan(work: Work, seats: Sequence[Seat]) -> None:
    """Let members train one rung further, those that stand at the same one together, unless they need not train."""
    for epoch in dict.fromkeys(seat.reached for seat in seats):
        group = [seat for seat in seats if seat.reached == epoch]
        to_epoch = work.board.after(epoch)
        silent = [seat for seat in group if _may_share(work, seat, to_epoch)]
        if silent:
            _take_from_control(work, silent, to_epoch)
        if training := tuple(seat for seat in group if seat not in silent):
            work.planned.append(Group(training, epoch, to_epoch))


def submit_planned(work: Work) -> None:
    """Submit the next job: of the group that is first in line, whom there are slots for."""
    group = work.planned.popleft()
    width = max(1, work.width // len(work.seeds))
    if rest := group.seats[width:]:
        work.planned.appendleft(replace(group, seats=rest))
        group = replace(group, seats=group.seats[:width])
    turn = _turn(work, group)
    ids = [seat.id for seat in group.seats]
    opened, job = work.opened, _job(work, group)
    job_id = opened.writer.start_job(ids, from_epoch=group.from_epoch, to_epoch=group.to_epoch, seeds=work.seeds)
    slots = range(0, len(job.members), work.width)
    first, *left = (replace(job, members=job.members[start : start + work.width]) for start in slots)
    work.under_way[job_id] = UnderWay(group, turn, job_id, job, left, datetime.now(UTC), opened.executor.now())
    for seat in group.seats:
        seat.busy = True
    opened.observer.submitted(job_id, group.seats, group.from_epoch, group.to_epoch)
    opened.executor.submit(job_id, first)


def _turn(work: Work, group: Group) -> int:
    if group.turn is not None:
        return group.turn
    work.turn += 1
    return work.turn


def receive(work: Work) -> Finished:
    """Wait for a job to end whose results are to be applied next: the first that does, or the one whose turn it is."""
    while True:
        if work.opened.spec.driver.ordered:
            first = min(work.under_way.values(), key=lambda one: (one.turn, one.job_id)).job_id
            if first in work.ended:
                return work.ended.pop(first)
        finished = work.opened.executor.next(_telling(work))
        if finished.ticket not in work.under_way or finished.ticket in work.ended:
            continue  # of an earlier job
        if (whole := _whole(work, finished)) is None:
            continue
        if not work.opened.spec.driver.ordered:
            return whole
        work.ended[whole.ticket] = whole


def _telling(work: Work) -> Callable[[int, int], None]:
    def on_epoch(ticket: int, epochs: int) -> None:
        if ticket in work.under_way:
            work.under_way[ticket].epochs += epochs
        work.on_epoch(epochs)

    return on_epoch


def _whole(work: Work, finished: Finished) -> Finished | None:
    """A job with the results of all its parts; None while there are more to train."""
    own = work.under_way[finished.ticket]
    if finished.results is None:
        return finished
    own.results += finished.results
    if own.left:
        work.opened.executor.submit(own.job_id, own.left.pop(0))
        return None
    try:
        return replace(finished, results=_one_a_slot(own.job, own.results))
    except LostResultError as error:
        return Finished(finished.ticket, None, error, finished.worker)


def apply(work: Work, own: UnderWay, results: Sequence[Result]) -> None:
    """Store what a job has found, and let everybody know."""
    opened, seats = work.opened, own.group.seats
    going_on = [seat.id for seat in seats if seat.reached]
    earlier = opened.store.results(opened.sweep.id, member_ids=going_on) if going_on else []
    rows = _settle(work, seats, results, earlier)
    entries = _entries(work, _outcomes(rows), [*earlier, *rows], own.started)
    epochs = (own.group.to_epoch - own.group.from_epoch) * len(results) + sum(result.retrained for result in results)
    samples, seconds = _samples_scored(opened, results), seconds_of(work, own)
    opened.writer.finish_job(own.job_id, rows, entries, epochs_trained=epochs, samples_scored=samples, seconds=seconds)
    opened.observer.ended(own.job_id, own.worker, epochs=epochs, samples=samples, seconds=seconds)
    _note(work, seats, rows)
    show_waiting(opened, seats)


def take_up(work: Work, finished: Finished) -> UnderWay:
    """Take a job from those under way."""
    own = work.under_way.pop(finished.ticket)
    own.worker = finished.worker
    for seat in own.group.seats:
        seat.busy = False
    return own


def seconds_of(work: Work, own: UnderWay) -> float:
    """Seconds of a job that were not counted with another's, up to now."""
    now = work.opened.executor.now()
    since, work.counted = max(own.clock, work.counted), now
    return max(0.0, now - since)


def _job(work: Work, group: Group) -> Job:
    members = tuple(
        Member(str(seat.id), seat.policy, seed, seat.checkpoints.get(group.from_epoch, {}).get(seed))
        for seat in group.seats
        for seed in work.seeds
    )
    return Job(
        members,
        group.from_epoch,
        group.to_epoch,
        str(work.opened.checkpoint_folder),
        keep=group.to_epoch < work.board.rungs[-1],
        averaged=work.opened.spec.stopping.average,
    )


def _one_a_slot(job: Job, results: Sequence[Result]) -> list[Result]:
    """Results in slot order; one that came twice counts once, one of another rung or of another job not at all.

    Raises:
        LostResultError: Some are missing.
    """
    found = {(result.member, result.seed): result for result in results if result.epoch == job.to_epoch}
    slots = [(member.name, member.seed) for member in job.members]
    if missing := [name for name, seed in slots if (name, seed) not in found]:
        raise LostResultError(f"the job ended without results of {len(missing)} of {len(slots)} slots")
    return [found[slot] for slot in slots]


def _settle(
    work: Work, seats: Sequence[Seat], results: Sequence[Result], earlier: Sequence[ResultRecord]
) -> list[NewResult]:
    spec, rows = work.opened.spec, first_rows(work.opened.spec, seats, results)
    diverged = {int(result.member) for result in results if result.diverged}
    _note_control(work, rows)
    rows = with_comparisons(spec, rows, work.reference)
    rows = [
        row
        for seat in seats
        for row in settled(
            spec,
            seat,
            [row for row in rows if row.member_id == seat.id],
            [row for row in earlier if row.member_id == seat.id],
            work.reference,
            diverged=seat.id in diverged,
            silent=work.board.is_silent_until(seat, results[0].epoch),
        )
    ]
    _note_control(work, rows)  # with what it is compared with, itself
    return rows


def _note_control(work: Work, rows: Sequence[NewResult]) -> None:
    work.reference.note([row for row in rows if work.board.seat(row.member_id).control == NO_NOISE_CONTROL])


def _outcomes(rows: Sequence[NewResult]) -> dict[int, tuple[str, str | None]]:
    """State and reason of those that have come to their end."""
    return {row.member_id: (row.state, row.reason) for row in rows if row.state in FINAL_STATES}


def _entries(
    work: Work, outcomes: Mapping[int, tuple[str, str | None]], rows: Sequence[Row], started: datetime
) -> list[OutboxEntry]:
    """What the mirror is to show of those that have come to their end."""
    opened = work.opened
    if not opened.spec.tracking.enabled or not outcomes:
        return []
    members = opened.store.members(opened.sweep.id, member_ids=list(outcomes))
    return member_entries(
        opened.spec, opened.sweep, members, rows, outcomes=outcomes, started=started, ended=datetime.now(UTC)
    )


def _count_untrained(work: Work, seats: Sequence[Seat]) -> None:
    """Count the epochs as done that members will not train, because they have come to their end before."""
    left = sum(work.board.rungs[-1] - seat.reached for seat in seats) * len(work.seeds)
    if left:
        work.on_epoch(left)


def _note(work: Work, seats: Sequence[Seat], rows: Sequence[NewResult]) -> None:
    """Let everybody know of results that are stored."""
    work.board.store_results(rows)
    work.opened.observer.reached(seats)
    work.opened.observer.settled(seats, {row.member_id: row.reason for row in rows})
    tell_finished(work.opened, seats)
    if work.opened.mirror is not None:
        work.opened.mirror.wake()
    _count_untrained(work, [seat for seat in seats if seat.state in FINAL_STATES])
    work.on_job()


# --- those that come to their end without a job ---


def end(work: Work, reasons: Mapping[int, str], state: str) -> None:
    """Stop members or give them up, each for its reason."""
    opened = work.opened
    rows = opened.store.results(opened.sweep.id, member_ids=list(reasons)) if opened.spec.tracking.enabled else []
    outcomes = {member_id: (state, reason) for member_id, reason in reasons.items()}
    opened.writer.end_members(reasons, state, _entries(work, outcomes, rows, datetime.now(UTC)))
    seats = [work.board.seat(member_id) for member_id in reasons]
    for seat in seats:
        work.board.set_state(seat, state)
    opened.observer.settled(seats, reasons)
    tell_finished(work.opened, seats)
    if work.opened.mirror is not None:
        work.opened.mirror.wake()
    _count_untrained(work, seats)


# --- what need not be trained ---


def _may_share(work: Work, seat: Seat, to_epoch: int) -> bool:
    """Whether a trial is at this rung what the control is: nothing of its noise has acted.

    Only where the control's numbers are a trial's to the last bit.
    """
    opened = work.opened
    if seat.control is not None or not opened.spec.driver.share_prefix or not opened.sweep.bitwise:
        return False
    control = work.board.control()
    kept = control.checkpoints.get(to_epoch, {})
    return (
        control.state not in ("infeasible", "failed")
        and set(kept) == set(work.seeds)
        and work.board.is_silent_until(seat, to_epoch)
    )


def _take_from_control(work: Work, seats: Sequence[Seat], to_epoch: int) -> None:
    spec, epochs = work.opened.spec, to_epoch - seats[0].reached
    rows = [row for seat in seats for row in taken_from_control(spec, work.reference.rows(to_epoch), seat)]
    work.opened.writer.add_results(rows, [])
    work.board.store_results(rows)
    work.opened.observer.reached(seats, shared=True)
    show_waiting(work.opened, seats)
    work.on_epoch(epochs * len(rows))


def _samples_scored(opened: OpenSweep, results: Sequence[Result]) -> int:
    suite = opened.spec.suite
    sets = 1 + sum(len(kind.strengths) for kind in suite.kinds)
    scorings = sum(1 for result in results for row in result.history if "clean" in row)
    perturbed = (len(suite.weight_strengths) * suite.weight_draws + len(suite.weight_bits)) * len(results)
    samples: int = (scorings * sets + perturbed) * opened.executor.validation_samples
    return samples
