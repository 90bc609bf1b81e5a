from __future__ import annotations

import pytest

from noise_search.errors import CallerError, expected_one_of, raise_if_any


def test_an_error_keeps_its_mistakes_apart_and_prints_one_a_line() -> None:
    error = CallerError("a: expected 1, got 2", "b: expected 3, got 4")
    assert error.mistakes == ("a: expected 1, got 2", "b: expected 3, got 4")
    assert str(error).splitlines() == list(error.mistakes)


def test_a_callers_mistake_is_a_value_error() -> None:
    with pytest.raises(ValueError, match=r"^a: wrong$"):
        raise CallerError("a: wrong")


def test_an_unknown_name_is_told_what_is_allowed_in_alphabetical_order() -> None:
    assert expected_one_of("model", ["mlp", "cnn"], "zzz") == "model: expected one of ['cnn', 'mlp'], got 'zzz'"


@pytest.mark.parametrize(("typed", "meant"), [("gausian", "gaussian"), ("mixpu", "mixup"), ("Gaussian", "gaussian")])
def test_an_unknown_name_near_a_known_one_is_told_which(typed: str, meant: str) -> None:
    message = expected_one_of("noise", ["gaussian", "mixup"], typed)
    assert message.endswith(f"got {typed!r}; did you mean {meant!r}?")


@pytest.mark.parametrize("got", [None, 3, ["gaussian"], {"a": 1}, float("nan"), "two\nlines", ""])
def test_a_name_of_any_type_gives_one_line(got: object) -> None:
    message = expected_one_of("noise", ["gaussian"], got)
    assert "\n" not in message
    assert repr(got) in message


def test_no_mistake_raises_nothing_and_any_raises_all() -> None:
    raise_if_any([])
    with pytest.raises(CallerError) as error:
        raise_if_any(["a", "b"])
    assert error.value.mistakes == ("a", "b")
