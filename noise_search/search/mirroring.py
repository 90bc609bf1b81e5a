"""What the tracking mirror is told of a sweep, made from what the store holds."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import cast

import noise_search
from noise_search.corruptions.suites import uncalibrated
from noise_search.search.results import Row, joined_history, mean_scores, violated
from noise_search.spec import SweepSpec
from noise_search.store import MemberRecord, NewResult, OutboxEntry, SweepRecord
from noise_search.tracking.limits import PARAMETER_CHARACTERS
from noise_search.tracking.messages import (
    Artifact,
    FilesLogged,
    MemberFinished,
    MetricPoint,
    Status,
    SweepClosed,
    SweepOpened,
)

_STATUS: dict[str, Status] = {"complete": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}
_SHOWN_VALUES = 100  # of a table too long for a parameter
_MEMBER_STATUS: dict[str, Status] = {"failed": "FAILED", "stopped": "KILLED"}


def milliseconds(moment: datetime) -> int:
    """Milliseconds since 1970."""
    return int(moment.timestamp() * 1000)


def opened_entry(spec: SweepSpec, sweep: SweepRecord, generation: int) -> OutboxEntry:
    """The sweep's run is created, or set running again by the driver of this generation."""
    parameters = {key: _text(value) for key, value in sweep.identity.items() if not key.startswith("space.")}
    message = SweepOpened(
        sweep=sweep.name,
        experiment=spec.tracking.experiment,
        parameters=parameters | {"budget.trials": str(spec.budget.trials)},
        tags={
            "noise_search.version": noise_search.__version__,
            "noise_search.identity": sweep.digest,
            "noise_search.suite": ", ".join(filter(None, (spec.suite.name, uncalibrated(sweep.config["suite"])))),
        },
        started_ms=milliseconds(datetime.now(UTC)),
    )
    return OutboxEntry(f"opened {generation}", message.kind, message.to_payload())


def member_entry(
    spec: SweepSpec,
    sweep: SweepRecord,
    member: MemberRecord,
    rows: Sequence[Row],
    *,
    state: str,
    reason: str | None,
    started: datetime,
    ended: datetime,
) -> OutboxEntry:
    """A trial or control has come to its end: its policy, its curves and its final scores, means over its seeds.

    Args:
        spec, sweep: What it is part of.
        member: The trial or control.
        rows: Its results at every rung; none for one that failed before the first.
        state, reason: How it ended, and why.
        started, ended: When it trained.
    """
    name = member_name(member)
    last = max((row.epoch for row in rows), default=0)
    final = [row for row in rows if row.epoch == last]
    tags = {"noise_search.state": state}
    if member.control is not None:
        tags["noise_search.control"] = member.control
    if reason is not None:
        tags["noise_search.reason"] = reason
    if overuse := next((row.overuse for row in rows if isinstance(row, NewResult) and row.overuse), member.overuse):
        tags["noise_search.overuse"] = overuse
    if over := violated(_constraints(member, final)):
        tags["noise_search.over_constraint"] = over
    message = MemberFinished(
        sweep=sweep.name,
        experiment=spec.tracking.experiment,
        member=name,
        parameters=policy_parameters(member.policy),
        tags=tags,
        metrics=tuple(_points(rows, final, started, ended)),
        status=_MEMBER_STATUS.get(state, "FINISHED"),
        started_ms=milliseconds(started),
        ended_ms=milliseconds(ended),
    )
    return OutboxEntry(name, message.kind, message.to_payload())


def member_entries(
    spec: SweepSpec,
    sweep: SweepRecord,
    members: Sequence[MemberRecord],
    rows: Sequence[Row],
    *,
    outcomes: Mapping[int, tuple[str, str | None]],
    started: datetime,
    ended: datetime,
) -> list[OutboxEntry]:
    """An entry of each of some members; see `member_entry`.

    Args:
        spec, sweep: What they are part of.
        members: That have come to their end.
        rows: Their results at every rung, and maybe those of others.
        outcomes: By member id, the state and its reason; a member without has those that are stored.
        started, ended: When those trained of which the store does not say.
    """
    by_member: dict[int, list[Row]] = {}
    for row in rows:
        by_member.setdefault(row.member_id, []).append(row)
    entries = []
    for member in members:
        state, reason = outcomes.get(member.id, (member.state, member.reason))
        entries.append(
            member_entry(
                spec,
                sweep,
                member,
                by_member.get(member.id, []),
                state=state,
                reason=reason,
                started=member.started_at or started,
                ended=member.finished_at or ended,
            )
        )
    return entries


def _constraints(member: MemberRecord, final: Sequence[Row]) -> Mapping[str, float]:
    return next((row.constraints for row in final if isinstance(row, NewResult)), member.constraints)


def closed_entry(
    spec: SweepSpec,
    sweep: SweepRecord,
    generation: int,
    *,
    state: str,
    metrics: Mapping[str, float],
    tags: Mapping[str, str],
    files: Sequence[tuple[Path, str]],
) -> OutboxEntry:
    """The sweep's run ends, with its numbers and files."""
    now = milliseconds(datetime.now(UTC))
    message = SweepClosed(
        sweep=sweep.name,
        experiment=spec.tracking.experiment,
        status=_STATUS[state],
        ended_ms=now,
        metrics=tuple(MetricPoint(key, value, 0, now) for key, value in metrics.items()),
        tags={"noise_search.state": state, **tags},
        artifacts=tuple(Artifact(str(path), folder) for path, folder in files),
    )
    return OutboxEntry(f"closed {generation}", message.kind, message.to_payload())


def files_entry(sweep: SweepRecord, what: str, files: Sequence[Path]) -> OutboxEntry:
    """Files about a sweep, for the folder `what` of its run; they are sent again when they say something else.

    Args:
        sweep: Whose run it is.
        what: What they are, in a word.
        files: That stay where they are until they are sent.
    """
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    message = FilesLogged(
        sweep=sweep.name,
        experiment=cast(Mapping[str, str], sweep.config["tracking"])["experiment"],
        artifacts=tuple(Artifact(str(file.absolute()), what) for file in files),
        digest=digest,
        started_ms=milliseconds(sweep.created_at),
    )
    return OutboxEntry(what, message.kind, message.to_payload())


def member_name(member: MemberRecord) -> str:
    """Name of a member's run: `trial 3` or `control no_noise`."""
    return f"control {member.control}" if member.control is not None else f"trial {member.number}"


def policy_parameters(policy: Sequence[Mapping[str, object]]) -> dict[str, str]:
    """A policy as flat text: `inputs.gaussian.magnitude` -> `0.18`."""
    if not policy:
        return {"policy": "no noise"}
    parameters: dict[str, str] = {}
    for term in policy:
        where = f"{term['site']}.{term['noise']}"
        for key, value in term.items():
            if key == "schedule" and isinstance(value, Mapping):
                parameters |= _schedule_parameters(f"{where}.schedule", value)
            elif key not in ("site", "noise"):
                parameters[f"{where}.{key}"] = _text(value)
    return parameters


def _schedule_parameters(where: str, schedule: Mapping[str, object]) -> dict[str, str]:
    """A schedule as flat text, its gate too: `inputs.gaussian.schedule.every.on` -> `0.5`."""
    parameters = {where: str(schedule["kind"])}
    for name, value in schedule.items():
        if isinstance(value, Mapping):
            parameters |= {f"{where}.{name}.{inner}": _text(v) for inner, v in value.items()}
        elif name != "kind":
            parameters[f"{where}.{name}"] = _numbers_text(value) if isinstance(value, list) else _text(value)
    return parameters


def _numbers_text(values: Sequence[object]) -> str:
    """Numbers as a list, the rest counted where MLflow would not take them all."""
    text = f"[{', '.join(_text(value) for value in values)}]"
    if len(text) <= PARAMETER_CHARACTERS:
        return text
    shown = ", ".join(_text(value) for value in values[:_SHOWN_VALUES])
    return f"[{shown}, ... {len(values)} values in all]"


def _points(rows: Sequence[Row], final: Sequence[Row], started: datetime, ended: datetime) -> list[MetricPoint]:
    """Curves by epoch, times spread evenly over training; at the end the final numbers and curves by severity."""
    first, last = milliseconds(started), milliseconds(ended)
    history = joined_history(rows)
    curves = [
        MetricPoint(key, value, int(row["epoch"]), first + (last - first) * (index + 1) // len(history))
        for index, row in enumerate(history)
        for key, value in row.items()
        if key != "epoch"
    ]
    if not final:
        return curves
    epoch, scores = final[0].epoch, mean_scores(final)
    shown = {point.key for point in curves if point.step == epoch}
    numbers = [MetricPoint(key, value, epoch, last) for key, value in scores.items() if key not in shown]
    by_severity = [
        MetricPoint(f"accuracy_by_severity/{kind}", fmean(row.cells[kind][index] for row in final), index + 1, last)
        for kind, severities in final[0].cells.items()
        for index in range(len(severities))
        if kind != "clean"  # a curve already
    ]
    return curves + numbers + by_severity


def _text(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
