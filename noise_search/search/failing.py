"""Jobs that fail.

A job that fails is split in two, and its halves again, until the culprit is alone: only failing alone uses up its
attempts. Where memory ran out, later jobs have half the slots of the one that failed, unless it ran out for a trial
alone, too: then it was that trial, and the others keep their width.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import torch

from noise_search.execute import LostWorkerError
from noise_search.search.board import NO_NOISE_CONTROL, Seat
from noise_search.search.working import LostResultError, UnderWay, Work, end, seconds_of

_log = logging.getLogger(__name__)
_SHOWN_ERROR = 300  # characters
_NO_MEMORY = ("can't allocate memory", "cannot allocate memory", "not enough memory", "out of memory")
Kind = Literal["error", "memory", "lost"]


def after_failure(work: Work, own: UnderWay, error: Exception) -> None:
    """Store that a job has failed, and what it cost, and plan what is left of it; who was alone in it is to blame."""
    seats = own.group.seats
    reason = _reason(error)
    kind, slots = _kind(error), min(len(seats) * len(work.seeds), work.width)
    can_be_split = len(seats) > 1 or (kind == "memory" and slots > 1)
    alone = None if can_be_split else seats[0]
    blamed, seconds = None if alone is None else alone.id, seconds_of(work, own)
    work.opened.writer.fail_job(
        own.job_id, reason, kind=kind, blamed=blamed, epochs_trained=own.epochs, seconds=seconds
    )
    failed = work.opened.observer.failed(own.job_id, epochs=own.epochs, seconds=seconds)
    said = work.opened.observer.about("job_failed", **failed, worker=own.worker, kind=kind, reason=reason)
    work.on_epoch(-own.epochs)  # they are to be trained again
    work.split.add(own.turn)
    if kind == "memory":
        _narrow(work, own.turn, slots, alone)
    if alone is None:
        _log.warning("a job of %d slots failed and is split: %s", len(seats) * len(work.seeds), reason, extra=said)
    else:
        _blame(work, alone, kind, reason, error, said)
    _plan_again(work, own)


def _reason(error: Exception) -> str:
    """What an error says, in one line that every database takes: PostgreSQL no NUL, none of them half a character."""
    said = " ".join(f"{type(error).__name__}: {error}".split())[:_SHOWN_ERROR]
    return said.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


def _narrow(work: Work, turn: int, slots: int, alone: Seat | None) -> None:
    if alone is None:
        work.narrowed.setdefault(turn, work.width)
        work.width = math.ceil(slots / 2)
        _log.warning("memory ran out: jobs have %d slots from now on", work.width)
    elif turn in work.narrowed:
        work.width = work.narrowed.pop(turn)
        _log.warning("memory ran out for a trial alone, too: jobs have %d slots again", work.width)


def _blame(work: Work, alone: Seat, kind: Kind, reason: str, error: Exception, said: Mapping[str, object]) -> None:
    """Count a failure of a member alone, and give it up after too many; `said` goes with the message in the log."""
    alone.attempts[kind] = alone.attempts.get(kind, 0) + 1
    given_up = alone.attempts[kind] > getattr(work.opened.spec.driver.retries, kind)
    if given_up and alone.control == NO_NOISE_CONTROL:
        raise error  # nothing can be compared without it
    if given_up:
        _log.warning("%s failed: %s", alone.name, reason, extra=said)
        end(work, {alone.id: reason}, "failed")
    else:
        _log.warning("%s failed and is tried again: %s", alone.name, reason, extra=said)


def _plan_again(work: Work, own: UnderWay) -> None:
    """What is left of a failed job comes next, in its turn: its halves, or who was alone and is not given up."""
    for seats in reversed(_halves(own.group.seats)):
        work.planned.appendleft(replace(own.group, seats=seats, turn=own.turn))


def _halves(seats: Sequence[Seat]) -> list[tuple[Seat, ...]]:
    if len(seats) == 1:
        return [tuple(seats)] if seats[0].state == "waiting" else []
    middle = len(seats) // 2
    return [tuple(seats[:middle]), tuple(seats[middle:])]


def _kind(error: Exception) -> Kind:
    # On a CPU torch has no class of its own for it.
    says_so = isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _NO_MEMORY)
    if says_so or isinstance(error, MemoryError | torch.OutOfMemoryError):
        return "memory"
    return "lost" if isinstance(error, LostResultError | LostWorkerError) else "error"
