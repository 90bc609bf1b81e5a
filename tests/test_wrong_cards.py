from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from noise_search.errors import CallerError
from noise_search.noises import NOISES
from noise_search.policy import (
    CARD_LIMIT_BYTES,
    Card,
    Policy,
    Term,
    load_card,
)
from noise_search.schedules import SCHEDULES, Schedule

GAUSSIAN: dict[str, Any] = {
    "site": "inputs",
    "noise": "gaussian",
    "magnitude": 0.2,
    "fraction": 0.5,
    "level": "uniform",
    "schedule": {"kind": "linear", "a": 0, "b": 1, "start": 0, "stop": 0.7},
}
SITES = sorted(NOISES)


def card_of(*terms: Any, **changes: Any) -> str:
    return yaml.safe_dump({"version": 1, "terms": [deepcopy(term) for term in terms], "context": {}, **changes})


def term_with(**changes: Any) -> str:
    return card_of({**GAUSSIAN, **changes})


def term_without(key: str) -> str:
    return card_of({name: value for name, value in GAUSSIAN.items() if name != key})


MAGNITUDE = ": terms[0].magnitude: expected a number in [0, 10], got"
FRACTION = ": terms[0].fraction: expected a number in [0, 1], got"
BAD_CARDS: dict[str, tuple[str, list[str]]] = {
    "an empty file": ("", [": expected a card with ['version', 'terms', 'context'], got None"]),
    "a list": ("- 1\n- 2\n", [": expected a card with ['version', 'terms', 'context'], got [1, 2]"]),
    "corrupt YAML": ("version: 1\nterms: [", [": expected a YAML card, got expected the node content"]),
    "two documents": ("a: 1\n---\nb: 2\n", [": expected a YAML card, got but found another document at line 2"]),
    "a control character": ("version: \x07", [": expected a YAML card, got unacceptable character #x0007"]),
    "a date that is none": ("version: 2020-13-45", [": expected a YAML card, got month must be in 1..12"]),
    "a number of too many digits": ("version: " + "1" * 5000, [": expected a YAML card, got Exceeds the limit"]),
    "a Python tag": (
        "version: 1\nterms: !!python/object/apply:os.system ['echo broken into > {marker}']\n",
        [": expected a YAML card, got the tag tag:yaml.org,2002:python/object/apply:os.system, which cards may"],
    ),
    "nesting without end": ("[" * 50_000, [": expected a YAML card, got maximum recursion depth exceeded"]),
    "bytes": ("version: 1\nterms: []\ncontext: {b: !!binary aGVsbG8=}\n", [": expected a YAML card, got the tag"]),
    "an alias": ("version: 1\nterms: &a []\ncontext: {b: *a}\n", [": expected a YAML card, got an alias"]),
    "no version": ("terms: []\n", [": version: expected 1, got None"]),
    "another version": (card_of(version=0), [": version: expected 1, got 0"]),
    "a newer version": (card_of(version=2), [": version: expected 1, got 2; upgrade noise-search"]),
    "a version that is true": (card_of(version=True), [": version: expected 1, got True"]),
    "a version that is a word": (card_of(version="1"), [": version: expected 1, got '1'"]),
    "no terms": ("version: 1\n", [": terms: expected a list of terms, got None"]),
    "terms that are a mapping": (card_of(terms={"a": 1}), [": terms: expected a list of terms, got {'a': 1}"]),
    "a term that is a word": (card_of("gaussian"), [": terms[0]: expected a mapping with ['site', 'noise', "]),
    "an unknown key": (
        card_of(contxt={}),
        [": expected one of ['context', 'terms', 'version'], got 'contxt'; did you mean 'context'?"],
    ),
    "a context that is a list": (card_of(context=["a"]), [": context: expected a mapping, got ['a']"]),
    "a context that is an empty list": (card_of(context=[]), [": context: expected a mapping, got []"]),
    "a context that is a number": (card_of(context=0), [": context: expected a mapping, got 0"]),
    "a modality that is a list": (
        card_of(GAUSSIAN, context={"modality": ["images"]}),
        [": context.modality: expected a word, got ['images']"],
    ),
    "another modality": (
        card_of(GAUSSIAN, context={"modality": "video"}),
        [": terms[0].noise: gaussian works on ['audio', 'images', 'tabular'], got data of modality 'video'"],
    ),
    "an unknown key of a term": (
        term_with(magnitud=0.1),
        [": terms[0]: expected one of ['fraction', 'level', 'magnitude', 'noise', 'schedule', 'site'], got 'magnitud'"],
    ),
    "a key that is no word": (
        card_of({**GAUSSIAN, 3: 1}),
        [": terms[0]: expected one of ['fraction', 'level', 'magnitude', 'noise', 'schedule', 'site'], got 3"],
    ),
    "an unknown site": (
        term_with(site="input"),
        [f": terms[0].site: expected one of {SITES}, got 'input'; did you mean 'inputs'?"],
    ),
    "no site": (term_without("site"), [f": terms[0].site: expected one of {SITES}, got None"]),
    "a site that is a list": (
        term_with(site=["inputs"]),
        [f": terms[0].site: expected one of {SITES}, got ['inputs']"],
    ),
    "an unknown noise": (
        term_with(noise="gausian"),
        [f": terms[0].noise: expected one of {sorted(NOISES['inputs'])}, got 'gausian'; did you mean 'gaussian'?"],
    ),
    "a noise of another site": (
        term_with(noise="relative"),
        [f": terms[0].noise: expected one of {sorted(NOISES['inputs'])}, got 'relative'"],
    ),
    "a noise that is a mapping": (
        term_with(noise={"a": 1}),
        [f": terms[0].noise: expected one of {sorted(NOISES['inputs'])}, got {{'a': 1}}"],
    ),
    "no magnitude": (term_without("magnitude"), [f"{MAGNITUDE} None"]),
    "a magnitude that is no number": (term_with(magnitude=math.nan), [f"{MAGNITUDE} nan"]),
    "an infinite magnitude": (term_with(magnitude=math.inf), [f"{MAGNITUDE} inf"]),
    "a negative magnitude": (term_with(magnitude=-0.1), [f"{MAGNITUDE} -0.1"]),
    "a magnitude over the limit": (term_with(magnitude=10.1), [f"{MAGNITUDE} 10.1"]),
    "a magnitude beyond floating point": (term_with(magnitude=10**400), [f"{MAGNITUDE} {10**400}"]),
    "a magnitude that is true": (term_with(magnitude=True), [f"{MAGNITUDE} True"]),
    "a magnitude that is a word": (term_with(magnitude="0.1"), [f"{MAGNITUDE} '0.1'"]),
    "a magnitude that is a list": (term_with(magnitude=[0.1]), [f"{MAGNITUDE} [0.1]"]),
    "a fraction over 1": (term_with(fraction=1.01), [f"{FRACTION} 1.01"]),
    "a fraction under 0": (term_with(fraction=-0.01), [f"{FRACTION} -0.01"]),
    "a fraction that is no number": (term_with(fraction=math.nan), [f"{FRACTION} nan"]),
    "a fraction that is nothing": (term_with(fraction=None), [f"{FRACTION} None"]),
    "an unknown level": (
        term_with(level="unifrm"),
        [": terms[0].level: expected one of ['fixed', 'uniform'], got 'unifrm'; did you mean 'uniform'?"],
    ),
    "a level that is a list": (
        term_with(level=["fixed"]),
        [": terms[0].level: expected one of ['fixed', 'uniform'], got ['fixed']"],
    ),
    "a knob the noise does not have": (
        card_of({"site": "inputs", "noise": "mixup", "magnitude": 1.0, "level": "fixed"}),
        [": terms[0].level: inputs.mixup has no such knob; remove the key"],
    ),
    "an unknown schedule": (
        term_with(schedule={"kind": "linaer"}),
        [f": terms[0].schedule.kind: expected one of {sorted(SCHEDULES)}, got 'linaer'; did you mean 'linear'?"],
    ),
    "a schedule that is a word": (
        term_with(schedule="linear"),
        [": terms[0].schedule: expected a mapping with a 'kind', got 'linear'"],
    ),
    "a schedule without a kind": (
        term_with(schedule={"a": 1}),
        [": terms[0].schedule: expected a mapping with a 'kind', got {'a': 1}"],
    ),
    "an unknown parameter of a schedule": (
        term_with(schedule={"kind": "window", "begin": 0}),
        [": terms[0].schedule.window: expected one of ['start', 'stop'], got 'begin'"],
    ),
    "a schedule that ends before it starts": (
        term_with(schedule={"kind": "window", "start": 0.7, "stop": 0.2}),
        [": terms[0].schedule: expected start < stop, got start=0.7, stop=0.2"],
    ),
    "a schedule with a number that is none": (
        term_with(schedule={"kind": "exponential", "g": math.nan}),
        [": terms[0].schedule.g: expected a number in [-20, 20], got nan"],
    ),
    "a table with an infinite value": (
        term_with(schedule={"kind": "table", "values": [0, math.inf]}),
        [": terms[0].schedule.values[1]: expected a number in [0, 1], got inf"],
    ),
    "knots without values": (
        term_with(schedule={"kind": "knots", "monotone": "up"}),
        [": terms[0].schedule.values: expected a list of 3 to 6 numbers in [0, 1], got none"],
    ),
    "a direction that is none": (
        term_with(schedule={"kind": "power", "direction": "donw"}),
        [": terms[0].schedule.direction: expected one of ['down', 'up'], got 'donw'; did you mean 'down'?"],
    ),
    "a gate that is a number": (
        term_with(schedule={"kind": "constant", "every": 3}),
        [": terms[0].schedule.every: expected a mapping with ['cycles', 'on'], got 3"],
    ),
    "a gate with wrong numbers": (
        term_with(schedule={"kind": "constant", "every": {"cycles": 2.5, "on": 2}}),
        [
            ": terms[0].schedule.every.cycles: expected a whole number in [1, 1000], got 2.5",
            ": terms[0].schedule.every.on: expected a number in [0, 1], got 2",
        ],
    ),
    "two terms of one noise": (
        card_of(GAUSSIAN, GAUSSIAN),
        [": terms: expected at most one term for each noise, got inputs.gaussian twice"],
    ),
    "many mistakes": (
        card_of({**GAUSSIAN, "magnitude": -1, "level": "x"}, "?", {**GAUSSIAN, "site": "?"}, context=7, extra=1),
        [
            ": expected one of ['context', 'terms', 'version'], got 'extra'",
            ": context: expected a mapping, got 7",
            f"{MAGNITUDE} -1",
            ": terms[0].level: expected one of ['fixed', 'uniform'], got 'x'",
            ": terms[1]: expected a mapping with",
            f": terms[2].site: expected one of {SITES}, got '?'",
        ],
    ),
}


@pytest.mark.parametrize(("text", "expected"), BAD_CARDS.values(), ids=BAD_CARDS)
def test_a_wrong_card_is_told_every_mistake_in_one_line_each(text: str, expected: list[str], tmp_path: Path) -> None:
    path, marker = tmp_path / "card.yaml", tmp_path / "marker"
    path.write_text(text.replace("{marker}", str(marker)), encoding="utf-8")
    with pytest.raises(CallerError) as error:
        load_card(path)
    assert not marker.exists()
    assert len(error.value.mistakes) == len(expected), error.value.mistakes
    for mistake, beginning in zip(error.value.mistakes, expected, strict=True):
        assert mistake.startswith(f"{path}{beginning}"), mistake
        assert "\n" not in mistake


def test_the_card_that_the_wrong_ones_were_made_from_is_sound(tmp_path: Path) -> None:
    (tmp_path / "card.yaml").write_text(card_of(GAUSSIAN))
    schedule = Schedule("linear", (("a", 0.0), ("b", 1.0), ("start", 0.0), ("stop", 0.7)))
    expected = Term("inputs", "gaussian", 0.2, 0.5, "uniform", schedule)
    assert load_card(tmp_path / "card.yaml") == Card(Policy((expected,)), {})


def test_a_card_may_leave_out_knobs_schedule_and_context(tmp_path: Path) -> None:
    (tmp_path / "card.yaml").write_text(
        "version: 1\nterms: [{site: inputs, noise: gaussian, magnitude: 1}]\ncontext:\n"
    )
    assert load_card(tmp_path / "card.yaml") == Card(Policy((Term("inputs", "gaussian", 1.0),)), {})


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "No such file or directory"),  # noqa: ARG005
        (lambda path: path.mkdir(), "Is a directory"),
        (lambda path: path.symlink_to(path.parent / "gone"), "No such file or directory"),
    ],
    ids=["missing", "a folder", "a broken link"],
)
def test_a_card_that_cannot_be_read_says_why(make: Callable[[Path], None], words: str, tmp_path: Path) -> None:
    path = tmp_path / "card.yaml"
    make(path)
    with pytest.raises(CallerError) as error:
        load_card(path)
    assert error.value.mistakes == (f"{path}: cannot read the card: {words}",)


def test_a_card_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "card.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CallerError, match="expected a YAML card, got 'utf-8' codec can't decode byte"):
        load_card(tmp_path / "card.yaml")


BOMB = "\n".join(
    [
        "a: &a [lol, lol, lol]",
        *(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
    ]
)


@pytest.mark.parametrize("key", ["version", "terms", "context"])
def test_a_card_that_would_swell_when_read_is_refused_at_once(key: str, tmp_path: Path) -> None:
    rest = {"version": "1", "terms": "[]", "context": "{}"} | {key: "*i"}
    text = BOMB + "".join(f"\n{name}: {value}" for name, value in rest.items())
    (tmp_path / "card.yaml").write_text(text)
    with pytest.raises(CallerError) as error:
        load_card(tmp_path / "card.yaml")
    assert len(str(error.value)) < 1000


def test_a_card_that_contains_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "card.yaml").write_text("version: 1\nterms: &a [*a]\n")
    with pytest.raises(CallerError, match="got an alias, which cards may not have at line 2"):
        load_card(tmp_path / "card.yaml")


def test_a_file_far_too_large_for_a_card_is_not_read_to_its_end(tmp_path: Path) -> None:
    with (tmp_path / "card.yaml").open("wb") as file:
        file.truncate(2**40)  # sparse: a terabyte to whoever reads it all
    with pytest.raises(CallerError) as error:
        load_card(tmp_path / "card.yaml")
    expected = f"{tmp_path / 'card.yaml'}: expected a card of at most {CARD_LIMIT_BYTES} bytes, got a larger file"
    assert error.value.mistakes == (expected,)
