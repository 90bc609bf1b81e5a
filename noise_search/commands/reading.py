"""Read how sweeps stand, and what can be searched."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from noise_search.commands.places import store_location
from noise_search.errors import CallerError, expected_one_of
from noise_search.listing import LISTINGS
from noise_search.search.fronts import FrontRow, front_rows
from noise_search.search.importance import importance_in
from noise_search.search.results import final_scores
from noise_search.store import MemberRecord, Store, SweepRecord, open_store


def status(name: str, *, store: str | Path | None = None) -> dict[str, Any]:
    """State, budget, trials by outcome, epochs, samples, seconds, best trial and importance of knobs of a sweep.

    Raises:
        CallerError: For an unknown name or a missing store.
    """
    with open_store(store_location(store), create=False) as opened:
        record = opened.sweep(name)
        found = importance_in(opened, record)
        return {**_status(opened, record), "importance": None if found is None else asdict(found)}


def statuses(*, store: str | Path | None = None) -> list[dict[str, Any]]:
    """Status of every sweep in the store, oldest first."""
    with open_store(store_location(store), create=False) as opened:
        return [_status(opened, record) for record in opened.sweeps()]


def front(name: str, *, store: str | Path | None = None) -> list[FrontRow]:
    """The front of a sweep, most robust first, and then every control.

    Raises:
        CallerError: For an unknown name or a missing store.
    """
    with open_store(store_location(store), create=False) as opened:
        return front_rows(opened, opened.sweep(name).id)


def listing(what: str) -> list[dict[str, Any]]:
    """What can be searched, trained and scored.

    Args:
        what: noises, schedules, corruptions, data or models.

    Raises:
        CallerError: For another word.
    """
    if what not in LISTINGS:
        raise CallerError(expected_one_of("list", LISTINGS, what))
    return LISTINGS[what]()


def _status(store: Store, record: SweepRecord) -> dict[str, Any]:
    members = [member for member in store.members(record.id) if member.number is not None]
    jobs = store.jobs(record.id)
    states = ("complete", "stopped", "infeasible", "failed", "running", "waiting")
    state = _state(store, record)
    # What a driver that died left running waits for the next one.
    found = ["waiting" if m.state == "running" and state != "running" else m.state for m in members]
    return {
        "name": record.name,
        "state": state,
        "budget": {"trials": record.budget_trials},
        "trials": {name: found.count(name) for name in states},
        "over_a_constraint": sum(any(value > 0 for value in m.constraints.values()) for m in members if _is_whole(m)),
        "overused": sum(member.overuse is not None for member in members),
        "stopped_because": _reasons(members),
        "epochs_trained": sum(job.epochs_trained for job in jobs),
        "epochs_saved": store.epochs_shared(record.id),
        "samples_scored": sum(job.samples_scored for job in jobs),
        "seconds": round(record.seconds, 1),
        "best": _best(members, final_scores(store, record.id)),
    }


def _is_whole(member: MemberRecord) -> bool:
    return member.state == "complete"


def _reasons(members: Sequence[MemberRecord]) -> dict[str, int]:
    """Trials that were stopped or failed, by the first word of the reason: place, overuse, diverged, ..."""
    ended = [member.reason for member in members if member.state in ("stopped", "failed", "infeasible")]
    return dict(Counter(re.split(r"\W", reason or "unknown", maxsplit=1)[0] for reason in ended))


def _state(store: Store, record: SweepRecord) -> str:
    """State of a sweep; one whose driver died without a word is interrupted, whatever it wrote last."""
    abandoned = record.state == "running" and not store.is_driven(record.id)
    return "interrupted" if abandoned else record.state


def _best(members: Sequence[MemberRecord], scores: Mapping[int, Mapping[str, float]]) -> dict[str, Any] | None:
    scored = [(scores[member.id]["score"], member.number) for member in members if member.state == "complete"]
    if not scored:
        return None
    score, number = max(scored)
    return {"trial": number, "score": score}
