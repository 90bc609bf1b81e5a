"""What the tracking mirror is told of a confirmation: a run in an experiment of its own, and one nested for each arm.

The run of a confirmation is tagged with the sweep that it confirms. It is open from the start, arms join it at the end
of their stage, and whoever goes on with a confirmation that was cut short opens it again. An arm has a metric of each
score, with a step for every seed, and the means; the confirmation has the differences between the winner and every arm.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from statistics import fmean

import noise_search
from noise_search.search.confirming import Confirmation
from noise_search.search.evidence import PUBLISHED, Evidence, grouped
from noise_search.search.learning_rates import is_at_rate
from noise_search.search.mirroring import milliseconds, policy_parameters
from noise_search.search.sending import sending, start_mirror
from noise_search.spec import SweepSpec
from noise_search.statistics import PairedDifference
from noise_search.store import (
    CHOOSE,
    MEASURE,
    ConfirmationRecord,
    Confirmed,
    LeaseLost,
    OutboxEntry,
    Store,
    SweepRecord,
    Writer,
)
from noise_search.tracking.messages import (
    CONFIRMS_TAG,
    MemberFinished,
    Message,
    MetricPoint,
    Status,
    SweepClosed,
    SweepOpened,
)
from noise_search.tracking.mlflow_sink import prepare
from noise_search.tracking.places import place_of

STAGES = {CHOOSE: "stage 1", MEASURE: "stage 2"}


class ConfirmationMirror:
    """What is left for the mirror of a confirmation, each thing once; nothing of one that is not tracked.

    Of one that is finished only its check of learning rates is left, where that was made up for.

    Args:
        spec, sweep: What is confirmed.
        store, writer: Where it is left.
        record: Of the confirmation, as it was when this run of it began.
    """

    def __init__(
        self, spec: SweepSpec, sweep: SweepRecord, store: Store, writer: Writer, record: ConfirmationRecord
    ) -> None:
        self._store, self._writer, self._record, self._sweep = store, writer, record, sweep
        self._name = f"{sweep.name} confirmation {record.number}"
        self._experiment = f"{spec.tracking.experiment}_confirmations"
        self._is_tracked = spec.tracking.enabled
        self._says = self._is_tracked and record.finished_at is None

    def open(self) -> None:
        """The run is there, or runs again."""
        settings = {key: str(value) for key, value in self._record.settings.items()}
        tags = {CONFIRMS_TAG: self._sweep.name, "noise_search.version": noise_search.__version__}
        started = milliseconds(self._record.created_at)
        self._enqueue([self._once("opened", SweepOpened(self._name, self._experiment, settings, tags, started))])

    def arms(self, confirmation: Confirmation, stage: str) -> None:
        """Every arm of a stage that has come to its end, but for those at other learning rates."""
        if self._says:
            found = [one for one in confirmation.trainings.values() if not is_at_rate(one.arm)]
            self._show([one for one in found if one.stage == stage])

    def rates(self, confirmation: Confirmation) -> None:
        """Every arm of a check of learning rates that has come to its end, made up for after the rest or not."""
        if self._is_tracked:
            self._show([one for one in confirmation.trainings.values() if is_at_rate(one.arm)])

    def _show(self, found: Sequence[Confirmed]) -> None:
        """Arms, whole: those that are shown stay as they are."""
        entries = [self._arm(f"{STAGES[own[0].stage]}, {arm}", own) for arm, own in grouped(found).items()]
        shown = self._store.outbox_keys(self._sweep.id)
        if left := [one for one in entries if one.key not in shown]:
            self._writer.enqueue(left)

    def closing(self, found: Evidence) -> list[OutboxEntry]:
        """The end of the run, with what came of it: to be stored with the confirmation's own."""
        now = milliseconds(datetime.now(UTC))
        return [self._closed("FINISHED", tuple(_of_all(found, now)), now)] if self._says else []

    def cut_short(self, status: Status) -> None:
        """The run has ended before its time."""
        self._enqueue([self._closed(status, (), milliseconds(datetime.now(UTC)))])

    def _arm(self, member: str, own: Sequence[Confirmed]) -> OutboxEntry:
        now = milliseconds(datetime.now(UTC))
        message = MemberFinished(
            sweep=self._name,
            experiment=self._experiment,
            member=member,
            parameters=policy_parameters(own[0].policy),
            tags={},
            metrics=tuple(_of_arm(own, now)),
            status="FINISHED",
            started_ms=milliseconds(self._record.created_at),
            ended_ms=now,
        )
        return self._entry(member, message)

    def _closed(self, status: Status, metrics: tuple[MetricPoint, ...], now: int) -> OutboxEntry:
        return self._once("closed", SweepClosed(self._name, self._experiment, status, now, metrics, {}, ()))

    def _once(self, key: str, message: Message) -> OutboxEntry:
        """Said by every run of the confirmation."""
        return self._entry(f"{key} {self._writer.generation}", message)

    def _entry(self, key: str, message: Message) -> OutboxEntry:
        return OutboxEntry(f"confirmation {self._record.number} {key}", message.kind, message.to_payload())

    def _enqueue(self, entries: Sequence[OutboxEntry]) -> None:
        if self._says and entries:
            self._writer.enqueue(entries)


@contextmanager
def mirrored(
    spec: SweepSpec, sweep: SweepRecord, store: Store, writer: Writer, record: ConfirmationRecord
) -> Iterator[ConfirmationMirror]:
    """Mirror of a confirmation, open; on leaving everything is sent, and one that was cut short says so."""
    if spec.tracking.enabled:
        prepare(place_of(store.location, sweep))
    told = ConfirmationMirror(spec, sweep, store, writer, record)
    told.open()
    mirror = start_mirror(store, sweep) if spec.tracking.enabled else None
    with sending(mirror, store, sweep):
        try:
            yield told
        except LeaseLost:
            raise  # whoever has the confirmation now says how it goes
        except KeyboardInterrupt:
            told.cut_short("KILLED")
            raise
        except BaseException:
            told.cut_short("FAILED")
            raise


def _of_arm(own: Sequence[Confirmed], now: int) -> Iterator[MetricPoint]:
    for key in (*PUBLISHED, "score"):
        yield MetricPoint(f"mean/{key}", fmean(one.scores[key] for one in own), 0, now)
        yield from (MetricPoint(key, one.scores[key], step, now) for step, one in enumerate(own))


def _of_all(found: Evidence, now: int) -> Iterator[MetricPoint]:
    differences: dict[str, PairedDifference] = {"clean/no noise": found.clean.difference}
    differences |= {f"robust/{one.arm}": one.robust for one in found.against}
    differences |= {"gain of scheduling": found.scheduling} if found.scheduling else {}
    for key, one in differences.items():
        yield MetricPoint(f"winner minus/{key}", one.mean, 0, now)
        yield MetricPoint(f"winner minus/{key}/low", one.low, 0, now)
        yield MetricPoint(f"winner minus/{key}/high", one.high, 0, now)
