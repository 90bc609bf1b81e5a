"""What the mirror of a sweep is told: it opened, a member finished, it closed, a model was picked, files were made.

A message is complete in itself and carries its own times, so that sending it twice, or months later, leaves
the same runs as sending it once. What MLflow would refuse is refused here, where the driver makes the
message: inside the mirror it would hold up everything behind it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Literal

from noise_search.errors import CallerError, expected_one_of, raise_if_any
from noise_search.tracking import limits

Status = Literal["FINISHED", "FAILED", "KILLED"]

SWEEP_TAG = "noise_search.sweep"
MEMBER_TAG = "noise_search.member"
CONFIRMS_TAG = "noise_search.confirms"  # of a confirmation's run: the sweep that it confirms
VERSION_TAG = "noise_search.card_version"
TUNED = "tuned"  # alias of the newest version
CHANGED_TAG = "noise_search.changed."
RESERVED_TAGS = frozenset({SWEEP_TAG, MEMBER_TAG, "mlflow.parentRunId", "mlflow.runName"})


@dataclass(frozen=True, slots=True)
class MetricPoint:
    """One measured value; `step` is the epoch, `timestamp_ms` milliseconds since 1970.

    The value may be NaN or infinite. MLflow keeps NaN; it has no infinity and keeps the largest float instead
    (`MlflowSink` names such metrics in a tag of the run).

    Raises:
        CallerError: What MLflow would not take.
    """

    key: str
    value: float
    step: int
    timestamp_ms: int

    def __post_init__(self) -> None:
        where = f"metric {self.key!r}"
        mistakes = limits.name_mistakes(where, self.key)
        mistakes += limits.number_mistakes(f"{where}.value", self.value)
        mistakes += limits.integer_mistakes(f"{where}.step", self.step, 0)
        mistakes += limits.integer_mistakes(f"{where}.timestamp_ms", self.timestamp_ms, 0)
        raise_if_any(mistakes)


@dataclass(frozen=True, slots=True)
class Artifact:
    """A local file to copy to a run.

    Args:
        path: Absolute path of the file.
        folder: Folder inside the run's artifacts, `""` for their root.

    Raises:
        CallerError: For a relative path, or a folder that leaves the run's artifacts.
    """

    path: str
    folder: str

    def __post_init__(self) -> None:
        mistakes = []
        if not Path(self.path).is_absolute():
            mistakes.append(f"artifact.path: expected an absolute path, got {self.path!r}")
        if self.folder and not limits.stays_inside(self.folder):
            mistakes.append(f"artifact.folder: expected a relative path such as 'card', got {self.folder!r}")
        raise_if_any(mistakes)


@dataclass(frozen=True, slots=True)
class SweepOpened:
    """Creates the sweep's run, or sets it running again where the sweep is continued.

    MLflow writes parameters once. A parameter that differs when a sweep is continued keeps its first value
    and gets a tag `noise_search.changed.NAME` with the new one.
    """

    kind: ClassVar[str] = "sweep_opened"
    sweep: str
    experiment: str
    parameters: dict[str, str]
    tags: dict[str, str]
    started_ms: int

    def __post_init__(self) -> None:
        mistakes = _run_mistakes(self)
        mistakes += _parameter_mistakes(self.kind, self.parameters)
        mistakes += limits.integer_mistakes(f"{self.kind}.started_ms", self.started_ms, 1)
        raise_if_any(mistakes)

    def to_payload(self) -> dict[str, object]:
        """Plain data that survives JSON; `from_payload` is its inverse."""
        return _to_payload(self)


@dataclass(frozen=True, slots=True)
class MemberFinished:
    """Writes one finished trial or control as a run nested under the sweep's.

    `member` names it within the sweep, as in "trial 3" or "control no_noise", and is the name of its run.
    """

    kind: ClassVar[str] = "member_finished"
    sweep: str
    experiment: str
    member: str
    parameters: dict[str, str]
    tags: dict[str, str]
    metrics: tuple[MetricPoint, ...]
    status: Status
    started_ms: int
    ended_ms: int

    def __post_init__(self) -> None:
        mistakes = _run_mistakes(self)
        mistakes += limits.title_mistakes(f"{self.kind}.member", self.member, limits.NAME_CHARACTERS)
        mistakes += _parameter_mistakes(self.kind, self.parameters)
        mistakes += limits.status_mistakes(f"{self.kind}.status", self.status)
        mistakes += limits.integer_mistakes(f"{self.kind}.started_ms", self.started_ms, 1)
        mistakes += limits.integer_mistakes(f"{self.kind}.ended_ms", self.ended_ms, 1)
        raise_if_any(mistakes)

    def to_payload(self) -> dict[str, object]:
        """Plain data that survives JSON; `from_payload` is its inverse."""
        return _to_payload(self)


@dataclass(frozen=True, slots=True)
class SweepClosed:
    """Ends the sweep's run with its own metrics, tags and files."""

    kind: ClassVar[str] = "sweep_closed"
    sweep: str
    experiment: str
    status: Status
    ended_ms: int
    metrics: tuple[MetricPoint, ...]
    tags: dict[str, str]
    artifacts: tuple[Artifact, ...]

    def __post_init__(self) -> None:
        mistakes = _run_mistakes(self)
        mistakes += limits.status_mistakes(f"{self.kind}.status", self.status)
        mistakes += limits.integer_mistakes(f"{self.kind}.ended_ms", self.ended_ms, 1)
        raise_if_any(mistakes)

    def to_payload(self) -> dict[str, object]:
        """Plain data that survives JSON; `from_payload` is its inverse."""
        return _to_payload(self)


@dataclass(frozen=True, slots=True)
class ModelRegistered:
    """Logs files under a run of a member and registers their folder as a version of the model called `model`.

    `version` is ours, and finds the version again; the newest of them has the alias `tuned`.
    """

    kind: ClassVar[str] = "model_registered"
    sweep: str
    experiment: str
    member: str
    model: str
    version: int
    tags: dict[str, str]
    at_ms: int
    artifacts: tuple[Artifact, ...]

    def __post_init__(self) -> None:
        mistakes = _run_mistakes(self)
        mistakes += limits.title_mistakes(f"{self.kind}.member", self.member, limits.NAME_CHARACTERS)
        mistakes += limits.model_mistakes(f"{self.kind}.model", self.model)
        mistakes += limits.integer_mistakes(f"{self.kind}.version", self.version, 1)
        mistakes += limits.integer_mistakes(f"{self.kind}.at_ms", self.at_ms, 1)
        if len({artifact.folder for artifact in self.artifacts}) != 1:
            mistakes.append(f"{self.kind}.artifacts: expected files of one folder, which is the version")
        raise_if_any(mistakes)

    def to_payload(self) -> dict[str, object]:
        """Plain data that survives JSON; `from_payload` is its inverse."""
        return _to_payload(self)


@dataclass(frozen=True, slots=True)
class FilesLogged:
    """Copies files to the sweep's run, over those of the same name, and changes nothing else of it.

    `digest` is that of what they say: with another one the outbox sends them again. A run that is not there yet
    starts at `started_ms`.
    """

    kind: ClassVar[str] = "files_logged"
    sweep: str
    experiment: str
    artifacts: tuple[Artifact, ...]
    digest: str
    started_ms: int

    def __post_init__(self) -> None:
        mistakes = _title_mistakes(self)
        mistakes += limits.integer_mistakes(f"{self.kind}.started_ms", self.started_ms, 1)
        raise_if_any(mistakes)

    def to_payload(self) -> dict[str, object]:
        """Plain data that survives JSON; `from_payload` is its inverse."""
        return _to_payload(self)


Message = SweepOpened | MemberFinished | SweepClosed | ModelRegistered | FilesLogged
_KINDS: dict[str, type[Message]] = {
    known.kind: known for known in (SweepOpened, MemberFinished, SweepClosed, ModelRegistered, FilesLogged)
}


def from_payload(kind: str, payload: Mapping[str, object]) -> Message:
    """Message of `kind` that `to_payload` turned into `payload`.

    Raises:
        CallerError: For an unknown kind, or a payload with other fields than that kind has.

    >>> opened = SweepOpened("s", "e", {"seed": "0"}, {}, started_ms=1)
    >>> from_payload(opened.kind, opened.to_payload()) == opened
    True
    """
    if kind not in _KINDS:
        raise CallerError(expected_one_of("outbox.kind", _KINDS, kind))
    expected = sorted(field.name for field in fields(_KINDS[kind]))
    if sorted(payload) != expected:
        raise CallerError(f"outbox.payload of {kind}: expected the fields {expected}, got {sorted(payload)}")
    given: dict[str, Any] = dict(payload)
    if "metrics" in given:
        points = given["metrics"]
        given["metrics"] = tuple(MetricPoint(key, float(value), step, ms) for key, value, step, ms in points)
    if "artifacts" in given:
        given["artifacts"] = tuple(Artifact(path, folder) for path, folder in given["artifacts"])
    return _KINDS[kind](**given)


def continued(
    opened: SweepOpened, parameters: Mapping[str, str], tags: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Parameters and tags to write for `opened` onto a run that has `parameters` and `tags` already."""
    latest = dict(parameters)
    latest |= {key.removeprefix(CHANGED_TAG): tags[key] for key in tags if key.startswith(CHANGED_TAG)}
    changed = {CHANGED_TAG + key: value for key, value in differing(latest, opened.parameters).items()}
    refused = differing(parameters, opened.parameters)
    written = {key: value for key, value in opened.parameters.items() if key not in refused}
    return written, opened.tags | changed


def differing(before: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str]:
    """Entries of `now` that `before` holds with another value.

    >>> differing({"a": "1", "b": "2"}, {"b": "3", "c": "4"})
    {'b': '3'}
    """
    return {key: value for key, value in now.items() if before.get(key, value) != value}


def _to_payload(message: Message) -> dict[str, object]:
    return {field.name: _plain(getattr(message, field.name)) for field in fields(message)}


def _plain(value: object) -> object:
    match value:
        case dict():
            return dict(value)
        case tuple():
            return [_plain(item) for item in value]
        case MetricPoint(key, number, step, timestamp_ms):
            # JSON has no NaN or infinity, and PostgreSQL refuses what Python writes for them.
            finite = float(number) if math.isfinite(number) else str(float(number))
            return [key, finite, step, timestamp_ms]
        case Artifact(path, folder):
            return [path, folder]
    return value


def _title_mistakes(message: Message) -> list[str]:
    where = message.kind
    mistakes = limits.title_mistakes(f"{where}.sweep", message.sweep, limits.NAME_CHARACTERS)
    return mistakes + limits.title_mistakes(f"{where}.experiment", message.experiment, limits.EXPERIMENT_CHARACTERS)


def _run_mistakes(message: SweepOpened | MemberFinished | SweepClosed | ModelRegistered) -> list[str]:
    where = message.kind
    mistakes = _title_mistakes(message)
    mistakes += limits.entry_mistakes(f"{where}.tags", message.tags, limits.TAG_CHARACTERS)
    return mistakes + [
        f"{where}.tags: expected none of {sorted(RESERVED_TAGS)}, which the mirror sets itself, got {key!r}"
        for key in sorted(RESERVED_TAGS & set(message.tags))
    ]


def _parameter_mistakes(where: str, parameters: Mapping[str, str]) -> list[str]:
    return limits.entry_mistakes(f"{where}.parameters", parameters, limits.PARAMETER_CHARACTERS)
