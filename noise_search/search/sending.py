"""Bring to MLflow what is left for it in the store's outbox: beside a sweep, at its end, or for its own sake."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from noise_search.errors import CallerError
from noise_search.operations import METRICS_FILE, set_numbers
from noise_search.store import LeaseLost, Store, SweepRecord, Writer
from noise_search.tracking.mirror import Mirror
from noise_search.tracking.mlflow_sink import MlflowSink
from noise_search.tracking.places import place_of

_log = logging.getLogger(__name__)
MIRROR_SECONDS = 120.0  # how long a sweep that ends waits for its mirror
FAILING_MIRROR_SECONDS = 5.0  # how long for one that fails
SENT, BEHIND, BUSY = "sent", "behind", "busy"  # what became of messages that were left


def start_mirror(store: Store, sweep: SweepRecord) -> Mirror:
    """Mirror that sends what is left for it, from now on."""
    place = place_of(store.location, sweep)
    mirror = Mirror(store, sweep.id, lambda: MlflowSink(place))
    mirror.start()
    return mirror


def drain(mirror: Mirror | None, store: Store, sweep: SweepRecord, seconds: float = MIRROR_SECONDS) -> bool:
    """Wait for the mirror, but not for one that keeps failing, and say whether it has sent everything.

    What is left stays in the store; the next run of the sweep catches up, or `noise-search mirror`.
    """
    if mirror is None:
        return True
    sent = mirror.close(seconds, FAILING_MIRROR_SECONDS)
    if not sent:
        behind, why = store.unsent_count(sweep.id), f" ({mirror.error})" if mirror.error else ""
        _log.warning("MLflow is %d messages behind%s; noise-search mirror %s catches up", behind, why, sweep.name)
    return sent


@contextmanager
def sending(mirror: Mirror | None, store: Store, sweep: SweepRecord) -> Iterator[None]:
    """Drain a mirror when the block is left; where the lease is lost, what is left is for whoever has it now."""
    try:
        yield
    except LeaseLost:
        if mirror is not None:
            mirror.close(0)
        raise
    except BaseException:
        drain(mirror, store, sweep)
        raise
    drain(mirror, store, sweep)


def leave_and_send(
    store: Store, sweep: SweepRecord, leave: Callable[[Writer], None], seconds: float = MIRROR_SECONDS
) -> str:
    """Leave messages for the mirror of a sweep that nobody drives, and wait until they are sent.

    Args:
        store: Open.
        sweep: Whose messages.
        leave: Leaves them; not called where somebody drives the sweep.
        seconds: How long to wait at most.

    Returns:
        `SENT`; `BEHIND`: MLflow has not taken them in time, and whoever sends next will; `BUSY`: somebody drives it.
    """
    try:
        writer = store.take_lease(sweep.id)
    except CallerError:  # asking first whether it is free would leave a moment for another to take it
        return BUSY
    with writer:
        leave(writer)
        sent = drain(start_mirror(store, sweep), store, sweep, seconds)
        unsent = store.unsent_count(sweep.id)
        set_numbers(  # while nobody else drives the sweep, who would write them himself
            store.location.sweep_folder(sweep.name) / METRICS_FILE,
            mirror_unsent_messages=unsent,
            mirror_failing=not sent,
        )
        return SENT if sent else BEHIND
