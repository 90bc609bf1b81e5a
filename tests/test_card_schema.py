from __future__ import annotations

import json
import os
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from card_examples import CONFIRMED, CONTEXT, OLD_CARDS, SEARCHED
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from policy_strategies import policies
from sweep_examples import NAME, finished_store, picking_store
from wrong_cards import BAD_CARDS, BEYOND_A_SCHEMA, GAUSSIAN

from noise_search.commands import pick, sweep_files
from noise_search.errors import CallerError
from noise_search.policy import CARD_SCHEMA, Card, Policy, card_to_mapping, load_card
from noise_search.store import locate

CHECKOUT = Path(__file__).resolve().parent.parent
SCHEMA = json.loads(CARD_SCHEMA.read_text(encoding="utf-8"))
VALIDATOR = Draft202012Validator(SCHEMA)
WHOLE: dict[str, Any] = {
    "version": 1,
    "terms": [
        {**GAUSSIAN, "unit": "standard deviation, raw units"},
        {
            "site": "weights",
            "noise": "dropconnect",
            "magnitude": 0.1,
            "schedule": {"kind": "knots", "values": [0, 1, 0]},
        },
        {
            "site": "gradients",
            "noise": "gaussian",
            "magnitude": 0.1,
            "schedule": {"kind": "steps", "k": 3, "direction": "down", "every": {"cycles": 4, "on": 0.5}},
        },
    ],
    "context": CONTEXT,
    "evidence": CONFIRMED,
    "rescale": ["Schedules are fractions of training."],
    "not_for": [],
}


def as_json(content: object) -> Any:
    """What a card stands for as JSON, in which there is no NaN and no date.

    Raises:
        TypeError, ValueError: It is none.
    """
    return json.loads(json.dumps(content, allow_nan=False))


def mistakes_by_schema(content: object) -> list[str]:
    return [error.message for error in VALIDATOR.iter_errors(as_json(content))]


def is_sound_by_schema(text: str) -> bool:
    try:
        content = yaml.safe_load(text)
        return as_json(content) == content and not mistakes_by_schema(content)  # keys of JSON are words
    except (yaml.YAMLError, TypeError, ValueError, RecursionError):
        return False


def is_loaded(text: str, folder: Path) -> bool:
    (folder / "card.yaml").write_text(text, encoding="utf-8")
    try:
        load_card(folder / "card.yaml")
    except CallerError:
        return False
    return True


# --- the file


def test_it_is_a_json_schema_of_draft_2020_12() -> None:
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    Draft202012Validator.check_schema(SCHEMA)


def test_the_shipped_schema_is_that_of_the_registries_and_an_edited_one_is_told(tmp_path: Path) -> None:
    def card_schema(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, str(CHECKOUT / "scripts" / "card_schema"), *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    shipped = card_schema("--check")
    assert (shipped.stderr, shipped.returncode) == ("", 0)
    edited = tmp_path / "edited.json"
    edited.write_text(CARD_SCHEMA.read_text(encoding="utf-8").replace('"maximum": 10.0', '"maximum": 11.0', 1))
    told = card_schema("--check", "--output", str(edited))
    assert (told.returncode, told.stderr.partition(":")[0]) == (1, str(edited))
    assert card_schema("--output", str(edited)).returncode == 0
    assert edited.read_bytes() == CARD_SCHEMA.read_bytes()


# --- cards that the project writes


@given(policies(), st.sampled_from([None, SEARCHED, CONFIRMED]))
def test_every_card_that_is_written_is_sound_by_the_schema(policy: Policy, evidence: dict[str, Any] | None) -> None:
    assert mistakes_by_schema(card_to_mapping(Card(policy, {**CONTEXT, "modality": "images"}, evidence))) == []


@pytest.mark.parametrize("rule", ["best", "knee"])
def test_the_card_that_pick_writes_is_sound_by_the_schema(rule: str, tmp_path: Path) -> None:
    pick(NAME, rule=rule, output=tmp_path / "card.yaml", store=picking_store())
    assert mistakes_by_schema(yaml.safe_load((tmp_path / "card.yaml").read_text(encoding="utf-8"))) == []


def test_the_card_that_a_sweep_leaves_is_sound_by_the_schema() -> None:
    card = sweep_files(NAME, locate(finished_store()))["card"]
    assert mistakes_by_schema(yaml.safe_load(card.read_text(encoding="utf-8"))) == []


# --- the schema and loading agree


@pytest.mark.parametrize("text", [*OLD_CARDS.values(), yaml.safe_dump(as_json(WHOLE))], ids=[*OLD_CARDS, "whole"])
def test_a_good_card_is_sound_by_both(text: str, tmp_path: Path) -> None:
    assert mistakes_by_schema(yaml.safe_load(text)) == []
    assert is_loaded(text, tmp_path)


@pytest.mark.parametrize("name", BAD_CARDS)
def test_a_bad_card_is_refused_by_both_unless_two_numbers_have_to_be_compared(name: str) -> None:
    # That loading refuses it is tested with its message, in test_wrong_cards.
    assert is_sound_by_schema(BAD_CARDS[name][0]) == (name in BEYOND_A_SCHEMA)


def paths(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Path of every value in nested lists and mappings."""
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [path, *(found for key, value in inner for found in paths(value, (*path, key)))]


COMPARED = {"start", "stop", "low", "mean", "high", "input_range"}
JUNK = [
    None,
    True,
    -1,
    0,
    0.5,
    1.0,
    3,
    11,
    1e9,
    "",
    "x",
    "gaussian",
    "images",
    "confirmed",
    [],
    [0.5],
    {},
    {"kind": "x"},
]


@given(st.sampled_from(paths(as_json(WHOLE))[1:]), st.sampled_from(["replace", "remove", "add"]), st.sampled_from(JUNK))
def test_a_card_with_one_change_is_sound_by_both_or_by_neither(
    tmp_path_factory: pytest.TempPathFactory, path: tuple[Any, ...], how: str, junk: Any
) -> None:
    content = as_json(WHOLE)
    node = content
    for key in path[:-1]:
        node = node[key]
    if how == "remove":
        del node[path[-1]]
    elif how == "replace":
        node[path[-1]] = deepcopy(junk)
    elif isinstance(node, dict):
        node["added"] = deepcopy(junk)
    else:
        node.append(deepcopy(junk))
    text, folder = yaml.safe_dump(content), tmp_path_factory.getbasetemp()
    by_schema, by_loading = is_sound_by_schema(text), is_loaded(text, folder)
    assert by_schema == by_loading or (by_schema and set(path) & COMPARED)
