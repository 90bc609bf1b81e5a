"""Where a program's CPU time goes: every thread's time, by the innermost named span it is in.

Functions are wrapped where they are looked up, from outside and in this process only. A span costs two readings of
a clock; work that threads of torch do beside the one that called them is in no span, and is what is left of the
process's CPU time.
"""

from __future__ import annotations

import builtins
import functools
import importlib
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FunctionType
from typing import Any


class Spans:
    """Sums of seconds by label, over all threads.

    Args:
        outside: Label of the time in which a thread is in no span of its own, for threads that `begin` was called on.
        clock: Seconds of the calling thread.
    """

    def __init__(self, outside: str, clock: Callable[[], float] = time.thread_time) -> None:
        self.seconds: dict[str, float] = {}
        self.count = 0
        self._outside, self._clock = outside, clock
        self._thread = threading.local()
        self._lock = threading.Lock()

    def begin(self, before: str) -> None:
        """Start counting on this thread; all it did until now goes to the label `before`."""
        now = self._clock()
        self._add(before, now)
        self._thread.stack, self._thread.since = [self._outside], now

    def end(self) -> None:
        """Close the account of this thread, which `begin` was called on."""
        self._switch()
        self._thread.stack = []

    @contextmanager
    def span(self, label: str) -> Iterator[None]:
        """Time spent here and in no span further in goes to `label`."""
        self._switch()
        self._thread.stack.append(label)
        try:
            yield
        finally:
            self._switch()
            self._thread.stack.pop()
            self.count += 1

    def wrapped(self, function: Callable[..., Any], label: str) -> Callable[..., Any]:
        """`function`, in a span of its own."""

        @functools.wraps(function)
        def call(*arguments: Any, **options: Any) -> Any:
            with self.span(label):
                return function(*arguments, **options)

        return call

    def _switch(self) -> None:
        """Give the time since the last switch of this thread to the span it is in."""
        now = self._clock()
        if not hasattr(self._thread, "stack"):
            self._thread.stack = []
        elif self._thread.stack:
            self._add(self._thread.stack[-1], now - self._thread.since)
        self._thread.since = now

    def _add(self, label: str, seconds: float) -> None:
        with self._lock:
            self.seconds[label] = self.seconds.get(label, 0.0) + seconds


def install(spans: Spans, places: Mapping[str, Sequence[str]]) -> None:
    """Wrap what is named by label: `module:name`, `module:Class.method`, or `module:Class.*` for all its own methods.

    Raises:
        AttributeError: Where there is nothing of that name: the table is out of date.
    """
    for label, names in places.items():
        for place in names:
            module, _, path = place.partition(":")
            *outer, name = path.split(".")
            owner: Any = functools.reduce(getattr, outer, importlib.import_module(module))
            for found in _methods(owner) if name == "*" else [name]:
                setattr(owner, found, spans.wrapped(getattr(owner, found), label))


def _methods(kind: type) -> list[str]:
    own = [name for name, value in vars(kind).items() if isinstance(value, FunctionType)]
    return [name for name in own if not name.startswith("__") or name == "__init__"]


def time_imports(spans: Spans, label: str) -> None:
    """Have every import of something new be a span."""
    plain = builtins.__import__
    timed = spans.wrapped(plain, label)

    def imported(name: str, *arguments: Any, **options: Any) -> Any:
        return (plain if name in sys.modules else timed)(name, *arguments, **options)

    builtins.__import__ = imported
    importlib.import_module = spans.wrapped(importlib.import_module, label)
