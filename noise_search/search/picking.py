"""Which trial a rule picks, and whether a confirmation has measured it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from noise_search.search.confirmed import chosen_by, finished_confirmations
from noise_search.search.evidence import WINNER
from noise_search.search.fronts import FrontRow, complete_rows
from noise_search.search.pick import pick_row, rule_named
from noise_search.store import ConfirmationRecord, Store, SweepRecord


@dataclass(frozen=True, slots=True)
class Picked:
    """A trial that was picked.

    Args:
        row: The trial with its searched scores.
        rule: That picked it.
        confirmation: The latest that it won; None: nobody has measured it.
    """

    row: FrontRow
    rule: str
    confirmation: ConfirmationRecord | None


def picked(store: Store, sweep: SweepRecord, rule: str | None) -> Picked:
    """Trial that a rule picks: of a rule that the sweep was confirmed by the winner, else by its searched scores.

    Args:
        store: That holds the sweep.
        sweep: Whose trial.
        rule: See `pick.pick_row`; None is that of the latest confirmation, and `best` where there is none.

    Raises:
        CallerError: What `pick.pick_row` refuses.
    """
    finished, rows = finished_confirmations(store, sweep.id), complete_rows(store, sweep.id)
    if latest := _latest(finished, rule):
        row = next(row for row in rows if row.name == chosen_by(latest)[WINNER])
        return Picked(row, str(latest.settings["rule"]), latest)
    chosen = rule or "best"
    row = pick_row(rows, chosen)
    won = [one for one in finished if chosen_by(one)[WINNER] == row.name]
    return Picked(row, chosen, won[-1] if won else None)


def _latest(finished: Sequence[ConfirmationRecord], rule: str | None) -> ConfirmationRecord | None:
    """The latest confirmation by a rule, by any rule for None."""
    wanted = None if rule is None else rule_named(rule)
    own = [one for one in finished if wanted in (None, rule_named(str(one.settings["rule"])))]
    return own[-1] if own else None


def trials_then(found: Picked) -> int | None:
    """Complete trials of the sweep when the confirmation of a picked trial began; None where there is none."""
    return None if found.confirmation is None else cast(int, found.confirmation.settings["trials"])


def notes(found: Picked) -> tuple[str, ...]:
    """What to know of a trial or control that no rule about the front would pick."""
    row = found.row
    if row.over_constraint:
        return (f"{row.name} is over a limit of the objective: {row.over_constraint}",)
    if row.control is not None:
        return (f"{row.name} is no trial of the search: it was there to compare trials with",)
    if not row.on_front:
        return (f"trial {row.trial} is not on the front: another is as good or better in both clean and robust",)
    return ()


def missed(found: Picked, evidence: Mapping[str, Any]) -> tuple[str, ...]:
    """What to know of a confirmed trial whose measured accuracies miss the bound that its searched ones met.

    Args:
        found: By `min-clean=X` or `max-drop=X`; of other rules there is no bound to miss.
        evidence: Of its card.
    """
    rule = rule_named(found.rule)
    if found.confirmation is None or rule.name not in ("min-clean", "max-drop"):
        return ()
    clean, robust = (evidence["arms"]["winner"][name]["mean"] for name in ("clean", "robust"))
    if rule.name == "min-clean" and clean < rule.bound:
        return (f"{found.rule}: met as searched, but measured clean is {clean:.4f}",)
    if rule.name == "max-drop" and clean - robust > rule.bound:
        return (f"{found.rule}: met as searched, but measured clean minus robust is {clean - robust:.4f}",)
    return ()
