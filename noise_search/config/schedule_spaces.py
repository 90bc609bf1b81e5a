"""From the `schedule` node of a space to what is searched of it: a kind, its parameters, and a gate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from noise_search.config.values import Check, read_mapping, read_value, word_in
from noise_search.errors import expected_one_of
from noise_search.schedules import (
    GATE,
    SCHEDULES,
    Curve,
    Number,
    Numbers,
    Parameter,
    Word,
    bare_on_read,
    parameter_mistakes,
)
from noise_search.spec import Choices, Range, Several, Value

NO_GATE = "none"
_COUNT = "k"  # key beside a list of numbers that is searched: how many there are
_EACH = Number(0.0, (0.0, 1.0))
_DIVISORS_UP_TO = 100  # that messages name
_IN_EPOCHS = ("epochs", "on_epochs")
Curves = dict[str, dict[str, Value | Several]]


def parse_schedule(
    node: object, where: str, epochs: int | None, mistakes: list[str]
) -> tuple[Value, Curves, Mapping[str, Value] | None]:
    """Kind of schedule, the parameters of each kind that can be picked, and the gate over any of them.

    Args:
        node: A kind, `{kind: ..., PARAMETER: ...}` or `{choices: [...], KIND: {PARAMETER: ...}}`, perhaps with `every`.
        where: How messages name it.
        epochs: Of the whole training, for a gate given in epochs.
        mistakes: Where they are added.
    """
    body = dict(node) if isinstance(node, Mapping) else {"kind": "constant" if node is None else node}
    every = _parse_gate(body.pop("every", NO_GATE), f"{where}.every", epochs, mistakes)
    kind_node = {"choices": body.pop("choices")} if "choices" in body else body.pop("kind", None)
    kind = read_value(kind_node, f"{where}.kind", mistakes, word_in(tuple(SCHEDULES)))
    options = [str(option) for option in (kind.options if isinstance(kind, Choices) else (kind,))]
    kinds = [option for option in options if option in SCHEDULES]
    own = dict(body) if not isinstance(kind, Choices) else None
    if own is None:
        mistakes += [expected_one_of(where, kinds, name) for name in body if name not in kinds]
    curves = {
        option: _parse_curve(option, own if own is not None else body.get(option, {}), f"{where}.{option}", mistakes)
        for option in kinds
    }
    return kind, curves, every


def _parse_curve(kind: str, node: object, where: str, mistakes: list[str]) -> dict[str, Value | Several]:
    curve = SCHEDULES[kind]
    before = len(mistakes)
    counted = any(isinstance(one, Numbers) and one.search for one in curve.parameters.values())
    body = read_mapping(node, where, (*curve.parameters, *([_COUNT] if counted else [])), mistakes)
    values = {
        name: _parse_numbers(name, parameter, body, where, mistakes)
        if isinstance(parameter, Numbers)
        else _parse_one(parameter, body, name, where, mistakes)
        for name, parameter in curve.parameters.items()
    }
    if len(mistakes) == before:
        mistakes += _order_mistakes(where, curve, values)
    return values


def _parse_one(parameter: Number | Word, body: Mapping[str, Any], name: str, where: str, mistakes: list[str]) -> Value:
    """Value of a number or word, searched as the registry has it where the space does not say."""
    if name in body:
        integer = isinstance(parameter, Number) and parameter.integer
        return read_value(body[name], f"{where}.{name}", mistakes, _check_of(parameter), integer=integer)
    if isinstance(parameter, Word):
        return Choices(parameter.choices)
    if parameter.search is None:
        return parameter.default
    return Range(*parameter.search, log=parameter.log, integer=parameter.integer)


def _parse_numbers(
    name: str, numbers: Numbers, body: Mapping[str, Any], where: str, mistakes: list[str]
) -> Value | Several:
    """A list, entry by entry; or as many numbers as `k` says, all fixed or searched alike."""
    if numbers.longest is None or isinstance(body.get(name), list):
        if _COUNT in body:
            mistakes.append(f"{where}.{_COUNT}: a list says by itself how many it holds; remove the key")
        return _parse_list(body.get(name), numbers, f"{where}.{name}", mistakes)
    ends = (numbers.shortest, numbers.longest)
    count = _parse_one(Number(ends[0], ends, *ends, integer=True), body, _COUNT, where, mistakes)
    each = _parse_one(_EACH, body, name, where, mistakes)
    return Several(count, (each,) * numbers.longest)


def _parse_list(node: object, numbers: Numbers, where: str, mistakes: list[str]) -> Several:
    length = len(node) if isinstance(node, list) else 0
    longest = length if numbers.longest is None else numbers.longest
    if not isinstance(node, list) or not numbers.shortest <= length <= longest:
        got = length if isinstance(node, list) else "none" if node is None else f"{node!r:.80}"
        mistakes.append(f"{where}: expected {numbers.expected}, got {got}")
        return Several(0, ())
    check = _check_of(_EACH)
    return Several(length, tuple(read_value(one, f"{where}[{i}]", mistakes, check) for i, one in enumerate(node)))


def _parse_gate(node: object, where: str, epochs: int | None, mistakes: list[str]) -> Mapping[str, Value] | None:
    if node is None or node == NO_GATE:
        return None
    node = bare_on_read(node)
    if isinstance(node, Mapping) and node.keys() & set(_IN_EPOCHS):
        return _gate_in_epochs(read_mapping(node, where, _IN_EPOCHS, mistakes), where, epochs, mistakes)
    body = read_mapping(node, where, tuple(GATE), mistakes)
    cycles = (
        read_value(body["cycles"], f"{where}.cycles", mistakes, _cycles_or_none, integer=True)
        if "cycles" in body
        else _parse_one(GATE["cycles"], body, "cycles", where, mistakes)
    )
    return {"cycles": cycles, "on": _parse_one(GATE["on"], body, "on", where, mistakes)}


def _cycles_or_none(where: str, value: object) -> list[str]:
    return [] if value == NO_GATE else parameter_mistakes(where, GATE["cycles"], value)


def _gate_in_epochs(
    body: Mapping[str, Any], where: str, epochs: int | None, mistakes: list[str]
) -> Mapping[str, Value] | None:
    """Gate that is on for the first `on_epochs` of every `epochs` epochs, as shares of the training there is."""
    if epochs is None:
        mistakes.append(f"{where}.epochs: expected train.epochs to divide, got none; give cycles and on instead")
        return None
    length, on = body.get("epochs"), body.get("on_epochs")
    if type(length) is not int or length < 1 or epochs % length:
        some = [part for part in range(1, min(epochs, _DIVISORS_UP_TO) + 1) if epochs % part == 0]
        mistakes.append(f"{where}.epochs: expected a divisor of train.epochs, such as one of {some}, got {length!r}")
        return None
    if type(on) is not int or not 1 <= on <= length:
        mistakes.append(f"{where}.on_epochs: expected a whole number in [1, {length}], got {on!r}")
        return None
    mistakes += parameter_mistakes(f"{where}.cycles", GATE["cycles"], epochs // length)
    return {"cycles": epochs // length, "on": on / length}


def _check_of(parameter: Parameter) -> Check:
    return partial(_mistakes_in, parameter)


def _mistakes_in(parameter: Parameter, where: str, value: object) -> list[str]:
    return parameter_mistakes(where, parameter, value)


def _order_mistakes(where: str, curve: Curve, values: Mapping[str, Value | Several]) -> list[str]:
    if curve.increasing is None:
        return []
    low, high = (values[name] for name in curve.increasing)
    assert not isinstance(low, Several)
    assert not isinstance(high, Several)
    if _extreme(low, max) < _extreme(high, min):
        return []
    first, second = curve.increasing
    return [
        f"{where}: expected {first} < {second} whatever is searched, "
        f"got {first} {_shown(low)} and {second} {_shown(high)}"
    ]


def _extreme(value: Value, pick: Callable[[Sequence[float]], float]) -> float:
    if isinstance(value, Range):
        return pick((value.low, value.high))
    if isinstance(value, Choices):
        return pick([float(option) for option in value.options])
    return float(value)


def _shown(value: Value) -> str:
    if isinstance(value, Range):
        return f"in {value.low:g} to {value.high:g}"
    return f"in {list(value.options)}" if isinstance(value, Choices) else f"= {value}"
