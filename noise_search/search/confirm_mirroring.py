"""What the tracking mirror is told of a confirmation: a run in an experiment of its own, and one nested for each arm.

The run of a confirmation is tagged with the sweep that it confirms. An arm has a metric of each score, with a step for
every seed, and the means; the confirmation has the differences between the winner and every arm.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from statistics import fmean

import noise_search
from noise_search.search.evidence import PUBLISHED, Evidence
from noise_search.search.mirroring import milliseconds, policy_parameters
from noise_search.spec import SweepSpec
from noise_search.statistics import PairedDifference
from noise_search.store import ConfirmationRecord, Confirmed, OutboxEntry, SweepRecord
from noise_search.tracking.messages import MemberFinished, MetricPoint, SweepClosed, SweepOpened

CONFIRMS_TAG = "noise_search.confirms"
STAGES = {"choose": "stage 1", "measure": "stage 2"}


def confirmation_entries(
    spec: SweepSpec,
    sweep: SweepRecord,
    record: ConfirmationRecord,
    trainings: Sequence[Confirmed],
    found: Evidence,
) -> list[OutboxEntry]:
    """A finished confirmation: its run, one of each arm in each stage, and what came of it."""
    name, experiment = f"{sweep.name} confirmation {record.number}", f"{spec.tracking.experiment}_confirmations"
    started, now = milliseconds(record.created_at), milliseconds(datetime.now(UTC))
    settings = {key: str(value) for key, value in record.settings.items()}
    tags = {CONFIRMS_TAG: sweep.name, "noise_search.version": noise_search.__version__}
    opened = SweepOpened(name, experiment, settings, tags, started)
    arms = [
        MemberFinished(
            sweep=name,
            experiment=experiment,
            member=f"{STAGES[stage]}, {arm}",
            parameters=policy_parameters(own[0].policy),
            tags={},
            metrics=tuple(_of_arm(own, now)),
            status="FINISHED",
            started_ms=started,
            ended_ms=now,
        )
        for (stage, arm), own in _by_arm(trainings).items()
    ]
    closed = SweepClosed(name, experiment, "FINISHED", now, tuple(_of_all(found, now)), {}, ())
    key = f"confirmation {record.number}"
    return [
        OutboxEntry(f"{key} opened", opened.kind, opened.to_payload()),
        *(OutboxEntry(f"{key} {arm.member}", arm.kind, arm.to_payload()) for arm in arms),
        OutboxEntry(f"{key} closed", closed.kind, closed.to_payload()),
    ]


def _by_arm(trainings: Sequence[Confirmed]) -> Mapping[tuple[str, str], list[Confirmed]]:
    found: dict[tuple[str, str], list[Confirmed]] = {}
    for one in trainings:
        found.setdefault((one.stage, one.arm), []).append(one)
    return found


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
