"""From a search space to policies: asked of a sampler, read back from stored parameters, or held constant.

Parameter names are `site.noise` for the branch and `site.NOISE.knob` below it, `site.NOISE.KIND.parameter` for those of
a schedule and `site.NOISE.every.parameter` for its gate, so that a parameter is asked for only when its branch was
picked.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from noise_search.config.schedule_spaces import NO_GATE
from noise_search.config.spaces import NO_NOISE
from noise_search.policy import Policy, Term
from noise_search.schedules import Gate, Schedule, Setting
from noise_search.spec import Choices, NoiseBranch, Range, Several, SiteSpace, Space, Value

Picked = float | str


class Chooser(Protocol):
    """Whoever decides the searched values."""

    def number(self, name: str, within: Range) -> float:
        """Number in the range."""

    def option(self, name: str, options: Sequence[Picked]) -> Picked:
        """One of the options."""


class Stored:
    """Chooser that reads values decided before.

    Raises:
        KeyError: When the space asks for a parameter that was never stored.
    """

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self._parameters = parameters

    def number(self, name: str, within: Range) -> float:  # noqa: ARG002  # decided before
        """Stored number."""
        return float(self._parameters[name])

    def option(self, name: str, options: Sequence[Picked]) -> Picked:  # noqa: ARG002  # decided before
        """Stored option."""
        picked: Picked = self._parameters[name]
        return picked


class Quantile:
    """Chooser that takes every number at one quantile of its range, and the first option."""

    def __init__(self, quantile: float) -> None:
        self._quantile = quantile

    def number(self, name: str, within: Range) -> float:  # noqa: ARG002  # the same quantile everywhere
        """Number at the quantile, on the range's own scale."""
        low, high = (math.log(within.low), math.log(within.high)) if within.log else (within.low, within.high)
        value = low + self._quantile * (high - low)
        value = math.exp(value) if within.log else value
        return round(value) if within.integer else value

    def option(self, name: str, options: Sequence[Picked]) -> Picked:  # noqa: ARG002
        """First option."""
        return options[0]


def policy_of(space: Space, chooser: Chooser) -> Policy:
    """Policy that `chooser` makes of the space."""
    terms = [_site_term(site, chooser) for site in space.sites]
    return Policy(tuple(term for term in terms if term is not None))


def constant_policies(space: Space, count: int) -> list[Policy]:
    """Policies of one noise each at a constant magnitude, going round the space's noises.

    Every noise first at the middle of its range, then at its upper and its lower quarter, then ever finer.
    """
    branches = [(site, noise) for site in space.sites for noise in site.branches]
    if not branches:
        return []
    quantiles = [_van_der_corput(index // len(branches)) for index in range(count)]
    policies = [
        Policy((_constant_term(*branches[index % len(branches)], quantile),))
        for index, quantile in enumerate(quantiles)
    ]
    return list(dict.fromkeys(policies))  # a fixed magnitude has one constant only


def _van_der_corput(index: int) -> float:
    """1/2, 3/4, 1/4, 7/8, ...: fills [0, 1] evenly, the upper half first."""
    value, share, position = 0.0, 0.5, index + 1
    while position:
        value, share, position = value + share * (position % 2), share / 2, position // 2
    return 1.0 - value


def _constant_term(site: SiteSpace, noise: str, quantile: float) -> Term:
    chooser, branch, where = Quantile(quantile), site.branches[noise], f"{site.site}.{noise}"
    middle = Quantile(0.5)
    return Term(
        site=site.site,
        noise=noise,
        magnitude=_number(branch.magnitude, f"{where}.magnitude", chooser),
        fraction=1.0 if branch.fraction is None else _number(branch.fraction, f"{where}.fraction", middle),
        level="fixed" if branch.level is None else _word(branch.level, f"{where}.level", middle),
    )


def _site_term(site: SiteSpace, chooser: Chooser) -> Term | None:
    noise = site.noises[0] if len(site.noises) == 1 else chooser.option(f"{site.site}.noise", site.noises)
    if noise == NO_NOISE:
        return None
    branch, where = site.branches[str(noise)], f"{site.site}.{noise}"
    return Term(
        site=site.site,
        noise=str(noise),
        magnitude=_number(branch.magnitude, f"{where}.magnitude", chooser),
        fraction=1.0 if branch.fraction is None else _number(branch.fraction, f"{where}.fraction", chooser),
        level="fixed" if branch.level is None else _word(branch.level, f"{where}.level", chooser),
        schedule=_schedule(branch, where, chooser),
    )


def _schedule(branch: NoiseBranch, where: str, chooser: Chooser) -> Schedule:
    kind = _word(branch.schedule, f"{where}.schedule", chooser)
    place = f"{where}.{kind}"
    values = [(name, _setting(value, place, name, chooser)) for name, value in branch.curves[kind].items()]
    return Schedule(kind, tuple(values), _gate(branch.every, f"{where}.every", chooser))


def _setting(value: Value | Several, where: str, name: str, chooser: Chooser) -> Setting:
    if not isinstance(value, Several):
        return _any(value, f"{where}.{name}", chooser)
    count = int(_number(value.count, f"{where}.k", chooser))
    entries = enumerate(value.entries[:count])
    return tuple(_number(entry, f"{where}.{name}.{index}", chooser) for index, entry in entries)


def _gate(every: Mapping[str, Value] | None, where: str, chooser: Chooser) -> Gate | None:
    cycles = NO_GATE if every is None else _any(every["cycles"], f"{where}.cycles", chooser)
    if every is None or isinstance(cycles, str):
        return None
    return Gate(int(cycles), _number(every["on"], f"{where}.on", chooser))


def _number(value: Value, name: str, chooser: Chooser) -> float:
    return float(_any(value, name, chooser))


def _word(value: Value, name: str, chooser: Chooser) -> str:
    return str(_any(value, name, chooser))


def _any(value: Value, name: str, chooser: Chooser) -> Picked:
    if isinstance(value, Range):
        return chooser.number(name, value)
    if isinstance(value, Choices):
        return value.options[0] if len(value.options) == 1 else chooser.option(name, value.options)
    return value


def searched(space: Space) -> dict[str, Range | Choices]:
    """Every parameter that is searched, by name, in the order in which trials are asked for them."""
    found: dict[str, Value] = {}
    for site in space.sites:
        found[f"{site.site}.noise"] = Choices(site.noises)
        for noise, branch in site.branches.items():
            found |= _searched_in_branch(branch, f"{site.site}.{noise}")
    ranges = {name: value for name, value in found.items() if isinstance(value, Range | Choices)}
    return {name: value for name, value in ranges.items() if isinstance(value, Range) or len(value.options) > 1}


def _searched_in_branch(branch: NoiseBranch, where: str) -> dict[str, Value]:
    own = {"magnitude": branch.magnitude, "fraction": branch.fraction, "level": branch.level}
    found: dict[str, Value] = {f"{where}.{name}": value for name, value in own.items() if value is not None}
    found[f"{where}.schedule"] = branch.schedule
    for kind, curve in branch.curves.items():
        for name, value in curve.items():
            found |= _searched_in_setting(value, f"{where}.{kind}", name)
    return found | {f"{where}.every.{name}": value for name, value in (branch.every or {}).items()}


def _searched_in_setting(value: Value | Several, where: str, name: str) -> dict[str, Value]:
    if not isinstance(value, Several):
        return {f"{where}.{name}": value}
    most = int(value.count) if isinstance(value.count, int | float) else len(value.entries)
    entries = {f"{where}.{name}.{index}": entry for index, entry in enumerate(value.entries[:most])}
    return {f"{where}.k": value.count, **entries}


def has_branches(space: Space) -> bool:
    """Whether a parameter is searched in some policies only."""
    several = (
        isinstance(setting, Several) and isinstance(setting.count, Range | Choices)
        for site in space.sites
        for branch in site.branches.values()
        for curve in branch.curves.values()
        for setting in curve.values()
    )
    return any(name.endswith((".noise", ".schedule", ".cycles")) for name in searched(space)) or any(several)
