from __future__ import annotations

import math
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from card_examples import CONFIRMED, CONTEXT, OLD_CARDS, SEARCHED
from card_examples import evidence as evidence_with
from hypothesis import given
from hypothesis import strategies as st
from policy_strategies import ALL_NOISES, policies, schedules, terms

from noise_search.errors import CallerError
from noise_search.noises import NOISES
from noise_search.policy import (
    CARD_LIMIT_BYTES,
    Card,
    Policy,
    Term,
    card_to_mapping,
    load_card,
    save_card,
)
from noise_search.schedules import SCHEDULES, Gate, Schedule

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
NUMBERS = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
NOTES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
EVERY_NOISE = pytest.mark.parametrize(("site", "name"), ALL_NOISES)


def saved_and_loaded(card: Card) -> Card:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "card.yaml"
        save_card(card, path)
        return load_card(path)


# --- round trips


@given(policies(), NOTES, st.sampled_from([None, SEARCHED, CONFIRMED]))
def test_a_card_is_loaded_as_it_was_saved(policy: Policy, notes: Any, evidence: dict[str, Any] | None) -> None:
    card = Card(policy, {**CONTEXT, "modality": "images", "notes": notes}, evidence)
    assert saved_and_loaded(card) == card


@given(policies(), st.floats(0, 1), st.floats(0, 1))
def test_a_file_is_saved_again_byte_for_byte(policy: Policy, mean: float, high: float) -> None:
    evidence = evidence_with(SEARCHED, "arms.winner.robust", {"mean": min(mean, high), "high": max(mean, high)})
    with tempfile.TemporaryDirectory() as folder:
        one, other = Path(folder) / "one.yaml", Path(folder) / "other.yaml"
        save_card(Card(policy, CONTEXT, evidence), one)
        save_card(load_card(one), other)
        assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("text", OLD_CARDS.values(), ids=OLD_CARDS)
def test_a_card_of_an_earlier_version_is_loaded_as_what_it_says(text: str, tmp_path: Path) -> None:
    (tmp_path / "card.yaml").write_text(text)
    said, card = yaml.safe_load(text), load_card(tmp_path / "card.yaml")
    assert card.context == (said.get("context") or {})
    assert card.evidence is None
    assert [(term.site, term.noise, term.magnitude) for term in card.policy.terms] == [
        (term["site"], term["noise"], term["magnitude"]) for term in said["terms"]
    ]
    assert saved_and_loaded(card) == card


@EVERY_NOISE
@given(data=st.data())
def test_a_card_of_every_noise_is_loaded_as_it_was_saved(site: str, name: str, data: st.DataObject) -> None:
    card = Card(Policy((data.draw(terms(site, name)),)), {"modality": sorted(NOISES[site][name].modalities)[0]})
    assert saved_and_loaded(card) == card


@pytest.mark.parametrize("kind", SCHEDULES)
@given(data=st.data())
def test_a_card_of_every_schedule_is_loaded_as_it_was_saved(kind: str, data: st.DataObject) -> None:
    term = Term("weights", "relative", 0.1, schedule=data.draw(schedules((kind,))))
    assert saved_and_loaded(Card(Policy((term,)), {})) == Card(Policy((term,)), {})


@given(policies(), st.integers(1, 40))
def test_a_loaded_card_tabulates_to_the_very_numbers(policy: Policy, steps: int) -> None:
    loaded = saved_and_loaded(Card(policy, {}))
    before, after = policy.tabulate(steps), loaded.tabulate(steps)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


@given(policies())
def test_a_card_is_plain_yaml_as_the_documentation_shows_it(policy: Policy) -> None:
    with tempfile.TemporaryDirectory() as folder:
        save_card(Card(policy, {"data": "digits"}), Path(folder) / "card.yaml")
        content = yaml.safe_load((Path(folder) / "card.yaml").read_text(encoding="utf-8"))
    assert content == card_to_mapping(Card(policy, {"data": "digits"}))
    assert list(content) == ["version", "terms", "context", "rescale", "not_for"]
    assert content["version"] == 1
    for term, made in zip(content["terms"], policy.terms, strict=True):
        assert (term["site"], term["noise"], term["magnitude"]) == (made.site, made.noise, made.magnitude)
        assert term["unit"] == NOISES[made.site][made.noise].unit
        assert term["schedule"].pop("kind") == made.schedule.kind
        gate = term["schedule"].pop("every", None)
        assert gate == (made.schedule.every and {"cycles": made.schedule.every.cycles, "on": made.schedule.every.on})
        values = {name: tuple(v) if isinstance(v, list) else v for name, v in term["schedule"].items()}
        assert values == dict(made.schedule.parameters)
        assert term.keys() - {"fraction", "level"} == {"site", "noise", "magnitude", "unit", "schedule"}


@pytest.mark.parametrize("text", ["\x85", "a\x85b", "\u2028", "a \u2029 b", "\ufeff"])
def test_line_breaks_of_any_kind_in_a_context_come_back_as_they_were(text: str) -> None:
    context = {"notes": {text: [text]}}
    assert saved_and_loaded(Card(Policy(), context)).context == context


def test_numbers_of_numpy_make_the_same_card() -> None:
    term = Term("inputs", "gaussian", np.float64(0.25), np.float64(0.5))
    assert saved_and_loaded(Card(Policy((term,)), {})).policy.terms == (Term("inputs", "gaussian", 0.25, 0.5),)
    assert type(term.magnitude) is float


def test_one_object_twice_in_a_context_is_written_twice() -> None:
    shared = [0, 1]
    context = {"input_range": shared, "notes": shared}
    assert saved_and_loaded(Card(Policy(), context)).context == context


@pytest.mark.parametrize("on", ["on", "'on'"])
def test_a_card_written_by_hand_may_have_the_word_on_without_quotes(on: str, tmp_path: Path) -> None:
    gated = "{kind: steps, k: 2, direction: down, every: {cycles: 4, %s: 0.25}}" % on  # noqa: UP031
    (tmp_path / "card.yaml").write_text(
        f"version: 1\nterms: [{{site: inputs, noise: gaussian, magnitude: 0.2, schedule: {gated}}}]\n"
    )
    expected = Schedule("steps", (("k", 2), ("direction", "down")), Gate(4, 0.25))
    assert load_card(tmp_path / "card.yaml").policy.terms[0].schedule == expected


def with_table(values: int) -> Card:
    table = Schedule("table", (("values", tuple(step / values for step in range(values))),))
    return Card(Policy((Term("inputs", "gaussian", 0.2, schedule=table),)), {})


def test_a_card_of_a_long_table_is_loaded_as_it_was_saved_its_numbers_in_rows(tmp_path: Path) -> None:
    save_card(with_table(1000), tmp_path / "card.yaml")
    assert load_card(tmp_path / "card.yaml") == with_table(1000)
    assert len((tmp_path / "card.yaml").read_text().splitlines()) < 1000 / 2


def test_a_card_too_large_to_be_loaded_again_is_not_saved(tmp_path: Path) -> None:
    too_many = CARD_LIMIT_BYTES // 4
    with pytest.raises(CallerError, match=f"expected a card of at most {CARD_LIMIT_BYTES} bytes, got .*fewer values"):
        save_card(with_table(too_many), tmp_path / "card.yaml")
    assert list(tmp_path.iterdir()) == []


# --- writing


def whole_card() -> Card:
    return Card(Policy((Term("inputs", "gaussian", 0.2),)), {"data": "digits"})


def test_a_card_is_written_over_an_older_one_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "card.yaml"
    path.write_text("old")
    save_card(whole_card(), path)
    assert load_card(path) == whole_card()
    assert list(tmp_path.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o644


def test_saving_into_a_missing_folder_says_so_and_makes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "card.yaml"
    with pytest.raises(CallerError) as error:
        save_card(whole_card(), path)
    assert error.value.mistakes == (f"{path}: cannot write the card: No such file or directory",)
    assert list(tmp_path.iterdir()) == []


def test_saving_over_a_folder_says_so_and_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "card.yaml").mkdir()
    with pytest.raises(CallerError, match="cannot write the card: Is a directory"):
        save_card(whole_card(), tmp_path / "card.yaml")
    assert list(tmp_path.iterdir()) == [tmp_path / "card.yaml"]


def test_saving_into_a_folder_that_takes_no_files_says_so() -> None:
    with pytest.raises(CallerError, match=r"^/proc/card\.yaml: cannot write the card: "):
        save_card(whole_card(), "/proc/card.yaml")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_saving_into_a_folder_without_permission_says_so_and_leaves_nothing_behind(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(CallerError, match="cannot write the card: Permission denied"):
            save_card(whole_card(), tmp_path / "card.yaml")
    finally:
        tmp_path.chmod(0o755)
    assert list(tmp_path.iterdir()) == []


def recursive() -> dict[str, Any]:
    notes: dict[str, Any] = {}
    notes["self"] = notes
    return notes


@pytest.mark.parametrize(
    ("notes", "said"),
    [
        (torch.ones(2), "context.notes: expected numbers, words, and lists and mappings of them, got tensor([1., 1.])"),
        ([torch.ones(9, 9)], "context.notes[0]: expected numbers, words, and lists and mappings of them, got tensor("),
        (np.float64(1), "context: expected numbers, words, and lists and mappings of them, got ("),
        (math.inf, "context.notes: expected numbers, words, and lists and mappings of them, got inf"),
        (recursive(), "expected lists and mappings a few levels deep, got some without an end"),
    ],
    ids=["tensor", "large tensor", "numpy", "infinite", "recursive"],
)
def test_a_context_that_is_no_plain_data_is_refused_and_leaves_the_old_card(
    notes: Any, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "card.yaml"
    save_card(whole_card(), path)
    with pytest.raises(CallerError) as error:
        save_card(replace(whole_card(), context={"notes": notes}), path)
    (mistake,) = error.value.mistakes
    assert mistake.startswith(f"{path}: {said}")
    assert "\n" not in mistake
    assert load_card(path) == whole_card()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("gain", [-2.0, 1.4, 2.0])
def test_a_gain_between_two_classes_reaches_from_minus_two_to_two(gain: float, tmp_path: Path) -> None:
    """An item's score is right or wrong above chance of a half: 1 or -1."""
    given = evidence_with(CONFIRMED, "gains.no_noise.robust", {"mean": gain, "low": gain, "high": gain})
    save_card(Card(Policy(), CONTEXT, given), tmp_path / "card.yaml")
    assert load_card(tmp_path / "card.yaml").evidence == given


def test_nothing_is_saved_that_would_not_be_loaded(tmp_path: Path) -> None:
    wrong = evidence_with(CONFIRMED, "test_reads", 0)
    with pytest.raises(CallerError) as error:
        save_card(Card(Policy(), {"epohcs": 3}, wrong), tmp_path / "card.yaml")
    assert [mistake.partition(": expected")[0] for mistake in error.value.mistakes] == [
        f"{tmp_path / 'card.yaml'}: context",
        f"{tmp_path / 'card.yaml'}: evidence.test_reads",
    ]
    assert list(tmp_path.iterdir()) == []


# --- other processes


def test_cards_are_utf_8_whatever_the_locale(tmp_path: Path) -> None:
    program = (
        "import sys; from noise_search.policy import *\n"
        "save_card(Card(Policy(), {'sweep': chr(0xe9) + chr(0x4e2d)}), sys.argv[1]); load_card(sys.argv[1])"
    )
    ascii_only = {**os.environ, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    path = tmp_path / "card.yaml"
    subprocess.run([sys.executable, "-c", program, str(path)], env=ascii_only, check=True)
    assert load_card(path).context == {"sweep": "\u00e9\u4e2d"}


def test_loading_a_card_imports_none_of_what_only_sweeps_need(tmp_path: Path) -> None:
    save_card(whole_card(), tmp_path / "card.yaml")
    program = (
        "import sys, noise_search; noise_search.load_card(sys.argv[1]).tabulate(10)\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "card.yaml")]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert {"torch", "yaml", "noise_search"} <= set(loaded)
    heavy = {"optuna", "mlflow", "hydra", "omegaconf", "sqlalchemy", "alembic", "sklearn", "scipy", "pydantic", "rich"}
    heavy |= {"jsonschema"}
    assert not heavy & set(loaded)
