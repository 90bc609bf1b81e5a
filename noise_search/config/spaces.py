"""From the free-form `space` node to typed specs: every mistake at once, each naming its key."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from noise_search.errors import expected_one_of, raise_if_any
from noise_search.noises import NOISES, Noise
from noise_search.policy import LEVELS
from noise_search.schedules import SCHEDULES
from noise_search.spec import Choices, NoiseBranch, Range, SiteSpace, Space, Value

NO_NOISE = "none"
_SITE_KEYS = ("noise", "magnitude", "fraction", "level", "schedule")
Check = Callable[[str, object], list[str]]


def parse_space(node: object, where: str = "space", *, modality: str | None = None) -> Space:
    """Typed search space.

    Args:
        node: `{terms: {SITE: {noise, magnitude, fraction, level, schedule}}}`. A number or word is fixed,
            `{low, high, log}` searched, `{choices: [...]}` picked. `magnitude`, `fraction` and `level` may be
            given by noise, `schedule` may carry the parameters of each kind. What is left out takes the
            default of its registry.
        where: How messages name it.
        modality: Kind of data the noises must suit; None: not checked.

    Raises:
        CallerError: With every mistake.
    """
    mistakes: list[str] = []
    terms = _mapping(node, where, ("terms",), mistakes).get("terms")
    sites = _mapping(terms, f"{where}.terms", tuple(NOISES), mistakes)
    if not mistakes and not sites:
        mistakes.append(f"{where}.terms: expected at least one of {list(NOISES)}, got none")
    parsed = [
        _parse_site(site, body, f"{where}.terms.{site}", modality, mistakes)
        for site, body in sites.items()
        if site in NOISES
    ]
    raise_if_any(list(dict.fromkeys(mistakes)))  # a site's noises share its schedule
    return Space(tuple(parsed))


def _parse_site(site: str, node: object, where: str, modality: str | None, mistakes: list[str]) -> SiteSpace:
    body = _mapping(node, where, _SITE_KEYS, mistakes)
    names = _noise_names(site, body.get("noise"), f"{where}.noise", modality, mistakes)
    if names:
        _refuse_foreign_branches(site, body, names, where, mistakes)
    branches = {
        name: _parse_branch(NOISES[site][name], body, names, where, mistakes) for name in names if name != NO_NOISE
    }
    return SiteSpace(site, names, branches)


def _noise_names(site: str, node: object, where: str, modality: str | None, mistakes: list[str]) -> tuple[str, ...]:
    value = _value(node, where, mistakes, _word_in((*NOISES[site], NO_NOISE)))
    names = value.options if isinstance(value, Choices) else (value,)
    known = tuple(str(name) for name in names if name == NO_NOISE or name in NOISES[site])
    mistakes += [
        f"{where}: {name} works on {sorted(NOISES[site][name].modalities)}, got data of modality {modality!r}"
        for name in known
        if modality and name != NO_NOISE and modality not in NOISES[site][name].modalities
    ]
    return known


def _refuse_foreign_branches(
    site: str, body: Mapping[str, Any], names: Sequence[str], where: str, mistakes: list[str]
) -> None:
    picked = [name for name in names if name != NO_NOISE]
    for key in ("magnitude", "fraction", "level"):
        node = body.get(key)
        having = [name for name in picked if key == "magnitude" or key in NOISES[site][name].knobs]
        if isinstance(node, Mapping) and _is_by_noise(node):
            mistakes += [expected_one_of(f"{where}.{key}", having, name) for name in node if name not in having]
        elif node is not None and picked and not having:
            mistakes.append(f"{where}.{key}: {site}.{picked[0]} has no such knob; remove the key")


def _parse_branch(
    noise: Noise[Any], body: Mapping[str, Any], names: Sequence[str], where: str, mistakes: list[str]
) -> NoiseBranch:
    alone = sum(name != NO_NOISE for name in names) == 1
    low, high = noise.search
    magnitude = _of_noise(body.get("magnitude"), noise.name)
    if magnitude is not None and not alone and not _is_by_noise(body["magnitude"]):
        mistakes.append(
            f"{where}.magnitude: expected one for each of {[n for n in names if n != NO_NOISE]}, "
            f"whose units differ, got {magnitude!r}; write {{{noise.name}: ...}}"
        )
    kind, curves = _parse_schedule(body.get("schedule"), f"{where}.schedule", mistakes)
    return NoiseBranch(
        magnitude=Range(low, high, noise.log)
        if magnitude is None
        else _value(magnitude, _place(where, "magnitude", body, noise), mistakes, _number_in(0.0, noise.limit)),
        fraction=_knob(noise, "fraction", body, 0.5, where, mistakes, _number_in(0.0, 1.0)),
        level=_knob(noise, "level", body, "fixed", where, mistakes, _word_in(LEVELS)),
        schedule=kind,
        curves=curves,
    )


def _knob(
    noise: Noise[Any],
    knob: str,
    body: Mapping[str, Any],
    default: Value,
    where: str,
    mistakes: list[str],
    check: Check,
) -> Value | None:
    node = _of_noise(body.get(knob), noise.name)
    if knob not in noise.knobs:
        return None
    return default if node is None else _value(node, _place(where, knob, body, noise), mistakes, check)


def _place(where: str, key: str, body: Mapping[str, Any], noise: Noise[Any]) -> str:
    """Name of a key in messages, with the noise where it is given by noise."""
    return f"{where}.{key}.{noise.name}" if _is_by_noise(body[key]) else f"{where}.{key}"


def _parse_schedule(node: object, where: str, mistakes: list[str]) -> tuple[Value, dict[str, dict[str, Value]]]:
    """Kind of schedule, and the parameters of each kind that can be picked."""
    body = dict(node) if isinstance(node, Mapping) else {"kind": "constant" if node is None else node}
    kind_node = {"choices": body.pop("choices")} if "choices" in body else body.pop("kind", None)
    kind = _value(kind_node, f"{where}.kind", mistakes, _word_in(tuple(SCHEDULES)))
    options = [str(option) for option in (kind.options if isinstance(kind, Choices) else (kind,))]
    kinds = [option for option in options if option in SCHEDULES]
    own = dict(body) if not isinstance(kind, Choices) else None
    if own is None:
        mistakes += [expected_one_of(where, kinds, name) for name in body if name not in kinds]
    curves = {
        option: _parse_curve(option, own if own is not None else body.get(option, {}), f"{where}.{option}", mistakes)
        for option in kinds
    }
    return kind, curves


def _parse_curve(kind: str, node: object, where: str, mistakes: list[str]) -> dict[str, Value]:
    curve = SCHEDULES[kind]
    before = len(mistakes)
    body = _mapping(node, where, tuple(curve.parameters), mistakes)
    values: dict[str, Value] = {}
    for name, parameter in curve.parameters.items():
        if name in body:
            values[name] = _value(body[name], f"{where}.{name}", mistakes, _number_in(0.0, 1.0))
        else:
            values[name] = parameter.default if parameter.search is None else Range(*parameter.search)
    sound = len(mistakes) == before
    if sound and curve.increasing and not _always_increasing(*(values[name] for name in curve.increasing)):
        first, second = curve.increasing
        mistakes.append(
            f"{where}: expected {first} < {second} whatever is searched, "
            f"got {first} in {values[first]} and {second} in {values[second]}"
        )
    return values


def _always_increasing(first: Value, second: Value) -> bool:
    return _extreme(first, max) < _extreme(second, min)


def _extreme(value: Value, pick: Callable[[Sequence[float]], float]) -> float:
    if isinstance(value, Range):
        return pick((value.low, value.high))
    if isinstance(value, Choices):
        return pick([float(option) for option in value.options])
    return float(value)


def _value(node: object, where: str, mistakes: list[str], check: Check) -> Value:
    """Fixed value, range or choices; on a mistake something of the right type, never used."""
    if not isinstance(node, Mapping):
        wrong = check(where, node)
        mistakes += wrong
        return 0.0 if wrong else node if isinstance(node, str) else float(node)  # type: ignore[arg-type]
    if "choices" in node:
        return _choices(node, where, mistakes, check)
    body = _mapping(node, where, ("low", "high", "log"), mistakes)
    low, high, log = body.get("low"), body.get("high"), body.get("log", False)
    found = [mistake for key, end in (("low", low), ("high", high)) for mistake in check(f"{where}.{key}", end)]
    if not found and not (_is_number(low) and _is_number(high)):
        found.append(f"{where}: expected one word or {{choices: [...]}}, got a range")
    if not isinstance(log, bool):
        found.append(f"{where}.log: expected true or false, got {log!r}")
    if not found and not low < high:  # type: ignore[operator]  # both numbers: checked above
        found.append(f"{where}: expected low < high, got low={low!r}, high={high!r}")
    if not found and log and low <= 0:  # type: ignore[operator]
        found.append(f"{where}.low: expected more than 0 on a log scale, got {low!r}")
    mistakes += found
    return 0.0 if found else Range(float(low), float(high), log)  # type: ignore[arg-type]


def _choices(node: Mapping[Any, Any], where: str, mistakes: list[str], check: Check) -> Value:
    body = _mapping(node, where, ("choices",), mistakes)
    options = body["choices"]
    if not isinstance(options, list) or not options:
        mistakes.append(f"{where}.choices: expected a list with at least one entry, got {options!r}")
        return 0.0
    found = [mistake for option in options for mistake in check(where, option)]
    if not found and len(set(options)) < len(options):
        found.append(f"{where}.choices: expected each entry once, got {options!r}")
    mistakes += found
    return Choices(tuple(option if isinstance(option, str) else float(option) for option in options if not found))


def _number_in(low: float, high: float) -> Check:
    def check(where: str, value: object) -> list[str]:
        if _is_number(value) and low <= value <= high:  # type: ignore[operator]
            return []
        return [f"{where}: expected a number in [{low:g}, {high:g}], got {value!r}"]

    return check


def _word_in(allowed: Sequence[str]) -> Check:
    def check(where: str, value: object) -> list[str]:
        return [] if isinstance(value, str) and value in allowed else [expected_one_of(where, allowed, value)]

    return check


def _is_number(value: object) -> bool:
    whole = isinstance(value, int) and not isinstance(value, bool)  # however large: isfinite would overflow
    return whole or (isinstance(value, float) and math.isfinite(value))


def _is_by_noise(node: object) -> bool:
    return isinstance(node, Mapping) and not node.keys() & {"low", "high", "log", "choices"}


def _of_noise(node: Any, name: str) -> Any:
    return node.get(name) if _is_by_noise(node) else node


def _mapping(node: object, where: str, allowed: Sequence[str], mistakes: list[str]) -> Mapping[str, Any]:
    if not isinstance(node, Mapping):
        mistakes.append(f"{where}: expected a mapping with keys of {list(allowed)}, got {node!r}")
        return {}
    mistakes += [expected_one_of(where, allowed, key) for key in node if key not in allowed]
    return {str(key): value for key, value in node.items()}
