"""What can be wrong with a term from outside: names are looked up in the registries, numbers are range-checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from noise_search.errors import expected_one_of
from noise_search.noises import NOISES, Noise
from noise_search.schedules import mapping_mistakes

LEVELS = ("fixed", "uniform")
_TERM_KEYS = ("site", "noise", "magnitude", "unit", "fraction", "level", "schedule")


def term_mistakes(where: str, term: object, modality: str | None = None) -> list[str]:
    """Everything wrong with a term given as plain data, each message beginning with `where`."""
    if not isinstance(term, Mapping):
        return [f"{where}: expected a mapping with {list(_TERM_KEYS)}, got {term!r}"]
    noise, found = _named(where, term)
    return [
        *(expected_one_of(where, _TERM_KEYS, key) for key in term if key not in _TERM_KEYS),
        *found,
        *_number_mistakes(f"{where}.magnitude", term.get("magnitude"), math.inf if noise is None else noise.limit),
        *_knob_mistakes(where, term),
        *([] if noise is None else _mistakes_of_noise(where, term, noise, modality)),
        *mapping_mistakes(f"{where}.schedule", term.get("schedule", {"kind": "constant"})),
    ]


def _named(where: str, term: Mapping[Any, Any]) -> tuple[Noise[Any] | None, list[str]]:
    """The noise of a term, or what is wrong with its names."""
    site, name = term.get("site"), term.get("noise")
    if not isinstance(site, str) or site not in NOISES:
        return None, [expected_one_of(f"{where}.site", NOISES, site)]
    if not isinstance(name, str) or name not in NOISES[site]:
        return None, [expected_one_of(f"{where}.noise", NOISES[site], name)]
    return NOISES[site][name], []


def _mistakes_of_noise(where: str, term: Mapping[Any, Any], noise: Noise[Any], modality: str | None) -> list[str]:
    """What does not fit the noise of a term."""
    return [
        *_unit_mistakes(f"{where}.unit", term, noise),
        *(
            f"{where}.{knob}: {noise.site}.{noise.name} has no such knob; remove the key"
            for knob in ("fraction", "level")
            if knob in term and knob not in noise.knobs
        ),
        *_modality_mistakes(f"{where}.noise", noise, modality),
    ]


def _number_mistakes(where: str, value: object, limit: float) -> list[str]:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0.0 <= value <= limit:
        return []
    allowed = "a number of at least 0" if limit == math.inf else f"a number in [0, {limit:g}]"
    return [f"{where}: expected {allowed}, got {value!r}"]


def _unit_mistakes(where: str, term: Mapping[Any, Any], noise: Noise[Any]) -> list[str]:
    if term.get("unit", noise.unit) == noise.unit:  # word by word: another unit is another magnitude
        return []
    return [f"{where}: expected {noise.unit!r}, got {term['unit']!r}; convert the magnitude, or leave out the unit"]


def _knob_mistakes(where: str, term: Mapping[Any, Any]) -> list[str]:
    mistakes = []
    if "fraction" in term:
        mistakes += _number_mistakes(f"{where}.fraction", term["fraction"], 1.0)
    if "level" in term and term["level"] not in LEVELS:
        mistakes.append(expected_one_of(f"{where}.level", LEVELS, term["level"]))
    return mistakes


def _modality_mistakes(where: str, noise: Noise[Any], modality: str | None) -> list[str]:
    if modality is None or modality in noise.modalities:
        return []
    works = f"{noise.name} works on {sorted(noise.modalities)}"
    return [f"{where}: {works}, got data of modality {modality!r}; take the term out"]
