from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace

import pytest


@pytest.fixture
def spans(as_scripts_are_run: None) -> ModuleType:  # noqa: ARG001  # on the path
    return importlib.import_module("spans")


def ticking(*readings: float) -> Iterator[float]:
    yield from readings


def test_time_goes_to_the_innermost_span_and_what_is_outside_to_its_own_label(spans: ModuleType) -> None:
    readings = ticking(2.0, 3.0, 5.0, 9.0, 10.0, 11.0)
    account = spans.Spans("rest", clock=lambda: next(readings))
    account.begin("start")  # at 2
    with account.span("outer"), account.span("inner"):  # entered at 3 and 5, left at 9 and 10
        pass
    account.end()  # at 11
    assert account.seconds == {"start": 2.0, "rest": 1.0 + 1.0, "outer": 2.0 + 1.0, "inner": 4.0}


def test_a_thread_of_its_own_counts_only_inside_its_spans(spans: ModuleType) -> None:
    readings = ticking(0.0, 1.0, 4.0, 100.0)
    account = spans.Spans("rest", clock=lambda: next(readings))
    account.begin("start")  # at 0, here
    thread = threading.Thread(target=account.wrapped(lambda: None, "mirror"))  # from 1 to 4, there
    thread.start()
    thread.join()
    account.end()  # at 100, here
    assert account.seconds == {"start": 0.0, "mirror": 3.0, "rest": 100.0}


def test_a_span_ends_with_the_error_that_leaves_it(spans: ModuleType) -> None:
    readings = ticking(0.0, 1.0, 2.0, 3.0)
    account = spans.Spans("rest", clock=lambda: next(readings))
    account.begin("start")
    with pytest.raises(ZeroDivisionError), account.span("failing"):
        raise ZeroDivisionError
    account.end()
    assert account.seconds == {"start": 0.0, "rest": 2.0, "failing": 1.0}


def test_every_method_of_a_class_is_wrapped_and_gives_what_it_gave(
    spans: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Counter:
        def __init__(self, start: int) -> None:
            self.value = start

        def add(self, number: int) -> int:
            self.value += number
            return self.value

    monkeypatch.setitem(sys.modules, "counting", SimpleNamespace(Counter=Counter))
    account = spans.Spans("rest")
    spans.install(account, {"counting": ["counting:Counter.*"]})
    assert Counter(3).add(4) == 7
    assert account.count == 2


def test_a_name_that_is_gone_is_an_error(spans: ModuleType) -> None:
    with pytest.raises(AttributeError, match="no_such_function"):
        spans.install(spans.Spans("rest"), {"label": ["math:no_such_function"]})


@pytest.mark.usefixtures("as_scripts_are_run")
def test_every_function_that_a_traced_search_times_is_there() -> None:
    traced = importlib.import_module("traced_search")
    spans = importlib.import_module("spans")
    recorded: list[str] = []

    class Recording(spans.Spans):  # type: ignore[misc,name-defined]
        def wrapped(self, function: object, label: str) -> object:
            recorded.append(label)
            return function

    for side in traced.PLACES:
        spans.install(Recording("rest"), traced.PLACES[side])
        assert set(traced.PLACES[side]) <= set(recorded)
        recorded.clear()
