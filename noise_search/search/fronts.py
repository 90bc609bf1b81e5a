"""The front of a sweep: trials that nothing beats in both clean and robust accuracy, with every control beside.

A trial over a constraint of the objective is not on it, and beats nobody.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from noise_search.search.results import last_scores, violated
from noise_search.store import MemberRecord, Store

_NO_SCORES = dict.fromkeys(("clean", "robust", "worst_family", "robust_weights", "score"), math.nan)


@dataclass(frozen=True, slots=True)
class FrontRow:
    """One trial or control with its searched scores, all accuracy above chance on the validation split.

    Args:
        trial: Optuna's number; None for a control.
        control: no_noise, constant_1, random_1, ...; None for a trial.
        on_front: Whether no other complete trial is at least as good in both; always False for a control, and for a
            trial over a constraint.
        over_constraint: Limits of the objective that it is over, in words; empty where it keeps to all of them.
        state: `complete`; of a control also `infeasible` or `failed`, and then its scores are NaN.
        reason: Why a control is not complete.
    """

    trial: int | None
    control: str | None
    clean: float
    robust: float
    worst_family: float
    robust_weights: float
    score: float
    on_front: bool
    policy: list[dict[str, object]]
    over_constraint: str = ""
    state: str = "complete"
    reason: str | None = None

    @property
    def name(self) -> str:
        """As people see it: `trial 3`, or `control constant_1`."""
        return f"trial {self.trial}" if self.control is None else f"control {self.control}"


def complete_rows(store: Store, sweep_id: int) -> list[FrontRow]:
    """Every complete trial and control, controls first, then trials by number; scores are means over seeds."""
    members = store.members(sweep_id, states=["complete"])  # before their scores: the sweep may be running
    scores = last_scores(store, sweep_id)
    rows = [_row(member, scores[member.id]) for member in members]
    best = set(pareto([(row.clean, row.robust) for row in rows if _may_be_on_front(row)]))
    return [replace(row, on_front=_may_be_on_front(row) and (row.clean, row.robust) in best) for row in rows]


def complete_trials(store: Store, sweep_id: int) -> int:
    """How many trials are complete: a sweep trains none of them again, so more are another front."""
    return sum(member.control is None for member in store.members(sweep_id, states=["complete"]))


def front_rows(store: Store, sweep_id: int) -> list[FrontRow]:
    """The front, most robust first, and then every control, those last that diverged or failed."""
    rows = complete_rows(store, sweep_id)
    front = sorted((row for row in rows if row.on_front), key=lambda row: (-row.robust, row.trial))
    lost = [member for member in store.members(sweep_id, states=["infeasible", "failed"]) if member.control]
    return front + [row for row in rows if row.control] + [_row(member, _NO_SCORES) for member in lost]


def pareto(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Points that no other point is at least as good as in both and better in one; larger is better.

    >>> pareto([(0.9, 0.5), (0.8, 0.7), (0.8, 0.6)])
    [(0.9, 0.5), (0.8, 0.7)]
    """
    return [(x, y) for x, y in points if not any(a >= x and b >= y and (a, b) != (x, y) for a, b in points)]


def _may_be_on_front(row: FrontRow) -> bool:
    return row.control is None and not row.over_constraint


def _row(member: MemberRecord, scores: Mapping[str, float]) -> FrontRow:
    return FrontRow(
        trial=member.number,
        control=member.control,
        clean=scores["clean"],
        robust=scores["robust"],
        worst_family=scores["worst_family"],
        robust_weights=scores["robust_weights"],
        score=scores["score"],
        on_front=False,
        policy=member.policy,
        over_constraint=violated(member.constraints),
        state=member.state,
        reason=member.reason,
    )
