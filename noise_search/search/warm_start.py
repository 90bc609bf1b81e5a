"""Policies that are known to be good, tried first: the parameters with which a space makes the policy of a card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from noise_search.errors import CallerError
from noise_search.policy import Policy, Term, load_card
from noise_search.search.space import Picked, policy_of
from noise_search.spec import Range, Space

_NEXT = "widen the space, or leave the card out"


class _OutsideError(Exception):
    """The space does not hold the policy, and where."""


def warm_starts(space: Space, cards: Sequence[str]) -> list[dict[str, Picked]]:
    """Parameters of each card's policy.

    Raises:
        CallerError: For every card that cannot be read, or whose policy the space does not hold.
    """
    found, mistakes = [], []
    for index, card in enumerate(cards):
        try:
            found.append(parameters_of(space, load_card(Path(card)).policy))
        except CallerError as error:
            mistakes += [f"sampler.warm_start[{index}]: {mistake}" for mistake in error.mistakes]
    if mistakes:
        raise CallerError(*mistakes)
    return found


def parameters_of(space: Space, policy: Policy) -> dict[str, Picked]:
    """Parameters with which `space.policy_of` makes a policy.

    Raises:
        CallerError: There are none; says what is outside.
    """
    chooser = _Recorder(policy)
    try:
        made = policy_of(space, chooser)
    except _OutsideError as error:
        raise CallerError(f"{error}; {_NEXT}") from error
    if made != policy:
        raise CallerError(f"{_difference(made, policy)}; {_NEXT}")
    return chooser.picked


def _difference(made: Policy, policy: Policy) -> str:
    """First parameter in which a policy is not the one that a space makes, and the only value that the space has."""
    ours, theirs = _values(made), _values(policy)
    name = next(name for name in theirs | ours if ours.get(name) != theirs.get(name))
    return f"{name}: expected {ours.get(name, 'none')!r}, as the space has it, got {theirs.get(name, 'none')!r}"


class _Recorder:
    """Chooser that picks what a policy has, and remembers it."""

    def __init__(self, policy: Policy) -> None:
        self.picked: dict[str, Picked] = {}
        self._values = _values(policy)

    def number(self, name: str, within: Range) -> float:
        """Number that the policy has."""
        value = self._values.get(name)
        if not isinstance(value, int | float) or not within.low <= value <= within.high:
            shown = "none" if value is None else value
            raise _OutsideError(f"{name}: expected a number from {within.low:g} to {within.high:g}, got {shown}")
        self.picked[name] = int(value) if within.integer else value
        return value

    def option(self, name: str, options: Sequence[Picked]) -> Picked:
        """Option that the policy has."""
        value = self._values.get(name, "none")
        if value not in options:
            raise _OutsideError(f"{name}: expected one of {list(options)}, got {value!r}")
        self.picked[name] = value
        return value


def _values(policy: Policy) -> dict[str, Picked]:
    """Value of every parameter that a policy can say something of, by the names that spaces give them."""
    values: dict[str, Picked] = {}
    for term in policy.terms:
        where = f"{term.site}.{term.noise}"
        values[f"{term.site}.noise"] = term.noise
        values |= {f"{where}.magnitude": term.magnitude, f"{where}.fraction": term.fraction}
        values |= {f"{where}.level": term.level, f"{where}.schedule": term.schedule.kind}
        values |= _schedule_values(term, where)
    return values


def _schedule_values(term: Term, where: str) -> Mapping[str, Picked]:
    schedule, place = term.schedule, f"{where}.{term.schedule.kind}"
    values: dict[str, Picked] = {}
    for name, setting in schedule.parameters:
        if isinstance(setting, tuple):
            values[f"{place}.k"] = len(setting)
            values |= {f"{place}.{name}.{index}": entry for index, entry in enumerate(setting)}
        else:
            values[f"{place}.{name}"] = setting
    if schedule.every is not None:
        values |= {f"{where}.every.cycles": schedule.every.cycles, f"{where}.every.on": schedule.every.on}
    return values
