from __future__ import annotations

import json
import math
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
    from_payload,
)

NAMES = st.from_regex(r"[a-z0-9_. :\-]{0,20}[a-z]", fullmatch=True).filter(lambda name: not name.startswith(".."))
TITLES = st.text(min_size=1, max_size=200).filter(str.isprintable)
ENTRIES = st.dictionaries(NAMES, st.text(max_size=40), max_size=4)
TIMES = st.integers(1, 2**62)
STATUSES = st.sampled_from(["FINISHED", "FAILED", "KILLED"])
POINTS = st.builds(MetricPoint, NAMES, st.floats() | st.integers(-9, 9), st.integers(0, 10**6), TIMES)
METRICS = st.lists(POINTS, max_size=4).map(tuple)
ARTIFACTS = st.lists(st.builds(Artifact, TITLES.map(lambda name: f"/{name}"), NAMES), max_size=3).map(tuple)
MODELS = st.from_regex(r"[a-z0-9_ \-]{1,20}", fullmatch=True)
ONE_FOLDER = st.lists(TITLES, min_size=1, max_size=3).map(
    lambda names: tuple(Artifact(f"/{n}", "cards/1") for n in names)
)
MESSAGES = st.one_of(
    st.builds(SweepOpened, TITLES, TITLES, ENTRIES, ENTRIES, TIMES),
    st.builds(MemberFinished, TITLES, TITLES, TITLES, ENTRIES, ENTRIES, METRICS, STATUSES, TIMES, TIMES),
    st.builds(SweepClosed, TITLES, TITLES, STATUSES, TIMES, METRICS, ENTRIES, ARTIFACTS),
    st.builds(ModelRegistered, TITLES, TITLES, TITLES, MODELS, st.integers(1, 99), ENTRIES, TIMES, ONE_FOLDER),
    st.builds(FilesLogged, TITLES, TITLES, ARTIFACTS, st.text(max_size=64), TIMES),
)
OPENED = SweepOpened("noisy digits", "digits", {"model": "mlp"}, {"host": "a"}, started_ms=1_000)


@settings(max_examples=60, deadline=None)
@given(MESSAGES)
def test_a_message_survives_its_trip_through_strict_json(message: Message) -> None:
    stored = json.dumps(message.to_payload(), allow_nan=False)
    # By repr, because NaN does not equal itself. Whole numbers come back as floats of the same value.
    assert repr(from_payload(message.kind, json.loads(stored))) == repr(_with_float_values(message))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_json_lacks_comes_back_as_it_was(value: float) -> None:
    message = SweepClosed("s", "e", "FAILED", 9, (MetricPoint("loss", value, 1, 1),), {}, ())
    back = from_payload(message.kind, json.loads(json.dumps(message.to_payload(), allow_nan=False)))
    assert isinstance(back, SweepClosed)
    assert repr(back.metrics[0].value) == repr(value)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"parameters": {"space": "x" * 6_001}}, "sweep_opened.parameters['space']: expected at most 6000"),
        (
            {"tags": {"note": "x" * 8_001}},
            "sweep_opened.tags['note']: expected at most 8000 characters, got 8001",
        ),
        ({"parameters": {"lr": 0.1}}, "sweep_opened.parameters['lr']: expected text, got 0.1"),
        ({"parameters": {"a=b": "1"}}, "expected a name of letters"),
        ({"parameters": {"../up": "1"}}, "expected a name of letters"),
        ({"parameters": {"end\n": "1"}}, "expected a name of letters"),
        ({"parameters": {"": "1"}}, "expected a name of letters"),
        ({"parameters": {"x" * 201: "1"}}, "expected a name of at most 200 characters, got 201"),
        ({"tags": {"noise_search.sweep": "x"}}, "which the mirror sets itself, got 'noise_search.sweep'"),
        ({"sweep": ""}, "sweep_opened.sweep: expected 1 to 200 printable characters, got ''"),
        ({"experiment": "two\nlines"}, "sweep_opened.experiment: expected 1 to 500 printable characters"),
        ({"started_ms": 0}, "sweep_opened.started_ms: expected an integer from 1"),
        ({"started_ms": 1.5}, "sweep_opened.started_ms: expected an integer from 1"),
    ],
)
def test_what_mlflow_would_refuse_is_refused_when_the_message_is_made(change: dict[str, object], expected: str) -> None:
    with pytest.raises(CallerError, match=re.escape(expected)):
        replace(OPENED, **change)  # type: ignore[arg-type]


def test_every_mistake_of_a_message_is_named_at_once() -> None:
    with pytest.raises(CallerError) as caught:
        SweepOpened("", "", {"a=b": "1"}, {}, started_ms=0)
    assert len(caught.value.mistakes) == 4


def test_a_parameter_of_6000_characters_is_taken() -> None:
    assert replace(OPENED, parameters={"space": "x" * 6_000}).parameters["space"].endswith("x")


def test_an_unknown_status_is_refused_with_the_known_ones() -> None:
    with pytest.raises(CallerError, match=r"sweep_closed.status: expected one of \['FAILED', .* 'finished'"):
        SweepClosed("s", "e", "finished", 9, (), {}, ())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("path", "folder"), [("card.yaml", "card"), ("/a/card.yaml", "../up"), ("/a/card.yaml", "/abs")]
)
def test_an_artifact_needs_an_absolute_path_and_a_folder_inside_the_run(path: str, folder: str) -> None:
    with pytest.raises(CallerError, match=r"artifact\."):
        Artifact(path, folder)


@pytest.mark.parametrize("value", [True, "0.5", None])
def test_a_metric_that_is_no_number_is_refused(value: object) -> None:
    with pytest.raises(CallerError, match=r"metric 'loss'\.value: expected a Python number"):
        MetricPoint("loss", value, 1, 1)  # type: ignore[arg-type]


def test_a_payload_of_an_unknown_kind_names_the_known_ones() -> None:
    with pytest.raises(CallerError, match=r"outbox.kind: expected one of .*did you mean 'sweep_opened'"):
        from_payload("sweep_open", {})


def test_a_payload_with_missing_or_foreign_fields_is_refused() -> None:
    payload = OPENED.to_payload() | {"colour": "red"}
    with pytest.raises(CallerError, match=r"outbox\.payload of sweep_opened: expected the fields"):
        from_payload("sweep_opened", payload)


def test_a_parameter_changed_back_is_told_by_its_tag() -> None:
    seen = {"noise_search.changed.model": "cnn"}
    written, tags = continued(OPENED, parameters={"model": "mlp"}, tags=seen)
    assert written == {"model": "mlp"}
    assert tags == {"host": "a", "noise_search.changed.model": "mlp"}


def _with_float_values(message: Message) -> Message:
    if isinstance(message, SweepOpened | ModelRegistered | FilesLogged):
        return message
    return replace(message, metrics=tuple(replace(point, value=float(point.value)) for point in message.metrics))


FILE = Artifact("/store/cards/1/card.yaml", "cards/1")
REGISTERED = ModelRegistered("s", "e", "trial 3", "digits-1.0_a", 1, {"rule": "best"}, 9, (FILE,))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"model": "a/b"}, "model_registered.model: expected up to 200 letters, digits, spaces and _ - ., got 'a/b'"),
        ({"model": "a:b"}, "model_registered.model: expected up to 200 letters"),
        ({"model": ""}, "model_registered.model: expected up to 200 letters"),
        ({"model": ".."}, "model_registered.model: expected up to 200 letters"),
        ({"version": 0}, "model_registered.version: expected an integer from 1"),
        ({"at_ms": 0}, "model_registered.at_ms: expected an integer from 1"),
        ({"artifacts": ()}, "model_registered.artifacts: expected files of one folder"),
        ({"artifacts": (FILE, replace(FILE, folder="cards/2"))}, "model_registered.artifacts: expected files of one"),
    ],
)
def test_a_model_that_mlflow_would_refuse_is_refused_when_its_message_is_made(
    change: dict[str, object], expected: str
) -> None:
    with pytest.raises(CallerError, match=re.escape(expected)):
        replace(REGISTERED, **change)  # type: ignore[arg-type]
