"""How far a sweep has come: trials by outcome and why, what they cost, the best of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from noise_search.search.results import last_scores, violated
from noise_search.store import MemberRecord, Store, SweepRecord

STATES = ("complete", "stopped", "infeasible", "failed", "running", "waiting")
_CAUSES = {"place": "outranked"}  # what a stopped trial's reason begins with is its place at the rung


def progress(store: Store, sweep: SweepRecord, *, is_driven: bool) -> dict[str, Any]:
    """Numbers of a sweep so far, as plain data.

    Args:
        store: Open.
        sweep: Whose trials are counted; controls are not.
        is_driven: Whether its driver lives. What one that died left running waits for the next.
    """
    members = [member for member in store.members(sweep.id) if member.number is not None]
    states = ["waiting" if m.state == "running" and not is_driven else m.state for m in members]
    jobs = store.jobs(sweep.id)
    return {
        "trials": {name: states.count(name) for name in STATES},
        "over_a_constraint": sum(bool(_is_over(member)) for member in members),
        "overused": sum(member.overuse is not None for member in members),
        "ended_because": _causes(members),
        "epochs_trained": sum(job.epochs_trained for job in jobs),
        "epochs_saved": store.epochs_shared(sweep.id),
        "samples_scored": sum(job.samples_scored for job in jobs),
        "seconds": round(sweep.seconds, 1),
        "best": _best(members, last_scores(store, sweep.id)),
    }


def _is_over(member: MemberRecord) -> bool:
    return member.state == "complete" and bool(violated(member.constraints))


def _causes(members: Sequence[MemberRecord]) -> dict[str, int]:
    """Why trials were stopped, failed or infeasible: by the first word of the reason."""
    ended = [member.reason for member in members if member.state in ("stopped", "failed", "infeasible")]
    words = [re.split(r"\W", reason or "unknown", maxsplit=1)[0] for reason in ended]
    return dict(Counter(_CAUSES.get(word, word) for word in words))


def _best(members: Sequence[MemberRecord], scores: Mapping[int, Mapping[str, float]]) -> dict[str, Any] | None:
    """Complete trial with the highest score, of those that keep to every constraint."""
    within = [member for member in members if member.state == "complete" and not _is_over(member)]
    if not within:
        return None
    best = max(within, key=lambda member: scores[member.id]["score"])  # the first of equals
    score, number = scores[best.id]["score"], best.number
    return {"trial": number, "score": score}
