"""Bring to MLflow what runs of sweeps have left for it, without training anything."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from noise_search.commands.places import is_tracked, store_location
from noise_search.search.sending import SENT, leave_and_send
from noise_search.store import Store, SweepRecord, open_store
from noise_search.tracking.places import place_of

OFF = "off"


@dataclass(frozen=True, slots=True)
class Mirrored:
    """How far MLflow is with a sweep.

    Args:
        name: Of the sweep.
        mlflow: `sent`, MLflow has everything; `behind`, it still does not take everything; `busy`, somebody drives the
            sweep, whose mirror sends by itself; `off`, the sweep is not tracked.
        messages: That were sent by this call.
        unsent: Messages that MLflow still lacks.
        address: Of the server, or of the store's own database.
    """

    name: str
    mlflow: str
    messages: int
    unsent: int
    address: str


def mirror(name: str | None = None, *, store: str | Path | None = None) -> list[Mirrored]:
    """Send to MLflow, in order and once, what it lacks of a sweep, as after its server was down; trains nothing.

    It goes on while MLflow takes messages, and gives up within seconds where it takes none.

    Args:
        name: Of the sweep; None takes every tracked sweep of the store.
        store: Folder of the store.

    Returns:
        How it stands with each.

    Raises:
        CallerError: For an unknown name or a missing store.
    """
    with open_store(store_location(store), create=False) as opened:
        sweeps = [one for one in opened.sweeps() if is_tracked(one)] if name is None else [opened.sweep(name)]
        return [_mirrored(opened, sweep) for sweep in sweeps]


def _mirrored(store: Store, sweep: SweepRecord) -> Mirrored:
    address = place_of(store.location, sweep).shown
    before = store.unsent_count(sweep.id)
    if not is_tracked(sweep):
        return Mirrored(sweep.name, OFF, 0, before, address)
    came = leave_and_send(store, sweep, lambda _: None, math.inf) if before else SENT
    after = store.unsent_count(sweep.id)
    return Mirrored(sweep.name, came, before - after, after, address)
