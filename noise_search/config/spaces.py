"""From the free-form `space` node to typed specs: every mistake at once, each naming its key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from noise_search.config.schedule_spaces import parse_schedule
from noise_search.config.values import Check, number_in, read_mapping, read_value, word_in
from noise_search.errors import expected_one_of, raise_if_any
from noise_search.noises import NOISES, Noise
from noise_search.policy import LEVELS
from noise_search.spec import Choices, NoiseBranch, Range, SiteSpace, Space, Value

NO_NOISE = "none"
_SITE_KEYS = ("noise", "magnitude", "fraction", "level", "schedule")


def parse_space(node: object, where: str = "space", *, modality: str | None = None, epochs: int | None = None) -> Space:
    """Typed search space.

    Args:
        node: `{terms: {SITE: {noise, magnitude, fraction, level, schedule}}}`. A number or word is fixed,
            `{low, high, log}` searched, `{choices: [...]}` picked. `magnitude`, `fraction` and `level` may be
            given by noise, `schedule` may carry the parameters of each kind and a gate `every`. What is left out
            takes the default of its registry.
        where: How messages name it.
        modality: Kind of data the noises must suit; None: not checked.
        epochs: Of the whole training, for gates given in epochs; None: there may be none.

    Raises:
        CallerError: With every mistake.
    """
    mistakes: list[str] = []
    terms = read_mapping(node, where, ("terms",), mistakes).get("terms")
    sites = read_mapping(terms, f"{where}.terms", tuple(NOISES), mistakes)
    if not mistakes and not sites:
        mistakes.append(f"{where}.terms: expected at least one of {list(NOISES)}, got none")
    parsed = [
        _parse_site(site, body, f"{where}.terms.{site}", modality, epochs, mistakes)
        for site, body in sites.items()
        if site in NOISES
    ]
    raise_if_any(list(dict.fromkeys(mistakes)))  # a site's noises share its schedule
    return Space(tuple(parsed))


def _parse_site(
    site: str, node: object, where: str, modality: str | None, epochs: int | None, mistakes: list[str]
) -> SiteSpace:
    body = read_mapping(node, where, _SITE_KEYS, mistakes)
    names = _noise_names(site, body.get("noise"), f"{where}.noise", modality, mistakes)
    if names:
        _refuse_foreign_branches(site, body, names, where, mistakes)
    branches = {
        name: _parse_branch(NOISES[site][name], body, names, where, epochs, mistakes)
        for name in names
        if name != NO_NOISE
    }
    return SiteSpace(site, names, branches)


def _noise_names(site: str, node: object, where: str, modality: str | None, mistakes: list[str]) -> tuple[str, ...]:
    value = read_value(node, where, mistakes, word_in((*NOISES[site], NO_NOISE)))
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
    noise: Noise[Any],
    body: Mapping[str, Any],
    names: Sequence[str],
    where: str,
    epochs: int | None,
    mistakes: list[str],
) -> NoiseBranch:
    alone = sum(name != NO_NOISE for name in names) == 1
    low, high = noise.search
    magnitude = _of_noise(body.get("magnitude"), noise.name)
    if magnitude is not None and not alone and not _is_by_noise(body["magnitude"]):
        mistakes.append(
            f"{where}.magnitude: expected one for each of {[n for n in names if n != NO_NOISE]}, "
            f"whose units differ, got {magnitude!r}; write {{{noise.name}: ...}}"
        )
    kind, curves, every = parse_schedule(body.get("schedule"), f"{where}.schedule", epochs, mistakes)
    return NoiseBranch(
        magnitude=Range(low, high, noise.log)
        if magnitude is None
        else read_value(magnitude, _place(where, "magnitude", body, noise), mistakes, number_in(0.0, noise.limit)),
        fraction=_knob(noise, "fraction", body, 0.5, where, mistakes, number_in(0.0, 1.0)),
        level=_knob(noise, "level", body, "fixed", where, mistakes, word_in(LEVELS)),
        schedule=kind,
        curves=curves,
        every=every,
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
    return default if node is None else read_value(node, _place(where, knob, body, noise), mistakes, check)


def _place(where: str, key: str, body: Mapping[str, Any], noise: Noise[Any]) -> str:
    """Name of a key in messages, with the noise where it is given by noise."""
    return f"{where}.{key}.{noise.name}" if _is_by_noise(body[key]) else f"{where}.{key}"


def _is_by_noise(node: object) -> bool:
    return isinstance(node, Mapping) and not node.keys() & {"low", "high", "log", "choices"}


def _of_noise(node: Any, name: str) -> Any:
    return node.get(name) if _is_by_noise(node) else node
