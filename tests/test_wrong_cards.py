from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from wrong_cards import BAD_CARDS, GAUSSIAN, card_of

from noise_search.errors import CallerError
from noise_search.policy import (
    CARD_LIMIT_BYTES,
    Card,
    Policy,
    Term,
    load_card,
)
from noise_search.schedules import Schedule


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
