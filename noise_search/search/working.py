"""Work on due members: jobs, what becomes of their results, and jobs that fail.

A job that fails is split in two, and its halves again, until the culprit is alone: only failing alone uses up its
attempts. Where memory ran out, later jobs have half the slots of the one that failed, unless it ran out for a trial
alone, too: then it was that trial, and the others keep their width.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal

import torch

from noise_search.search.board import NO_NOISE_CONTROL, Board, Seat
from noise_search.search.mirroring import member_entries
from noise_search.search.opening import OpenSweep
from noise_search.search.outcomes import Reference, first_rows, settled, taken_from_control, with_comparisons
from noise_search.search.results import Row
from noise_search.search.telling import tell_finished
from noise_search.seeds import seeds_of
from noise_search.spec import SweepSpec
from noise_search.store import FINAL_STATES, NewResult, OutboxEntry, ResultRecord
from noise_search.training import Job, Member, Result

_log = logging.getLogger(__name__)
_SHOWN_ERROR = 300  # characters
_NO_MEMORY = ("can't allocate memory", "cannot allocate memory", "not enough memory", "out of memory")
OnEpoch = Callable[[int], None]


class LostResultError(RuntimeError):
    """A job ended without the result of each of its slots."""


@dataclass(slots=True)
class _Telling:
    """Tells of a job's finished member-epochs, and counts them; where that fails, no trial is to blame."""

    on_epoch: OnEpoch
    epochs: int = 0
    error: Exception | None = None

    def __call__(self, epochs: int) -> None:
        self.epochs += epochs
        try:
            self.on_epoch(epochs)
        except Exception as error:
            self.error = error
            raise

    def raise_its_own(self) -> None:
        """Raise what came from telling, if that is what ended the job."""
        if self.error is not None:
            raise self.error


@dataclass(slots=True)
class Work:
    """A driver at work.

    Args:
        opened, board: The sweep, and how it stands.
        reference: What trials are compared with.
        on_epoch: Told of finished member-epochs.
        on_job: Called after every job whose results are stored.
        width: Slots of a job, at most.
        seeds: That every member is trained with.
    """

    opened: OpenSweep
    board: Board
    reference: Reference
    on_epoch: OnEpoch
    on_job: Callable[[], None]
    width: int
    seeds: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.seeds = training_seeds(self.opened.spec)


def training_seeds(spec: SweepSpec) -> tuple[int, ...]:
    """Seeds that every trial is trained with: the sweep's own first."""
    return seeds_of(spec.seed, spec.budget.seeds)


def out_of_time(opened: OpenSweep) -> bool:
    """Whether `budget.minutes` is used up, so that no job is to be started any more."""
    minutes = opened.spec.budget.minutes
    return minutes is not None and opened.store.sweep(opened.sweep.name).seconds >= 60 * minutes


def work_on(work: Work, seats: Sequence[Seat]) -> None:
    """Bring members one rung further, as long as there is time: those that stand at the same one together."""
    for epoch in dict.fromkeys(seat.reached for seat in seats):
        group = [seat for seat in seats if seat.reached == epoch]
        to_epoch = work.board.after(epoch)
        silent = [seat for seat in group if _may_share(work, seat, to_epoch)]
        if silent:
            _take_from_control(work, silent, to_epoch)
        _run_all(work, [seat for seat in group if seat not in silent], epoch, to_epoch)


def _run_all(work: Work, seats: Sequence[Seat], from_epoch: int, to_epoch: int) -> None:
    left = list(seats)
    while left and not out_of_time(work.opened):
        width = max(1, work.width // len(work.seeds))
        _run(work, left[:width], from_epoch, to_epoch)
        left = left[width:]


def _run(work: Work, seats: Sequence[Seat], from_epoch: int, to_epoch: int) -> None:
    """Train, store and tell one job; its halves where it fails."""
    opened = work.opened
    ids = [seat.id for seat in seats]
    job_id = opened.writer.start_job(ids, from_epoch=from_epoch, to_epoch=to_epoch, seeds=work.seeds)
    started, clock, telling = datetime.now(UTC), opened.executor.now(), _Telling(work.on_epoch)
    try:
        results = _train(work, _job(work, seats, from_epoch, to_epoch), telling)
    except Exception as error:
        telling.raise_its_own()
        width, alone = work.width, _out_of_memory_alone(seats)
        _after_failure(work, seats, job_id, error, telling.epochs, opened.executor.now() - clock)
        work.on_epoch(-telling.epochs)  # they are to be trained again
        _run_halves(work, seats, from_epoch, to_epoch)
        if _out_of_memory_alone(seats) > alone:
            work.width = width
            _log.warning("memory ran out for a trial alone, too: jobs have %d slots again", width)
        return
    going_on = [seat.id for seat in seats if seat.reached]
    earlier = opened.store.results(opened.sweep.id, member_ids=going_on) if going_on else []
    rows = _settle(work, seats, results, earlier)
    opened.writer.finish_job(
        job_id,
        rows,
        _entries(work, _outcomes(rows), [*earlier, *rows], started),
        epochs_trained=(to_epoch - from_epoch) * len(results) + sum(result.retrained for result in results),
        samples_scored=_samples_scored(opened, results),
        seconds=opened.executor.now() - clock,
    )
    _note(work, seats, rows)


def _train(work: Work, job: Job, telling: _Telling) -> list[Result]:
    """Results of a job in slot order; of a member with more seeds than there are slots in several turns."""
    slots = range(0, len(job.members), work.width)
    parts = [replace(job, members=job.members[first : first + work.width]) for first in slots]
    return _one_a_slot(job, [result for part in parts for result in work.opened.executor.run(part, telling)])


def _job(work: Work, seats: Sequence[Seat], from_epoch: int, to_epoch: int) -> Job:
    members = tuple(
        Member(str(seat.id), seat.policy, seed, seat.checkpoints.get(from_epoch, {}).get(seed))
        for seat in seats
        for seed in work.seeds
    )
    return Job(
        members,
        from_epoch,
        to_epoch,
        str(work.opened.checkpoint_folder),
        keep=to_epoch < work.board.rungs[-1],
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
    tell_finished(work.opened, seats)
    if work.opened.mirror is not None:
        work.opened.mirror.wake()
    _count_untrained(work, [seat for seat in seats if seat.state in FINAL_STATES])
    work.on_job()


# --- jobs that fail ---


def _after_failure(
    work: Work, seats: Sequence[Seat], job_id: int, error: Exception, epochs: int, seconds: float
) -> None:
    """Store that a job has failed, and what it cost; who was alone in it is to blame."""
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:_SHOWN_ERROR]
    kind, slots = _kind(error), min(len(seats) * len(work.seeds), work.width)
    can_be_split = len(seats) > 1 or (kind == "memory" and slots > 1)
    alone = None if can_be_split else seats[0]
    work.opened.writer.fail_job(
        job_id,
        reason,
        kind=kind,
        blamed=None if alone is None else alone.id,
        epochs_trained=epochs,
        seconds=seconds,
    )
    if kind == "memory" and slots > 1:
        work.width = math.ceil(slots / 2)
        _log.warning("memory ran out: jobs have %d slots from now on", work.width)
    if alone is None:
        _log.warning("a job of %d slots failed and is split: %s", len(seats) * len(work.seeds), reason)
    else:
        _blame(work, alone, kind, reason, error)


def _blame(work: Work, alone: Seat, kind: str, reason: str, error: Exception) -> None:
    """Count a failure of a member alone, and give it up after too many."""
    alone.attempts[kind] = alone.attempts.get(kind, 0) + 1
    given_up = alone.attempts[kind] > getattr(work.opened.spec.driver.retries, kind)
    if given_up and alone.control == NO_NOISE_CONTROL:
        raise error  # nothing can be compared without it
    if given_up:
        _log.warning("%s failed: %s", alone.name, reason)
        end(work, {alone.id: reason}, "failed")
    else:
        _log.warning("%s failed and is tried again: %s", alone.name, reason)


def _run_halves(work: Work, seats: Sequence[Seat], from_epoch: int, to_epoch: int) -> None:
    if len(seats) == 1:
        if seats[0].state == "waiting" and not out_of_time(work.opened):
            _run(work, seats, from_epoch, to_epoch)
        return
    middle = len(seats) // 2
    for half in (seats[:middle], seats[middle:]):
        _run_all(work, half, from_epoch, to_epoch)


def _out_of_memory_alone(seats: Sequence[Seat]) -> int:
    """How often memory has run out for one of them with nothing else in its job."""
    return sum(seat.attempts.get("memory", 0) for seat in seats)


def _kind(error: Exception) -> Literal["error", "memory", "lost"]:
    # On a CPU torch has no class of its own for it.
    says_so = isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _NO_MEMORY)
    if says_so or isinstance(error, MemoryError | torch.OutOfMemoryError):
        return "memory"
    return "lost" if isinstance(error, LostResultError) else "error"


def end(work: Work, reasons: Mapping[int, str], state: str) -> None:
    """Stop members or give them up, each for its reason."""
    opened = work.opened
    rows = opened.store.results(opened.sweep.id, member_ids=list(reasons)) if opened.spec.tracking.enabled else []
    outcomes = {member_id: (state, reason) for member_id, reason in reasons.items()}
    opened.writer.end_members(reasons, state, _entries(work, outcomes, rows, datetime.now(UTC)))
    seats = [work.board.seat(member_id) for member_id in reasons]
    for seat in seats:
        work.board.set_state(seat, state)
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
    work.on_epoch(epochs * len(rows))


def _samples_scored(opened: OpenSweep, results: Sequence[Result]) -> int:
    suite = opened.spec.suite
    sets = 1 + sum(len(kind.strengths) for kind in suite.kinds)
    scorings = sum(1 for result in results for row in result.history if "clean" in row)
    perturbed = (len(suite.weight_strengths) * suite.weight_draws + len(suite.weight_bits)) * len(results)
    samples: int = (scorings * sets + perturbed) * opened.executor.validation_samples
    return samples
