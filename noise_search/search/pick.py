"""Rules that pick one trial: from the front by its two accuracies, or any complete trial or control by its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from noise_search.errors import CallerError, expected_one_of
from noise_search.search.board import NO_NOISE_CONTROL
from noise_search.search.fronts import FrontRow, complete_rows, front_rows
from noise_search.store import Store

RULES = ("best", "knee", "min-clean=X", "max-drop=X", "weight=W", "trial=N", "control=NAME")
_SHOWN = 12  # numbers of trials in a message
_BOUNDED = ("min-clean", "max-drop", "weight", "trial")
Front = Sequence[FrontRow]


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule that was read: its name, and what stands behind the `=`."""

    name: str
    bound: float = 0.0
    control: str = ""

    @property
    def text(self) -> str:
        """The rule in one spelling, whoever wrote it.

        >>> [rule_named(text).text for text in ("best", "min-clean=.90", "weight=1.0", "trial=07")]
        ['best', 'min-clean=0.9', 'weight=1', 'trial=7']
        """
        if self.control:
            return f"{self.name}={self.control}"
        return f"{self.name}={repr(self.bound).removesuffix('.0')}" if self.name in _BOUNDED else self.name


def rule_named(rule: str) -> Rule:
    """Read a rule, one of `RULES`.

    Raises:
        CallerError: For an unknown rule, and a bound that is none.

    >>> rule_named("min-clean=0.90") == rule_named("min-clean=.9")
    True
    """
    name, _, bound = rule.partition("=")
    if rule in RULES and not bound:
        return Rule(rule)
    if name == "control" and bound:
        return Rule(name, control=bound)
    if name in _BOUNDED and bound:
        return Rule(name, _number(bound) if name == "trial" else _share(name, bound))
    raise CallerError(expected_one_of("pick rule", RULES, rule))


def pick_row(rows: Sequence[FrontRow], rule: str) -> FrontRow:
    """Row that `rule` picks: `trial=N` and `control=NAME` among complete ones, any other among trials on the front.

    Args:
        rows: As `fronts.complete_rows` or `fronts.front_rows` give them.
        rule: `best`: highest score. `knee`: farthest beyond the line between the ends of the front, both axes
            scaled to it. `min-clean=X`: most robust with clean, accuracy above chance, of at least X. `max-drop=X`:
            highest score with clean minus robust of at most X. `weight=W`: highest W clean + (1 - W) robust.
            `trial=N`, `control=NAME`: that one.

    Raises:
        CallerError: For an unknown rule, an empty front, a bound that no trial meets, a trial or control that is not
            complete, or the control without noise, which there is nothing to take of.
    """
    read = rule_named(rule)
    if read.name == "control":
        return _control(rows, read.control)
    trials = [row for row in rows if row.control is None]
    if read.name == "trial":
        return _trial(trials, int(read.bound))
    front = [row for row in trials if row.on_front]
    if not front:
        raise CallerError(
            "pick: expected a front with at least one complete trial, got none; run or continue "
            "the sweep, or one with other objective.clean_drop and objective.family_drop where every trial is over them"
        )
    return _CHOOSE[read.name](front, read.bound)


def by_trial(picks: Mapping[str, FrontRow], *, joined: str = " and ") -> dict[str, FrontRow]:
    """Picks by what they are called: one entry where several are the same trial, whose words are joined."""
    found: dict[int | None, tuple[list[str], FrontRow]] = {}
    for words, row in picks.items():
        found.setdefault(row.trial, ([], row))[0].append(words)
    return {joined.join(words): row for words, row in found.values()}


def contenders(store: Store, sweep_id: int, rule: str) -> list[FrontRow]:
    """Rows among whose front a confirmation by `rule` finds its winner.

    Of `trial=N` or `control=NAME` it is that one alone, as if on the front.

    Raises:
        CallerError: For a trial or control that is not complete.
    """
    if rule_named(rule).name not in ("trial", "control"):
        return front_rows(store, sweep_id)
    return [replace(pick_row(complete_rows(store, sweep_id), rule), on_front=True)]


def _share(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 <= value <= 1:
        raise CallerError(f"pick rule {name}: expected a number in [0, 1], got {text!r}")
    return value


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise CallerError(f"pick rule trial: expected the number of a trial, got {text!r}")
    return int(text)


def _trial(trials: Sequence[FrontRow], number: int) -> FrontRow:
    found = next((row for row in trials if row.trial == number), None)
    if found is None:
        complete = [str(row.trial) for row in trials]
        more = [f"... {len(complete)} in all"] if len(complete) > _SHOWN else []
        there = ", ".join([*complete[:_SHOWN], *more]) or "none yet"
        raise CallerError(f"pick rule trial: expected a complete trial, got {number}; complete are {there}")
    return found


def _control(rows: Sequence[FrontRow], name: str) -> FrontRow:
    found = {row.control: row for row in rows if row.control is not None and row.state == "complete"}
    found.pop(NO_NOISE_CONTROL, None)
    if name not in found:
        why = "; that is training without any noise, of which there is no card" if name == NO_NOISE_CONTROL else ""
        raise CallerError(expected_one_of("pick rule control", [str(one) for one in found], name) + why)
    return found[name]


def _best(front: Front, _: float) -> FrontRow:
    return max(front, key=lambda row: (row.score, row.clean))


def _knee(front: Front, _: float) -> FrontRow:
    low, high = min(row.clean for row in front), max(row.clean for row in front)
    bottom, top = min(row.robust for row in front), max(row.robust for row in front)
    if low == high or bottom == top:
        return _best(front, 0.0)
    # On axes scaled to the front its ends are (0, 1) and (1, 0): the distance from their line goes with the sum.
    return max(front, key=lambda row: (row.clean - low) / (high - low) + (row.robust - bottom) / (top - bottom))


def _min_clean(front: Front, least: float) -> FrontRow:
    allowed = [row for row in front if row.clean >= least]
    if not allowed:
        nearest = max(front, key=lambda row: row.clean)
        raise CallerError(_unmet("min-clean", least, f"the highest clean is {nearest.clean:.4f}", nearest))
    return max(allowed, key=lambda row: (row.robust, row.clean))


def _max_drop(front: Front, most: float) -> FrontRow:
    allowed = [row for row in front if row.clean - row.robust <= most]
    if not allowed:
        nearest = min(front, key=lambda row: row.clean - row.robust)
        drop = f"the smallest drop, clean minus robust, is {nearest.clean - nearest.robust:.4f}"
        raise CallerError(_unmet("max-drop", most, drop, nearest))
    return _best(allowed, 0.0)


def _weight(front: Front, weight: float) -> FrontRow:
    return max(front, key=lambda row: (weight * row.clean + (1 - weight) * row.robust, row.clean))


def _unmet(name: str, bound: float, nearest: str, row: FrontRow) -> str:
    expected = f"pick rule {name}: expected a bound that a trial on the front meets, got {bound:g}"
    return f"{expected}; {nearest}, of trial {row.trial}"


_CHOOSE: Mapping[str, Callable[[Front, float], FrontRow]] = {
    "best": _best,
    "knee": _knee,
    "min-clean": _min_clean,
    "max-drop": _max_drop,
    "weight": _weight,
}
