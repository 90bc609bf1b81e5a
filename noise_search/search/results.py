"""Results of one member, at several rungs and with several seeds, taken together."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from noise_search.store import NewResult, ResultRecord, RungScores, Store

Row = NewResult | ResultRecord


def violated(constraints: Mapping[str, float]) -> str:
    """Limits that a trial is over, in words; empty where it keeps to all of them.

    >>> violated({"clean_drop": 0.0125, "family_drop": -0.1})
    'clean_drop by 0.013'
    """
    over = {name: value for name, value in constraints.items() if value > 0 and name != "diverged"}
    return ", ".join(f"{name} by {value:.3f}" for name, value in over.items())


def mean_scores(rows: Sequence[Row | RungScores]) -> dict[str, float]:
    """Scores of a member, means over its seeds."""
    return {key: statistics.fmean(row.scores[key] for row in rows) for key in rows[0].scores}


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
    return [
        {key: statistics.fmean(entry[key] for entry in entries) for key in entries[0]}
        for _, entries in sorted(by_epoch.items())
    ]


def correct_by_epoch(rows: Sequence[Row]) -> dict[int, list[str]]:
    """Epoch -> which samples were classified rightly, one text a seed."""
    epochs = sorted({int(epoch) for row in rows for epoch in row.correct})
    return {epoch: [row.correct[str(epoch)] for row in rows if str(epoch) in row.correct] for epoch in epochs}
