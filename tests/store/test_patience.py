"""Transactions whose connection is lost: repeated as a whole, and safe to repeat where they may have been committed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import psycopg
import pytest
from optuna.distributions import FloatDistribution
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError
from store_examples import NO_NOISE, new_sweep, result, trial

from noise_search.store import (
    Confirmed,
    Location,
    NewCard,
    OutboxEntry,
    Store,
    StoreLostError,
    Writer,
    add_confirmed,
    begin_confirmation,
    finish_confirmation,
    open_store,
    store_choice,
)
from noise_search.store.patience import Patience, is_lost, is_repeated
from noise_search.store.studies import Ending, create_trials, end_trials

ENTRY = OutboxEntry("trial-0", "child", {"a": 1})
CARD = NewCard("best", 0, "searched", None, "d", "text", {"torch": "2"})
TRAINING = Confirmed("choose", "winner", 1, [], {}, {}, "", {}, diverged=False)


def lost(engine: Engine, monkeypatch: pytest.MonkeyPatch, *, committed: bool) -> list[bool]:
    """Have the connection end at the next commit, before the server has made it or after; returns a list of commits."""
    commit = engine.dialect.do_commit
    seen: list[bool] = []

    def do_commit(connection: Any) -> None:
        seen.append(True)
        if len(seen) > 1:
            commit(connection)
            return
        if committed:
            commit(connection)
        connection.driver_connection.close()
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(engine.dialect, "do_commit", do_commit)
    return seen


def job(writer: Writer) -> int:
    (member,) = writer.add_members([trial(0)])
    return writer.start_job([member.id], from_epoch=0, to_epoch=3)


def finish(writer: Writer, job_id: int) -> None:
    writer.finish_job(job_id, [result(1)], [ENTRY], epochs_trained=3, samples_scored=100, seconds=2.5)


def confirm_once(store: Store, writer: Writer) -> int:  # noqa: ARG001
    return begin_confirmation(writer, {"a": 1}).id


# What was done before, then the write whose connection is lost.
WRITES: dict[str, tuple[Callable[[Store, Writer], Any], Callable[[Store, Writer, Any], object]]] = {
    "add_members": (lambda s, w: None, lambda s, w, _: w.add_members([trial(0), NO_NOISE])),
    "promote": (lambda s, w: job(w), lambda s, w, _: w.promote([1], 9)),
    "start_job": (lambda s, w: w.add_members([trial(0)]), lambda s, w, _: w.start_job([1], from_epoch=0, to_epoch=3)),
    "finish_job": (lambda s, w: job(w), lambda s, w, own: finish(w, own)),
    "fail_job": (
        lambda s, w: job(w),
        lambda s, w, own: w.fail_job(own, "no", kind="error", blamed=1, seconds=2.0),
    ),
    "add_results": (lambda s, w: w.add_members([trial(0)]), lambda s, w, _: w.add_results([result(1)], [ENTRY])),
    "end_members": (lambda s, w: job(w), lambda s, w, _: w.end_members({1: "outranked"}, "stopped", [ENTRY])),
    "abandon_running_jobs": (lambda s, w: job(w), lambda s, w, _: w.abandon_running_jobs() and None),
    "mark_told": (lambda s, w: job(w), lambda s, w, _: w.mark_told([1])),
    "enqueue": (lambda s, w: None, lambda s, w, _: w.enqueue([ENTRY])),
    "mark_sent": (lambda s, w: w.enqueue([ENTRY]), lambda s, w, _: s.mark_sent(one.id for one in s.unsent(1))),
    "finish_sweep": (lambda s, w: None, lambda s, w, _: w.finish_sweep("complete", [ENTRY])),
    "remove_sweep": (lambda s, w: job(w), lambda s, w, _: w.remove_sweep()),
    "create_sweep": (lambda s, w: None, lambda s, w, _: new_sweep(s, "other").id),
    "take_lease": (lambda s, w: w.release(), lambda s, w, _: s.take_lease(1).release()),
    "release": (lambda s, w: None, lambda s, w, _: w.release()),
    "request_stop": (lambda s, w: None, lambda s, w, _: s.request_stop(1)),
    "register_card": (lambda s, w: None, lambda s, w, _: s.register_card(1, CARD).version),
    "begin_confirmation": (lambda s, w: None, lambda s, w, _: confirm_once(s, w)),
    "add_confirmed": (confirm_once, lambda s, w, own: add_confirmed(w, own, [TRAINING], [ENTRY], seconds=1.5)),
    "store_choice": (confirm_once, lambda s, w, own: store_choice(w, own, {"a": 1}).choice),
    "finish_confirmation": (confirm_once, lambda s, w, own: finish_confirmation(w, own, [ENTRY]).number),
}
MOMENTS = {"created_at", "started_at", "finished_at", "sent_at"}


def everything(store: Store) -> list[Any]:
    """What is stored, without moments: whether there is one is told all the same."""
    sweeps = store.sweeps()
    kinds = (store.members, store.results, store.jobs, store.unsent, store.confirmations, store.cards)
    found = [sweeps, *(kind(sweep.id) for sweep in sweeps for kind in kinds), store.confirmed(1), store.outbox_keys(1)]
    return [[_timeless(one) for one in part] for part in found] + [[store.is_driven(sweep.id) for sweep in sweeps]]


def _timeless(record: Any) -> Any:
    if isinstance(record, str):
        return record
    return {key: value is None if key in MOMENTS else value for key, value in asdict(record).items()}


@pytest.mark.parametrize("committed", [False, True], ids=["before it was made", "after it was made"])
@pytest.mark.parametrize("write", WRITES)
def test_a_write_whose_commit_is_lost_is_there_once(
    write: str, committed: bool, shared: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare, act = WRITES[write]
    found, returned = [], []
    for name in ("lost", "undisturbed"):
        # One database: what the first sweep has left is removed, and ids go on.
        place = shared if name == "lost" else _another(shared)
        with open_store(place, create=False) as store:
            writer = store.take_lease(new_sweep(store).id, lease_seconds=3600)
            before = prepare(store, writer)
            with monkeypatch.context() as patch:
                commits = lost(store._engine, patch, committed=committed) if name == "lost" else [True, True]
                returned.append(act(store, writer, before))
            assert len(commits) >= 2
            found.append(everything(store))
            writer.release()
    assert found[0] == found[1]
    assert _comparable(returned[0]) == _comparable(returned[1])


def _comparable(returned: Any) -> Any:
    return [_timeless(one) for one in returned] if isinstance(returned, list) else returned


def _another(shared: Location) -> Location:
    raise NotImplementedError
