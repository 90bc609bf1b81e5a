"""Results of one member, at several rungs and with several seeds, taken together."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from noise_search.store import NewResult, ResultRecord, RungScores, Store

Row = NewResult | ResultRecord


def final_scores(store: Store, sweep_id: int) -> dict[int, dict[str, float]]:
    """Scores of every member of a sweep at the last epoch it was scored at, means over its seeds, by member id."""
    last: dict[int, list[RungScores]] = {}
    for row in sorted(store.rung_scores(sweep_id), key=lambda row: row.epoch):
        rows = last.setdefault(row.member_id, [])
        if rows and rows[0].epoch < row.epoch:
            rows.clear()
        rows.append(row)
    return {member_id: mean_scores(rows) for member_id, rows in last.items()}


def mean_scores(rows: Sequence[Row | RungScores]) -> dict[str, float]:
    """Scores of a member, means over its seeds."""
    return {key: statistics.fmean(row.scores[key] for row in rows) for key in rows[0].scores}


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
