"""One value of a space: a number or word is fixed, {low, high, log} searched, {choices: [...]} picked.

What reads a node appends the mistakes it finds to a list, so that all of them are told at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from noise_search.errors import expected_one_of
from noise_search.schedules import is_number
from noise_search.spec import Choices, Range, Value

Check = Callable[[str, object], list[str]]


def read_value(node: object, where: str, mistakes: list[str], check: Check, *, integer: bool = False) -> Value:
    """Fixed value, range or choices; on a mistake something of the right type, never used.

    Args:
        node: As the configuration has it.
        where: How messages name it.
        mistakes: Where they are added.
        check: What may stand at this place, fixed, at the ends of a range and among choices.
        integer: Whether numbers are whole.
    """
    plain = int if integer else float
    if not isinstance(node, Mapping):
        return _fixed(node, where, mistakes, check, plain)
    if "choices" in node:
        return _choices(node, where, mistakes, check, plain)
    body = read_mapping(node, where, ("low", "high", "log"), mistakes)
    low, high, log = body.get("low"), body.get("high"), body.get("log", False)
    found = [mistake for key, end in (("low", low), ("high", high)) for mistake in check(f"{where}.{key}", end)]
    if not found and not (is_number(low) and is_number(high)):
        found.append(f"{where}: expected one word or {{choices: [...]}}, got a range")
    if not isinstance(log, bool):
        found.append(f"{where}.log: expected true or false, got {log!r}")
    if not found and not low < high:  # type: ignore[operator]  # both numbers: checked above
        found.append(f"{where}: expected low < high, got low={low!r}, high={high!r}")
    if not found and log and low <= 0:  # type: ignore[operator]
        found.append(f"{where}.low: expected more than 0 on a log scale, got {low!r}")
    mistakes += found
    return 0.0 if found else Range(plain(low), plain(high), log, integer)  # type: ignore[arg-type]


def _fixed(node: Any, where: str, mistakes: list[str], check: Check, plain: Callable[[Any], float]) -> Value:
    wrong = check(where, node)
    mistakes += wrong
    return 0.0 if wrong else node if isinstance(node, str) else plain(node)


def _choices(
    node: Mapping[Any, Any], where: str, mistakes: list[str], check: Check, plain: Callable[[Any], float]
) -> Value:
    body = read_mapping(node, where, ("choices",), mistakes)
    options = body["choices"]
    if not isinstance(options, list) or not options:
        mistakes.append(f"{where}.choices: expected a list with at least one entry, got {options!r}")
        return 0.0
    found = [mistake for option in options for mistake in check(where, option)]
    if not found and len(set(options)) < len(options):
        found.append(f"{where}.choices: expected each entry once, got {options!r}")
    mistakes += found
    return Choices(tuple(option if isinstance(option, str) else plain(option) for option in options if not found))


def number_in(low: float, high: float) -> Check:
    """Check that a value is a number in [low, high]."""

    def check(where: str, value: object) -> list[str]:
        if is_number(value) and low <= value <= high:  # type: ignore[operator]
            return []
        return [f"{where}: expected a number in [{low:g}, {high:g}], got {value!r}"]

    return check


def word_in(allowed: Sequence[str]) -> Check:
    """Check that a value is one of the words."""

    def check(where: str, value: object) -> list[str]:
        return [] if isinstance(value, str) and value in allowed else [expected_one_of(where, allowed, value)]

    return check


def read_mapping(node: object, where: str, allowed: Sequence[str], mistakes: list[str]) -> Mapping[str, Any]:
    """A mapping with none but the allowed keys; empty where the node is no mapping."""
    if not isinstance(node, Mapping):
        mistakes.append(f"{where}: expected a mapping with keys of {list(allowed)}, got {node!r}")
        return {}
    mistakes += [expected_one_of(where, allowed, key) for key in node if key not in allowed]
    return {str(key): value for key, value in node.items()}
