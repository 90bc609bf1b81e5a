"""What can be wrong with a schedule from outside. Every check returns the mistakes it found, as messages."""

from __future__ import annotations

import math
from collections.abc import Mapping

from noise_search.errors import expected_one_of
from noise_search.schedules.parameters import Number, Numbers, Parameter, Word
from noise_search.schedules.registry import GATE, SCHEDULES, Curve

_SHOWN_ENTRIES = 3


def schedule_mistakes(where: str, kind: object, parameters: Mapping[str, object]) -> list[str]:
    """Everything wrong with a curve and its parameters, each message beginning with `where`."""
    if not isinstance(kind, str) or kind not in SCHEDULES:
        return [expected_one_of(f"{where}.kind", SCHEDULES, kind)]
    curve = SCHEDULES[kind]
    mistakes = [
        expected_one_of(f"{where}.{kind}", curve.parameters, name)
        for name in parameters
        if name not in curve.parameters
    ]
    mistakes += _values_mistakes(where, curve.parameters, parameters)
    mistakes += [
        f"{where}.{name}: expected {parameter.expected}, got none"
        for name, parameter in curve.parameters.items()
        if isinstance(parameter, Numbers) and name not in parameters
    ]
    return mistakes or _order_mistakes(where, curve, parameters)


def gate_mistakes(where: str, gate: object) -> list[str]:
    """Everything wrong with a gate given as plain data."""
    if not isinstance(gate, Mapping):
        return [f"{where}: expected a mapping with {list(GATE)}, got {gate!r:.80}"]
    unknown = [expected_one_of(where, GATE, name) for name in gate if name not in GATE]
    whole = {name: gate.get(name) for name in GATE}  # what is missing is None, and that is no number
    return unknown + _values_mistakes(where, GATE, whole)


def parameter_mistakes(where: str, parameter: Parameter, value: object) -> list[str]:
    """What is wrong with the value of one parameter."""
    if isinstance(parameter, Word):
        known = isinstance(value, str) and value in parameter.choices
        return [] if known else [expected_one_of(where, parameter.choices, value)]
    if isinstance(parameter, Number):
        return [] if _is_within(parameter, value) else [f"{where}: expected {parameter.expected}, got {value!r}"]
    return _list_mistakes(where, parameter, value)


def is_number(value: object) -> bool:
    """Whether `value` is a finite number and not true or false."""
    whole = isinstance(value, int) and not isinstance(value, bool)  # however large: isfinite would overflow
    return whole or (isinstance(value, float) and math.isfinite(value))


def _values_mistakes(where: str, parameters: Mapping[str, Parameter], values: Mapping[str, object]) -> list[str]:
    return [
        mistake
        for name, value in values.items()
        if name in parameters
        for mistake in parameter_mistakes(f"{where}.{name}", parameters[name], value)
    ]


def _is_within(number: Number, value: object) -> bool:
    if not is_number(value) or not number.low <= value <= number.high:  # type: ignore[operator]  # a number
        return False
    if number.positive and value == 0:
        return False
    return not number.integer or value == int(value)  # type: ignore[call-overload]


def _list_mistakes(where: str, numbers: Numbers, value: object) -> list[str]:
    most = math.inf if numbers.longest is None else numbers.longest
    if not isinstance(value, list | tuple):
        return [f"{where}: expected {numbers.expected}, got {value!r:.80}"]
    if not numbers.shortest <= len(value) <= most:
        return [f"{where}: expected {numbers.expected}, got {len(value)}"]
    wrong = [index for index, entry in enumerate(value) if not _is_within(_ENTRY, entry)]
    more = len(wrong) - _SHOWN_ENTRIES
    return [
        *(f"{where}[{i}]: expected {_ENTRY.expected}, got {value[i]!r}" for i in wrong[:_SHOWN_ENTRIES]),
        *([f"{where}: ... and {more} more entries"] if more > 0 else []),
    ]


_ENTRY = Number(0.0, None)


def _order_mistakes(where: str, curve: Curve, parameters: Mapping[str, object]) -> list[str]:
    if curve.increasing is None:
        return []
    first, second = curve.increasing
    low, high = (parameters.get(name, _default(curve.parameters[name])) for name in curve.increasing)
    if low < high:  # type: ignore[operator]  # both are numbers: checked above
        return []
    return [f"{where}: expected {first} < {second}, got {first}={low!r}, {second}={high!r}"]


def _default(parameter: Parameter) -> object:
    return None if isinstance(parameter, Numbers) else parameter.default
