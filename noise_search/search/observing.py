"""What a driver tells operators: events for the log of its sweep, numbers for its file of metrics."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from noise_search.operations import METRICS_FILE, Journal, MetricsFile, Numbers
from noise_search.search.board import Board, Seat
from noise_search.search.hypervolume import Point, front_hypervolume
from noise_search.search.progress import STATES
from noise_search.search.results import violated
from noise_search.spec import LogSpec
from noise_search.store import FINAL_STATES, LeaseLost, Location, MemberRecord, Store, StoreLostError, SweepRecord
from noise_search.tracking.mirror import Mirror

LOG = "log.jsonl"
_MEGABYTE = 1_000_000


class Observer:
    """Keeps the log and the metrics of a sweep while it is open; neither of them can stop it.

    Args:
        store, sweep: Whose driver it hears.
        folder: Of the sweep's files.
        log: What is written to the log, and how much is kept.
        generation: Of the driver's lease.
    """

    def __init__(self, store: Store, sweep: SweepRecord, folder: Path, log: LogSpec, generation: int) -> None:
        self._store, self._sweep, self._generation = store, sweep, generation
        largest = log.megabytes * _MEGABYTE
        self._journal = Journal(folder / LOG, sweep.name, level=log.level, largest_bytes=largest, kept=log.kept)
        self._file = MetricsFile(folder / METRICS_FILE, sweep.name, self._numbers)
        self._board: Board | None = None
        self._mirror: Mirror | None = None
        self._running = True
        self._under_way: dict[int, dict[str, object]] = {}  # job -> what its events say of it
        self._jobs = Counter(done=0, failed=0, abandoned=0)
        self._epochs = self._samples = 0
        self._seconds = 0.0
        self._front = _Front()
        self._mirror_error: str | None = None
        self._unsent = 0  # when the store could last be asked
        self._store_is_lost = False
        self._thread = threading.get_ident()

    def __enter__(self) -> Self:
        self._journal.__enter__()
        self._store.patience.outage.on_loss = self.store_lost
        driver = f"{socket.gethostname()}:{os.getpid()}"
        self._journal.note("lease_taken", driver=driver, generation=self._generation)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running = False
        self._store.patience.outage.on_loss = None
        try:
            if isinstance(error, LeaseLost):
                self._journal.note("lease_lost", logging.ERROR, reason=str(error), generation=self._generation)
            if isinstance(error, Exception):
                self._journal.note("sweep_failed", logging.ERROR, reason=f"{type(error).__name__}: {error}")
            if self._board is None or isinstance(error, LeaseLost):  # who has the lease now writes metrics
                return
            self._store_is_lost = isinstance(error, StoreLostError)
            if self._store_is_lost:
                self._under_way.clear()
            else:
                self._look_at_mirror(at_end=True)
            self._file.write(if_ours=self._store_is_lost)
        finally:
            self._journal.__exit__(kind, error, trace)

    def watch(self, board: Board, mirror: Mirror | None) -> None:
        """Begin: from now on the board is asked how trials stand."""
        self._board, self._mirror = board, mirror
        jobs = self._store.jobs(self._sweep.id)
        self._jobs.update(job.state for job in jobs)
        self._epochs = sum(job.epochs_trained for job in jobs)
        self._samples = sum(job.samples_scored for job in jobs)
        self._seconds = self._store.sweep(self._sweep.name).seconds
        self._front.add(seat for seat in board.seats() if seat.state == "complete")
        budget = self._sweep.budget_trials
        self._journal.note("sweep_started", budget=budget, trials=_counts(board.seats(), is_control=False, ended=True))
        self._file.write()

    def poll(self) -> None:
        """Bring the metrics up to date; about once a second."""
        self._look_at_mirror()
        self._file.write()

    def store_lost(self, is_lost: bool) -> None:
        """The driver waits for its database, or need not any more; as `Outage.on_loss` has it."""
        if threading.get_ident() != self._thread:  # the mirror waits, too; the driver will find out by itself
            return
        self._store_is_lost = is_lost
        if is_lost and self._board is not None:
            self._file.write(if_ours=True)  # its lease runs out meanwhile

    # --- events ---

    def about(self, event: str, /, **fields: object) -> Mapping[str, object]:
        """Fields of an event that is told to people too, as the `extra` of that message."""
        return self._journal.about(event, **fields)

    def asked(self, members: Iterable[MemberRecord]) -> None:
        """Trials were proposed."""
        for member in members:
            self._journal.note("trial_asked", trial=member.number, parameters=member.parameters)

    def submitted(self, job: int, seats: Sequence[Seat], from_epoch: int, to_epoch: int) -> None:
        """A job was left to the executor."""
        trials = [seat.number for seat in seats if seat.number is not None]
        controls = [seat.control for seat in seats if seat.control is not None]
        who = {key: found for key, found in (("trials", trials), ("controls", controls)) if found}
        self._under_way[job] = {"job": job, **who, "from_epoch": from_epoch, "rung": to_epoch}
        self._journal.note("job_submitted", **self._under_way[job])

    def ended(self, job: int, worker: str | None, *, epochs: int, samples: int, seconds: float) -> None:
        """The results of a job are stored."""
        cost = {"epochs": epochs, "samples": samples, "seconds": round(seconds, 3)}
        self._end("done", epochs, seconds)
        self._samples += samples
        self._journal.note("job_ended", **self._under_way.pop(job), worker=worker, **cost)

    def failed(self, job: int, *, epochs: int, seconds: float) -> dict[str, object]:
        """A job has failed; returns what is to be said of it."""
        self._end("failed", epochs, seconds)
        return self._under_way.pop(job)

    def _end(self, state: str, epochs: int, seconds: float) -> None:
        self._jobs[state] += 1
        self._epochs += epochs
        self._seconds += seconds

    def reached(self, seats: Iterable[Seat], *, shared: bool = False) -> None:
        """Members have scores at a rung: they have trained to it, or share the control's."""
        for seat in seats:
            scores = {key: round(value, 6) for key, value in seat.scores[seat.reached].items()}
            more = {"shared": True} if shared else {}
            self._journal.note("rung_reached", **_who(seat), rung=seat.reached, **scores, **more)

    def promoted(self, seats: Iterable[Seat], rung: int) -> None:
        """Trials go on from a rung."""
        for seat in seats:
            self._journal.note("trial_promoted", **_who(seat), rung=rung, to_rung=seat.target)

    def settled(self, seats: Iterable[Seat], reasons: Mapping[int, str | None]) -> None:
        """Members have come to their end, for reasons where there are any."""
        ended = [seat for seat in seats if seat.state in FINAL_STATES]
        self._front.add(seat for seat in ended if seat.state == "complete")
        for seat in ended:
            event = "trial_ended" if seat.control is None else "control_ended"
            self._journal.note(event, **_who(seat), rung=seat.reached, state=seat.state, reason=reasons.get(seat.id))

    def finished(self, state: str, reason: str | None = None) -> None:
        """A run of the sweep has come to its end; jobs under way are given up."""
        self._jobs["abandoned"] += len(self._under_way)
        self._under_way.clear()
        trials = {} if self._board is None else _counts(self._board.seats(), is_control=False, ended=True)
        seconds = round(self._seconds, 3)
        self._journal.note("sweep_finished", state=state, reason=reason, trials=trials, seconds=seconds)

    def _look_at_mirror(self, *, at_end: bool = False) -> None:
        """Note where the mirror begins to fail, where it sends again, and at the end what it leaves."""
        error = None if self._mirror is None else self._mirror.error
        if error == self._mirror_error and not at_end:
            return
        unsent, self._mirror_error = self._store.unsent_count(self._sweep.id), error
        if error is not None or (at_end and unsent and self._mirror is not None):
            self._journal.note("mirror_behind", logging.WARNING, unsent=unsent, reason=error)
        elif not at_end:
            self._journal.note("mirror_sends_again", unsent=unsent)

    # --- metrics ---

    def _numbers(self) -> Numbers:
        assert self._board is not None
        if not self._store_is_lost:
            self._unsent = self._store.unsent_count(self._sweep.id)
        seats, board = list(self._board.seats()), self._board
        ended = not self._under_way
        controls = [one for one in self._board.controls() if one.control == "no_noise" and one.state == "complete"]
        return Numbers(
            running=self._running,
            store_lost=self._store_is_lost,
            trials=_counts(seats, is_control=False, ended=ended),
            controls=_counts(seats, is_control=True, ended=ended),
            budget=self._sweep.budget_trials,
            queued=len(board.due()),
            jobs_under_way=len(self._under_way),
            jobs=dict(self._jobs),
            epochs=self._epochs,
            samples=self._samples,
            seconds=self._seconds,
            unsent=self._unsent,
            mirror_failing=self._mirror_error is not None,
            front=self._front.trials or None,
            hypervolume=self._front.hypervolume(controls[0]) if controls and self._front.trials else None,
            best=self._front.best,
        )


class _Front:
    """Front of the trials that were added, kept without comparing everybody with everybody again."""

    def __init__(self) -> None:
        self._points: list[Point] = []
        self.best: float | None = None

    @property
    def trials(self) -> int:
        """On the front, those with equal scores too."""
        return len(self._points)

    def add(self, seats: Iterable[Seat]) -> None:
        """Take complete members into account: trials that keep to every constraint."""
        for seat in seats:
            if seat.number is None or violated(seat.constraints):
                continue
            scores = seat.scores[seat.reached]
            self._take((scores["clean"], scores["robust"]))
            self.best = scores["score"] if self.best is None else max(self.best, scores["score"])

    def hypervolume(self, control: Seat) -> float:
        """Area that it beats, over the control."""
        scores = control.scores[control.reached]
        return front_hypervolume(self._points, (scores["clean"], scores["robust"]))

    def _take(self, point: Point) -> None:
        if not any(_beats(other, point) for other in self._points):
            self._points = [other for other in self._points if not _beats(point, other)] + [point]


def _beats(one: Point, other: Point) -> bool:
    return one[0] >= other[0] and one[1] >= other[1] and one != other


def _who(seat: Seat) -> dict[str, object]:
    return {"trial": seat.number} if seat.control is None else {"control": seat.control}


def _counts(seats: Iterable[Seat], *, is_control: bool, ended: bool) -> dict[str, int]:
    """Seats by state; with jobs under way those in them are running."""
    own = [seat for seat in seats if (seat.control is not None) == is_control]
    found = Counter("running" if seat.busy and not ended else seat.state for seat in own)
    return {state: found[state] for state in STATES}


def observer_of(store: Store, sweep: SweepRecord, location: Location, log: LogSpec, generation: int) -> Observer:
    """Observer of a sweep whose files lie where the others of the sweep do."""
    return Observer(store, sweep, location.sweep_folder(sweep.name), log, generation)
