"""The context of a card: what its policy was tuned in. Every field may be missing, and none may be unknown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from noise_search.noises.registry import ANY_DATA
from noise_search.policy.rules import (
    FINITE,
    POSITIVE,
    WORD,
    Fields,
    Many,
    Named,
    OneOf,
    Plain,
    Rule,
    Value,
    WordOr,
    null_or,
    shown,
    whole,
)


def _is_range(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(map(FINITE.holds, value)) and value[0] < value[1]


RANGE = Value(
    "two numbers, the smaller first",
    _is_range,
    {"type": "array", "items": FINITE.schema, "minItems": 2, "maxItems": 2},
)
SUITE = Fields({"name": WORD, "digest": WORD}, ("name",))
_MODES = ("auto", "fused", "looped")
_MODE = null_or(Value(f"one of {list(_MODES)}", lambda value: value in _MODES, {"enum": list(_MODES)}))

CONTEXT_FIELDS: dict[str, Rule] = {
    "modality": OneOf(tuple(sorted(ANY_DATA))),
    "input_range": null_or(RANGE),
    "data": WordOr(Fields({"name": WORD, "split_seed": whole(0), "limit": null_or(whole(1))}, ("name",))),
    "data_digest": WORD,
    "model": WordOr(Named(Plain())),
    "epochs": whole(1),
    "batch_size": whole(1),
    "clip": null_or(POSITIVE),
    "mode": _MODE,
    "score_mode": _MODE,
    "optimizer": WordOr(Named(Plain())),
    "seed": whole(0),
    "seeds": Many(whole(0), 1),
    "suite": WordOr(SUITE),
    "suite_note": WORD,
    "sweep": WORD,
    "trial": null_or(whole(0)),
    "rule": WORD,
    "scores": Named(Plain()),
    "versions": Named(WORD),
    "notes": Plain(),
}
CONTEXT = Fields(CONTEXT_FIELDS, next="; what is yours goes under context.notes")


def context_mistakes(where: str, context: object) -> list[str]:
    """Everything wrong with a context given as plain data, each message beginning with `where`."""
    if not isinstance(context, Mapping):
        return [f"{where}: expected a mapping, got {shown(context)}"]
    return CONTEXT.mistakes(where, context)
