"""How far a sweep has come: trials by outcome and why, what they cost, the best of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from noise_search.search.results import last_scores, violated
from noise_search.store import FINAL_STATES, MemberRecord, Store, SweepRecord

STATES = ("complete", "stopped", "infeasible", "failed", "running", "waiting")
_CAUSES = {"place": "outranked", "constraint": "over_a_constraint"}  # by what a stopped trial's reason begins with


STORED = {"out_of_time": "interrupted"}  # as the store has it: to be continued, as after Ctrl-C


def state_reached(store: Store, sweep: SweepRecord) -> str:
    """State of a sweep whose driver has come to its end: `complete`, or `out_of_time` where something is left."""
    return "out_of_time" if any(left(store, sweep)) else "complete"


def is_out_of_time(sweep: SweepRecord) -> bool:
    """Whether its jobs have used up `budget.minutes` as its last run had it."""
    budget: Any = sweep.config.get("budget", {})
    minutes: float | None = budget.get("minutes")  # sweeps of earlier versions have none
    return minutes is not None and sweep.seconds >= 60 * minutes


def shown(sweep: SweepRecord, state: str) -> str:
    """State as it is shown: a sweep that nothing more is left for is out of time, also where Ctrl-C ended its run."""
    return "out_of_time" if state == "interrupted" and is_out_of_time(sweep) else state


def left(store: Store, sweep: SweepRecord) -> tuple[int, int]:
    """Trials that are to train on, and those that are not asked yet."""
    members = [member for member in store.members(sweep.id) if member.number is not None]
    return sum(member.state not in FINAL_STATES for member in members), max(sweep.budget_trials - len(members), 0)


def progress(store: Store, sweep: SweepRecord, *, is_driven: bool) -> dict[str, Any]:
    """Numbers of a sweep so far, as plain data.

    Args:
        store: Open.
        sweep: Whose trials are counted; controls only as such.
        is_driven: Whether its driver lives. What one that died left running waits for the next.
    """
    everybody = store.members(sweep.id)
    members = [member for member in everybody if member.number is not None]
    jobs = store.jobs(sweep.id)
    return {
        "trials": _counts(members, is_driven=is_driven),
        "controls": _counts([member for member in everybody if member.control is not None], is_driven=is_driven),
        "over_a_constraint": sum(bool(_is_over(member)) for member in members),
        "overused": sum(member.overuse is not None for member in members),
        "ended_because": _causes(members),
        "epochs_trained": sum(job.epochs_trained for job in jobs),
        "epochs_saved": store.epochs_shared(sweep.id),
        "samples_scored": sum(job.samples_scored for job in jobs),
        "seconds": round(sweep.seconds, 1),
        "best": _best(members, last_scores(store, sweep.id)),
    }


def _counts(members: Sequence[MemberRecord], *, is_driven: bool) -> dict[str, int]:
    states = ["waiting" if m.state == "running" and not is_driven else m.state for m in members]
    return {name: states.count(name) for name in STATES}


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
