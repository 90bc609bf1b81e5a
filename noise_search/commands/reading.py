"""Read how sweeps stand, and what can be searched."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from noise_search.commands.places import store_location
from noise_search.errors import CallerError, expected_one_of
from noise_search.listing import LISTINGS
from noise_search.search.confirm_progress import confirmation_progress
from noise_search.search.fronts import FrontRow, front_rows
from noise_search.search.leads import lead
from noise_search.search.progress import progress, shown
from noise_search.store import Store, SweepRecord, open_store


def status(name: str, *, store: str | Path | None = None) -> dict[str, Any]:
    """State, trials by outcome and why, costs, the best and its lead, importance of knobs, how confirmations stand.

    Importance takes seconds to find: it is that of the last time the sweep reached its total, and None before.

    Args:
        name: Of the sweep.
        store: Folder of the store.

    Returns:
        What `noise-search status NAME --json` prints; docs/search.md says what the keys mean.

    Raises:
        CallerError: For an unknown name or a missing store.
    """
    with open_store(store_location(store), create=False) as opened:
        return status_in(opened, name)


def statuses(*, store: str | Path | None = None) -> list[dict[str, Any]]:
    """Status of every sweep in the store, oldest first."""
    with open_store(store_location(store), create=False) as opened:
        return statuses_in(opened)


def status_in(store: Store, name: str) -> dict[str, Any]:
    """`status` in a store that is open."""
    record = store.sweep(name)
    ahead = lead(store, record, front_rows(store, record.id))
    more = {
        "lead": ahead and asdict(ahead),
        "importance": record.importance,
        "confirmations": confirmation_progress(store, record),
    }
    return _status(store, record) | more


def statuses_in(store: Store) -> list[dict[str, Any]]:
    """`statuses` in a store that is open."""
    return [_status(store, record) for record in store.sweeps()]


def front(name: str, *, store: str | Path | None = None) -> list[FrontRow]:
    """The front of a sweep, most robust first, and then every control, those last that diverged or failed.

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
    state = state_of(store, record)
    return {
        "name": record.name,
        "state": state,
        "seed": record.identity.get("seed"),
        "budget": {"trials": record.budget_trials, "seeds": record.identity.get("budget.seeds", 1)},
        **progress(store, record, is_driven=state == "running"),
        "mlflow_behind": store.unsent_count(record.id),
    }


def state_of(store: Store, record: SweepRecord) -> str:
    """State of a sweep; one whose driver died without a word is interrupted, whatever it wrote last.

    What the store has as interrupted is out_of_time, as on the sweep's own page, where its time is used up.
    """
    if record.state != "running" or store.is_driven(record.id):
        return shown(record, record.state)
    record = store.sweep(record.name)  # again: its driver may have come to its end since it was read
    return shown(record, "interrupted" if record.state == "running" else record.state)
