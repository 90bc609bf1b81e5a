"""The front of a sweep: trials that nothing beats in both clean and robust accuracy, with every control beside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from noise_search.search.results import final_scores
from noise_search.store import MemberRecord, Store


@dataclass(frozen=True, slots=True)
class FrontRow:
    """One trial or control with its searched scores, all accuracy above chance on the validation split.

    Args:
        trial: Optuna's number; None for a control.
        control: no_noise, constant_1, random_1, ...; None for a trial.
        on_front: Whether no other complete trial is at least as good in both; always False for a control, and for a
            trial that passes a limit of the objective.
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


def complete_rows(store: Store, sweep_id: int) -> list[FrontRow]:
    """Every complete trial and control, controls first, then trials by number."""
    results = final_scores(store, sweep_id)
    members = [member for member in store.members(sweep_id) if member.state == "complete"]
    scored = [(member, results[member.id]) for member in members]
    trials = [(scores["clean"], scores["robust"]) for member, scores in scored if _is_eligible(member)]
    best = set(pareto(trials))
    return [_row(member, scores, best) for member, scores in scored]


def front_rows(store: Store, sweep_id: int) -> list[FrontRow]:
    """The front, most robust first, and then every control."""
    rows = complete_rows(store, sweep_id)
    front = sorted((row for row in rows if row.on_front), key=lambda row: (-row.robust, row.trial))
    return front + [row for row in rows if row.control]


def pareto(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Points that no other point is at least as good as in both and better in one; larger is better.

    >>> pareto([(0.9, 0.5), (0.8, 0.7), (0.8, 0.6)])
    [(0.9, 0.5), (0.8, 0.7)]
    """
    return [(x, y) for x, y in points if not any(a >= x and b >= y and (a, b) != (x, y) for a, b in points)]


def _is_eligible(member: MemberRecord) -> bool:
    return member.control is None and all(value <= 0 for value in member.constraints.values())


def _row(member: MemberRecord, scores: Mapping[str, float], best: set[tuple[float, float]]) -> FrontRow:
    return FrontRow(
        trial=member.number,
        control=member.control,
        clean=scores["clean"],
        robust=scores["robust"],
        worst_family=scores["worst_family"],
        robust_weights=scores["robust_weights"],
        score=scores["score"],
        on_front=_is_eligible(member) and (scores["clean"], scores["robust"]) in best,
        policy=member.policy,
    )
