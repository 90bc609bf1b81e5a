"""What a value of a card has to be, said once: as a check, in words for messages, and as JSON Schema.

Numbers follow JSON: 3.0 is a whole number, NaN and infinity are none, and neither is true.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from noise_search.errors import expected_one_of
from noise_search.schedules.checks import is_number

Schema = dict[str, Any]
PLAIN = "numbers, words, and lists and mappings of them"
_SHOWN_CHARACTERS = 80


def shown(value: object) -> str:
    """A value as messages have it: in one line, and not all of a long one.

    >>> len(shown(["a"] * 100))
    80
    """
    return " ".join(repr(value).split())[:_SHOWN_CHARACTERS]


class Rule(Protocol):
    """What a value has to be."""

    @property
    def schema(self) -> Schema:
        """The rule as JSON Schema."""

    def mistakes(self, where: str, value: object) -> list[str]:
        """Everything wrong with a value, each message beginning with `where`."""


@dataclass(frozen=True, slots=True)
class Value:
    """One value: in words, as a check, and as JSON Schema."""

    expected: str
    holds: Callable[[Any], bool]
    schema: Schema

    def mistakes(self, where: str, value: object) -> list[str]:
        """At most one message."""
        return [] if self.holds(value) else [f"{where}: expected {self.expected}, got {shown(value)}"]


@dataclass(frozen=True, slots=True)
class OneOf:
    """One word of a few."""

    choices: tuple[str, ...]

    @property
    def schema(self) -> Schema:
        """The words."""
        return {"enum": list(self.choices)}

    def mistakes(self, where: str, value: object) -> list[str]:
        """At most one message, with the nearest word."""
        known = isinstance(value, str) and value in self.choices
        return [] if known else [expected_one_of(where, self.choices, value)]


@dataclass(frozen=True, slots=True)
class Fields:
    """A mapping with these fields and no other; `required` are there, and after `next` comes what to do with others."""

    fields: Mapping[str, Rule]
    required: tuple[str, ...] = ()
    next: str = ""

    @property
    def schema(self) -> Schema:
        """An object of these properties."""
        properties = {name: rule.schema for name, rule in self.fields.items()}
        required = {"required": list(self.required)} if self.required else {}
        return {"type": "object", "properties": properties, **required, "additionalProperties": False}

    def mistakes(self, where: str, value: object) -> list[str]:
        """Of every field, and the fields that are unknown or missing."""
        if not isinstance(value, Mapping):
            return [f"{where}: expected a mapping with {list(self.fields)}, got {shown(value)}"]
        found = [expected_one_of(where, self.fields, key) + self.next for key in value if key not in self.fields]
        found += [f"{where}.{name}: expected it, got nothing" for name in self.required if name not in value]
        for name, rule in self.fields.items():
            found += rule.mistakes(f"{where}.{name}", value[name]) if name in value else []
        return found


@dataclass(frozen=True, slots=True)
class Many:
    """A list of at least `least` values under one rule."""

    rule: Rule
    least: int = 0

    @property
    def schema(self) -> Schema:
        """An array."""
        return {"type": "array", "items": self.rule.schema, "minItems": self.least}

    def mistakes(self, where: str, value: object) -> list[str]:
        """Of the list and of every entry."""
        if not isinstance(value, list | tuple) or len(value) < self.least:
            return [f"{where}: expected a list of at least {self.least}, got {shown(value)}"]
        return [
            mistake for index, entry in enumerate(value) for mistake in self.rule.mistakes(f"{where}[{index}]", entry)
        ]


@dataclass(frozen=True, slots=True)
class Named:
    """A mapping of names to values under one rule; `names` are those there can be, any if there are none."""

    rule: Rule
    names: tuple[str, ...] = ()
    required: tuple[str, ...] = ()

    @property
    def schema(self) -> Schema:
        """An object of properties that are all alike."""
        names = {"propertyNames": {"enum": list(self.names)}} if self.names else {}
        required = {"required": list(self.required)} if self.required else {}
        return {"type": "object", **names, **required, "additionalProperties": self.rule.schema}

    def mistakes(self, where: str, value: object) -> list[str]:
        """Of the mapping, its names and its values."""
        if not isinstance(value, Mapping):
            return [f"{where}: expected a mapping of names, got {shown(value)}"]
        found = [mistake for key in value for mistake in self._name_mistakes(where, key)]
        found += [f"{where}.{name}: expected it, got nothing" for name in self.required if name not in value]
        return found + [
            mistake for key, entry in value.items() for mistake in self.rule.mistakes(f"{where}.{key}", entry)
        ]

    def _name_mistakes(self, where: str, key: object) -> list[str]:
        if self.names:
            return [] if key in self.names else [expected_one_of(where, self.names, key)]
        return [] if isinstance(key, str) else [f"{where}: expected a word for a name, got {shown(key)}"]


@dataclass(frozen=True, slots=True)
class WordOr:
    """A word in place of a mapping."""

    rule: Rule

    @property
    def schema(self) -> Schema:
        """Either."""
        return {"anyOf": [WORD.schema, self.rule.schema]}

    def mistakes(self, where: str, value: object) -> list[str]:
        """Of the mapping, where there is one."""
        if isinstance(value, Mapping):
            return self.rule.mistakes(where, value)
        return [] if WORD.holds(value) else [f"{where}: expected a word or a mapping, got {shown(value)}"]


@dataclass(frozen=True, slots=True)
class Plain:
    """Anything that JSON can hold."""

    @property
    def schema(self) -> Schema:
        """Whatever a JSON file holds is plain."""
        return {}

    def mistakes(self, where: str, value: object) -> list[str]:
        """Every part that is not plain, by its path."""
        if isinstance(value, Mapping):
            return Named(self).mistakes(where, value)
        if isinstance(value, list | tuple):
            return Many(self).mistakes(where, value)
        known = value is None or isinstance(value, str | bool) or is_number(value)
        return [] if known else [f"{where}: expected {PLAIN}, got {shown(value)}"]


def whole(least: int) -> Value:
    """A whole number of at least `least`."""

    def holds(value: Any) -> bool:
        return is_number(value) and value >= least and value == int(value)

    return Value(f"a whole number of at least {least}", holds, {"type": "integer", "minimum": least})


def number(low: float, high: float) -> Value:
    """A number in [low, high]."""

    def holds(value: Any) -> bool:
        return is_number(value) and low <= value <= high

    return Value(f"a number in [{low:g}, {high:g}]", holds, {"type": "number", "minimum": low, "maximum": high})


def null_or(rule: Value) -> Value:
    """What another rule allows, or nothing."""
    return Value(
        f"{rule.expected}, or null",
        lambda value: value is None or rule.holds(value),
        {"anyOf": [{"type": "null"}, rule.schema]},
    )


WORD = Value("a word", lambda value: isinstance(value, str) and value != "", {"type": "string", "minLength": 1})
FINITE = Value("a finite number", is_number, {"type": "number"})
POSITIVE = Value(
    "a number above 0", lambda value: is_number(value) and value > 0, {"type": "number", "exclusiveMinimum": 0}
)
SENTENCES = Many(WORD)
