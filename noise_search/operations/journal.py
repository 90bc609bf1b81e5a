"""The log of a sweep: what its driver does, as JSON lines in a file, and what the package warns of meanwhile.

A line is written at once and in one piece, so that a kill leaves whole lines. Events are seen in the file alone; on the
console only where somebody asks for it with `logged_as_json`, which shows the same lines there.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pythonjsonlogger.json import JsonFormatter

from noise_search.urls import without_password

_log = logging.getLogger(__name__)
_package = logging.getLogger("noise_search")
EVENTS = logging.getLogger("noise_search.events")
EVENTS.propagate = False  # to the console, which has progress and warnings
EVENTS.setLevel(logging.DEBUG)
EVENTS.addHandler(logging.NullHandler())
NO_EVENT = "log"  # of a line that is a message of the package, and tells of no event
_FIRST = ("time", "level", "event", "sweep", "trial", "control", "rung", "worker")


class JsonLines(JsonFormatter):
    """Formatter of a line: time in UTC, level, event and where it happened first; no URL has a password.

    Args:
        more: Fields of every line that has none of that name.
    """

    def __init__(self, **more: object) -> None:
        super().__init__("%(levelname)s %(name)s %(message)s", timestamp="time", json_ensure_ascii=False, defaults=more)

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        """Fields of a line in their order; nothing that does not apply."""
        level, logger = str(log_data.pop("levelname")).lower(), log_data.pop("name")
        event = log_data.pop("event", NO_EVENT)
        if logger == EVENTS.name:
            del log_data["message"]  # says what the event says
        fields = {**log_data, "time": log_data["time"].isoformat(timespec="milliseconds"), "level": level}
        fields |= {"event": event, **({"logger": logger} if event == NO_EVENT else {})}
        found = {key: fields[key] for key in (*_FIRST, *fields) if fields.get(key) is not None}
        return {key: without_password(value) if isinstance(value, str) else value for key, value in found.items()}


class _Lines(RotatingFileHandler):
    """File of lines that may not be there to be written: it says so once, and whoever logs goes on."""

    def __init__(self, path: Path, largest_bytes: int, kept: int) -> None:
        super().__init__(path, maxBytes=largest_bytes, backupCount=kept, encoding="utf-8", delay=True)
        self._has_warned = False

    def _open(self) -> TextIOWrapper:
        path = Path(self.baseFilename)
        path.parent.mkdir(parents=True, exist_ok=True)
        is_torn = _is_torn(path)
        stream = super()._open()
        if is_torn:
            stream.write(self.terminator)
        return stream

    def shouldRollover(self, record: logging.LogRecord) -> bool:  # noqa: ARG002, N802  # as logging has it
        # Without formatting the line for it, which costs as much as all the rest: a file may be a line too long.
        if self.stream is None:
            self.stream = self._open()
        return self.stream.tell() >= self.maxBytes

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802  # as logging has it
        if not self._has_warned:
            self._has_warned = True
            _log.warning("%s cannot be written, the sweep goes on: %s", self.baseFilename, sys.exc_info()[1])

    def close(self) -> None:
        with suppress(OSError):  # what could not be written cannot be at the end either; that was said
            super().close()


def _is_torn(path: Path) -> bool:
    """Whether a file ends within a line, as a disk that was full leaves it."""
    if not path.is_file() or not path.stat().st_size:
        return False
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read() != b"\n"


class Journal:
    """Log of a sweep, from its opening to its end.

    Args:
        path: Of the file, which grows across runs; in the way of whatever prevents that stands a warning, no error.
        sweep: Name of the sweep.
        level: From which on lines are written: debug, info, warning or error.
        largest_bytes: Of a file, before another is begun.
        kept: How many earlier files stay, as `log.jsonl.1` and so on.
    """

    def __init__(
        self, path: Path, sweep: str, *, level: str = "info", largest_bytes: int = 10_000_000, kept: int = 5
    ) -> None:
        self.sweep = sweep
        self._handler = _Lines(path, largest_bytes, kept)
        self._handler.setLevel(level.upper())
        self._handler.setFormatter(JsonLines(sweep=sweep))
        self._handler.addFilter(self._is_ours)
        self._console: logging.Handler | None = None

    def __enter__(self) -> Self:
        if not _package.hasHandlers() and logging.lastResort is not None:
            # Whoever has set up no logging reads warnings on the console, which a handler of ours must not end.
            self._console = logging.lastResort
            _package.addHandler(self._console)
        for logger in (EVENTS, _package):
            logger.addHandler(self._handler)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for logger in (EVENTS, _package):
            logger.removeHandler(self._handler)
        if self._console is not None:
            _package.removeHandler(self._console)
        self._handler.close()

    def note(self, event: str, level: int = logging.INFO, /, **fields: object) -> None:
        """Write what has happened."""
        EVENTS.log(level, event, extra=self.about(event, **fields))

    def about(self, event: str, /, **fields: object) -> Mapping[str, object]:
        """Fields of an event that a message to people goes with: what its `extra` is."""
        return {"event": event, "sweep": self.sweep, **fields}

    def _is_ours(self, record: logging.LogRecord) -> bool:
        """Whether a line is of this sweep: there may be others in this process. Messages that name none count."""
        return bool(getattr(record, "sweep", self.sweep) == self.sweep)


@contextmanager
def logged_as_json() -> Iterator[None]:
    """Let whatever the program logs be JSON lines, and the events of sweeps be among them."""
    handlers = list(logging.getLogger().handlers)
    before = [handler.formatter for handler in handlers]
    for handler in handlers:
        handler.setFormatter(JsonLines())
        EVENTS.addHandler(handler)
    try:
        yield
    finally:
        for handler, formatter in zip(handlers, before, strict=True):
            handler.setFormatter(formatter)
            EVENTS.removeHandler(handler)
