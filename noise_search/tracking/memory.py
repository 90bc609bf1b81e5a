"""The in-memory twin of the MLflow sink, for simulations and tests."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from noise_search.errors import CallerError
from noise_search.tracking.messages import (
    Artifact,
    FilesLogged,
    MemberFinished,
    Message,
    MetricPoint,
    ModelRegistered,
    SweepClosed,
    SweepOpened,
    continued,
    differing,
)


@dataclass(slots=True)
class MemoryRun:
    """One run as a sink keeps it; `parent` is the sweep of a member, None for the sweep itself.

    `artifacts` holds the files' contents by their path inside the run.
    """

    name: str
    experiment: str
    parent: str | None
    started_ms: int
    status: str = "RUNNING"
    ended_ms: int | None = None
    parameters: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    artifacts: dict[str, bytes] = field(default_factory=dict)
    _points: dict[tuple[str, int, int, str], MetricPoint] = field(default_factory=dict)

    def history(self, key: str) -> list[MetricPoint]:
        """Every value of one metric, by step and then time."""
        points = [point for point in self._points.values() if point.key == key]
        return sorted(points, key=lambda point: (point.step, point.timestamp_ms))

    def add_points(self, points: Iterable[MetricPoint]) -> None:
        """Add `points`; one that is there already is not added again."""
        # By the value's text, because NaN does not equal itself.
        self._points.update({(p.key, p.step, p.timestamp_ms, repr(p.value)): p for p in points})

    def end(self, status: str, ended_ms: int) -> None:
        """Set how and when the run ended."""
        self.status, self.ended_ms = status, ended_ms


class MemorySink:
    """Keeps runs in `runs`, by (sweep, member), and tags of models in `models`, by name and version.

    The member of a sweep's own run is None.
    """

    def __init__(self) -> None:
        self.runs: dict[tuple[str, str | None], MemoryRun] = {}
        self.models: dict[str, dict[int, dict[str, str]]] = {}

    def send(self, message: Message) -> None:
        """Write `message`.

        Raises:
            CallerError: Where a member comes again with other parameters.
            OSError: Where an artifact cannot be read; the run is closed all the same.
        """
        match message:
            case SweepOpened():
                self._open(message)
            case MemberFinished():
                self._finish(message)
            case SweepClosed():
                self._end(message)
            case ModelRegistered():
                self._register(message)
            case FilesLogged():
                run = self._run(message, None, message.started_ms)
                run.artifacts |= _contents(message.artifacts)

    def close(self) -> None:
        """Keep the runs: they are what the sink is for."""

    def _open(self, message: SweepOpened) -> None:
        run = self._run(message, None, message.started_ms)
        parameters, tags = continued(message, run.parameters, run.tags)
        run.parameters |= parameters
        run.tags |= tags
        run.status = "RUNNING"

    def _finish(self, message: MemberFinished) -> None:
        self._run(message, None, message.started_ms)
        run = self._run(message, message.member, message.started_ms)
        if changed := differing(run.parameters, message.parameters):
            raise CallerError(f"{message.member}: expected the parameters it was first sent with, got {changed}")
        run.parameters |= message.parameters
        run.tags |= message.tags
        run.add_points(message.metrics)
        run.end(message.status, message.ended_ms)

    def _end(self, message: SweepClosed) -> None:
        run = self._run(message, None, message.ended_ms)
        run.tags |= message.tags
        run.add_points(message.metrics)
        run.end(message.status, message.ended_ms)
        run.artifacts |= _contents(message.artifacts)

    def _register(self, message: ModelRegistered) -> None:
        run = self._run(message, message.member, message.at_ms)
        run.artifacts |= _contents(message.artifacts)
        self.models.setdefault(message.model, {}).setdefault(message.version, dict(message.tags))

    def _run(self, message: Message, member: str | None, started_ms: int) -> MemoryRun:
        parent = None if member is None else message.sweep
        new = MemoryRun(member or message.sweep, message.experiment, parent, started_ms)
        return self.runs.setdefault((message.sweep, member), new)


def _contents(artifacts: Iterable[Artifact]) -> dict[str, bytes]:
    return {(Path(one.folder) / Path(one.path).name).as_posix(): Path(one.path).read_bytes() for one in artifacts}
