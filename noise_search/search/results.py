"""Results of one member, at several rungs and with several seeds, taken together."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from noise_search.spec import ObjectiveSpec
from noise_search.store import NewResult, ResultRecord, RungScores, Store

Row = NewResult | ResultRecord


def constraints_of(
    objective: ObjectiveSpec, scores: Mapping[str, float], control: Mapping[str, float], *, diverged: bool
) -> dict[str, float]:
    """What a trial is to keep to, each violated where positive: the same names for every trial of a sweep.

    `diverged` is 0 or 1; a limit has by how much it is passed, of a trial that diverged as if all accuracy were lost.

    Args:
        objective: Whose limits hold.
        scores: Of the trial, above chance.
        control: Those of the control without noise after the same epoch.
        diverged: Whether the trial did.
    """
    limits = {"clean_drop": ("clean", objective.clean_drop), "family_drop": ("worst_family", objective.family_drop)}
    drops = {name: 1.0 if diverged else control[key] - scores[key] for name, (key, _) in limits.items()}
    over = {name: drops[name] - limit for name, (_, limit) in limits.items() if limit is not None}
    return {"diverged": float(diverged), **over}


def violated(constraints: Mapping[str, float]) -> str:
    """Limits that a trial is over, in words; empty where it keeps to all of them, or has diverged.

    >>> violated({"diverged": 0.0, "clean_drop": 0.0125, "family_drop": -0.1})
    'clean_drop by 0.013'
    """
    if constraints.get("diverged", 0.0) > 0:
        return ""
    over = {name: value for name, value in constraints.items() if value > 0}
    return ", ".join(f"{name} by {value:.3f}" for name, value in over.items())


def mean_scores(rows: Sequence[Row | RungScores]) -> dict[str, float]:
    """Scores of a member, means over its seeds."""
    return means([row.scores for row in rows])


def means(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean of every number over several dictionaries with the same keys; with one, the usual case, it itself."""
    if len(found) == 1:
        return {key: float(value) for key, value in found[0].items()}
    return {key: statistics.fmean(one[key] for one in found) for key in found[0]}


def last_scores(store: Store, sweep_id: int) -> dict[int, dict[str, float]]:
    """Scores of every member at the last epoch it was scored at, means over its seeds, by member id."""
    last: dict[int, list[RungScores]] = {}
    for found in store.rung_scores(sweep_id):
        before = last.get(found.member_id, [])
        if not before or found.epoch > before[0].epoch:
            last[found.member_id] = [found]
        elif found.epoch == before[0].epoch:
            before.append(found)
    return {member_id: mean_scores(rows) for member_id, rows in last.items()}


def joined_history(rows: Sequence[Row]) -> list[dict[str, float]]:
    """History of a member over all its rungs, means over its seeds."""
    by_epoch: dict[int, list[Mapping[str, float]]] = {}
    for row in rows:
        for entry in row.history:
            by_epoch.setdefault(int(entry["epoch"]), []).append(entry)
    return [means(entries) for _, entries in sorted(by_epoch.items())]


def correct_by_epoch(rows: Sequence[Row]) -> dict[int, list[str]]:
    """Epoch -> which samples were classified rightly, one text a seed."""
    epochs = sorted({int(epoch) for row in rows for epoch in row.correct})
    return {epoch: [row.correct[str(epoch)] for row in rows if str(epoch) in row.correct] for epoch in epochs}
