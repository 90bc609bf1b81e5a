from __future__ import annotations

import json
import math
import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event
from store_examples import NO_NOISE, driven, new_sweep, process, result, rows, trial

from noise_search.store import LeaseLost, Location, NewMember, NewResult, OutboxEntry, Store, Writer, open_store

MIDDLE_REACHED = 9


def die_while_finishing_a_job(place: Location) -> None:
    """Driver that is gone once the results of its job are written, but not all that belongs to them."""
    with open_store(place, create=True) as store:
        writer = store.take_lease(new_sweep(store).id)
        (member,) = writer.add_members([trial(0)])
        job = writer.start_job([member.id], from_epoch=0, to_epoch=3)
        event.listen(Engine, "before_cursor_execute", die_at_the_outbox)
        entry = OutboxEntry("trial-0", "child", {})
        writer.finish_job(job, [result(member.id)], [entry], epochs_trained=3, samples_scored=5, seconds=2.0)


def die_at_the_outbox(connection: Connection, _cursor: object, statement: str, *_rest: object) -> None:
    if statement.startswith("INSERT INTO outbox"):
        written = connection.exec_driver_sql("SELECT count(*) FROM results").scalar()
        os._exit(MIDDLE_REACHED if written == 1 else 1)


def finish(writer: Writer, job: int, *results: NewResult) -> None:
    writer.finish_job(job, results, [], epochs_trained=3, samples_scored=100, seconds=2.5)


def test_a_member_comes_back_as_it_was_added(place: Location) -> None:
    member = NewMember(4, None, {"noise": "gaussian", "q": math.inf, "n": 3}, [{"schedule": {"a": 0.0, "b": 1}}])
    with driven(place) as (store, writer):
        (added,) = writer.add_members([member])
        assert store.members(writer.sweep_id) == [added]
    assert (added.sweep_id, added.number, added.control) == (writer.sweep_id, 4, None)
    assert (added.parameters, added.policy) == (member.parameters, member.policy)
    assert (added.state, added.reason, added.told) == ("waiting", None, False)
    assert (added.started_at, added.finished_at) == (None, None)


def test_a_member_that_is_there_is_returned_unchanged(place: Location) -> None:
    with driven(place) as (store, writer):
        first = writer.add_members([trial(0), NO_NOISE])
        other = NewMember(0, None, {"another": 1}, [])
        again = writer.add_members([NO_NOISE, other, trial(1)])
        assert again[:2] == [first[1], first[0]]
        assert len(store.members(writer.sweep_id)) == 3


def test_a_started_job_keeps_its_members_in_slot_order(place: Location) -> None:
    with driven(place) as (store, writer):
        low, high = (member.id for member in writer.add_members([trial(0), trial(1)]))
        job_id = writer.start_job([high, low], from_epoch=3, to_epoch=9)
        (job,) = store.jobs(writer.sweep_id)
        states = [member.state for member in store.members(writer.sweep_id)]
    assert (job.id, job.sweep_id, job.members) == (job_id, writer.sweep_id, (high, low))
    assert (job.from_epoch, job.to_epoch, job.state) == (3, 9, "running")
    assert (job.finished_at, job.epochs_trained, job.samples_scored) == (None, 0, 0)
    assert states == ["running", "running"]


def test_a_member_starts_once(place: Location) -> None:
    with driven(place) as (store, writer):
        (member,) = writer.add_members([trial(0)])
        finish(
            writer,
            writer.start_job([member.id], from_epoch=0, to_epoch=3),
            result(member.id, state="waiting"),
        )
        (before,) = store.members(writer.sweep_id)
        writer.start_job([member.id], from_epoch=3, to_epoch=9)
        (after,) = store.members(writer.sweep_id)
    assert before.started_at is not None
    assert after.started_at == before.started_at


def test_a_result_comes_back_as_it_was_given_even_where_it_is_not_finite(place: Location) -> None:
    given = NewResult(
        member_id=1,
        epoch=3,
        seed=2**62,
        state="infeasible",
        reason="loss was NaN at step 7",
        scores={"clean": math.nan, "robust": -math.inf, "score": 0.1},
        cells={"blur": [1.0, math.nan]},
        history=[{"loss": math.inf}, {"loss": 0.5}],
        seconds=1.5,
    )
    with driven(place) as (store, writer):
        (member,) = writer.add_members([trial(0)])
        finish(writer, writer.start_job([member.id], from_epoch=0, to_epoch=3), given)
        (found,) = store.results(writer.sweep_id)
        (after,) = store.members(writer.sweep_id)
        ((text,),) = rows(place, "SELECT CAST(scores AS text) FROM results")
    for name in ("member_id", "epoch", "seed", "scores", "cells", "history", "seconds"):
        assert repr(getattr(found, name)) == repr(getattr(given, name))
    json.loads(text, parse_constant=pytest.fail)  # NaN and Infinity are no JSON
    assert (after.state, after.reason) == ("infeasible", "loss was NaN at step 7")


def test_a_finished_job_is_done_and_its_cost_is_counted(place: Location) -> None:
    with driven(place) as (store, writer):
        (member,) = writer.add_members([trial(0)])
        for epoch in (3, 9):
            job = writer.start_job([member.id], from_epoch=0, to_epoch=epoch)
            finish(writer, job, result(member.id, epoch))
        jobs = store.jobs(writer.sweep_id)
        assert store.sweep("digits").seconds == 5.0
    assert [(job.state, job.epochs_trained, job.samples_scored) for job in jobs] == [("done", 3, 100)] * 2
    assert all(job.finished_at is not None and job.finished_at >= job.started_at for job in jobs)


@pytest.mark.parametrize(
    ("state", "is_final"),
    [("waiting", False), ("complete", True), ("stopped", True), ("infeasible", True), ("failed", True)],
)
def test_a_member_is_finished_by_a_final_state(place: Location, state: str, is_final: bool) -> None:
    with driven(place) as (store, writer):
        (member,) = writer.add_members([trial(0)])
        job = writer.start_job([member.id], from_epoch=0, to_epoch=3)
        finish(writer, job, result(member.id, state=state))
        (after,) = store.members(writer.sweep_id)
    assert after.state == state
    assert (after.finished_at is not None) == is_final


def test_a_member_without_a_result_waits_again_when_its_job_is_finished(place: Location) -> None:
    with driven(place) as (store, writer):
        scored, lost = (member.id for member in writer.add_members([trial(0), trial(1)]))
        finish(writer, writer.start_job([scored, lost], from_epoch=0, to_epoch=3), result(scored))
        states = {member.id: member.state for member in store.members(writer.sweep_id)}
    assert states == {scored: "complete", lost: "waiting"}


def test_a_result_that_is_there_already_keeps_its_scores(place: Location) -> None:
    with driven(place) as (store, writer):
        (member,) = writer.add_members([trial(0)])
        for clean in (0.5, 0.75):
            job = writer.start_job([member.id], from_epoch=0, to_epoch=3)
            finish(writer, job, result(member.id, 3, clean=clean))
        assert [found.scores for found in store.results(writer.sweep_id)] == [{"clean": 0.5}]
        assert [found.state for found in store.members(writer.sweep_id)] == ["complete"]


def test_a_job_is_finished_once(place: Location) -> None:
    with driven(place) as (store, writer):
        (member,) = writer.add_members([trial(0)])
        job = writer.start_job([member.id], from_epoch=0, to_epoch=3)
        finish(writer, job, result(member.id))
        with pytest.raises(ValueError, match=r"expected a running job of sweep 1, got one of sweep 1 that is done"):
            finish(writer, job, result(member.id))
        assert store.sweep("digits").seconds == 2.5


def test_a_member_of_another_sweep_is_refused_and_nothing_is_written(place: Location) -> None:
    with driven(place) as (store, writer):
        with store.take_lease(new_sweep(store, "other").id) as other:
            (foreign,) = other.add_members([trial(0)])
        (own,) = writer.add_members([trial(0)])
        with pytest.raises(ValueError, match=rf"expected members of sweep 1, got \[{foreign.id}\]"):
            writer.start_job([own.id, foreign.id], from_epoch=0, to_epoch=3)
        job = writer.start_job([own.id], from_epoch=0, to_epoch=3)
        with pytest.raises(ValueError, match="expected members"):
            finish(writer, job, result(own.id), result(foreign.id))
        assert store.results(writer.sweep_id) == []
        assert [found.state for found in store.jobs(writer.sweep_id)] == ["running"]


def test_a_driver_that_dies_while_finishing_a_job_leaves_none_of_it(place: Location) -> None:
    child = process(die_while_finishing_a_job, place)
    child.join(60)
    assert child.exitcode == MIDDLE_REACHED
    with open_store(place, create=False) as store:
        sweep = store.sweep("digits")
        assert store.results(sweep.id) == []
        assert store.unsent(sweep.id) == []
        assert sweep.seconds == 0.0
        assert [job.state for job in store.jobs(sweep.id)] == ["running"]
        assert [member.state for member in store.members(sweep.id)] == ["running"]


def test_jobs_of_a_dead_driver_are_abandoned_and_their_members_wait(place: Location) -> None:
    with driven(place) as (store, writer):
        first, second, third = (member.id for member in writer.add_members([trial(0), trial(1), trial(2)]))
        finish(writer, writer.start_job([third], from_epoch=0, to_epoch=3), result(third))
        writer.start_job([second, first], from_epoch=0, to_epoch=3)
        writer.abandon_running_jobs()
        states = {member.id: member.state for member in store.members(writer.sweep_id)}
        assert states == {first: "waiting", second: "waiting", third: "complete"}
        assert [job.state for job in store.jobs(writer.sweep_id)] == ["done", "abandoned"]
        writer.abandon_running_jobs()
        assert [job.state for job in store.jobs(writer.sweep_id)] == ["done", "abandoned"]


def test_told_members_are_marked(place: Location) -> None:
    with driven(place) as (store, writer):
        first, second = (member.id for member in writer.add_members([trial(0), trial(1)]))
        writer.mark_told([second])
        assert {member.id: member.told for member in store.members(writer.sweep_id)} == {
            first: False,
            second: True,
        }


def test_an_entry_that_says_the_same_is_not_sent_again(place: Location) -> None:
    entry = OutboxEntry("trial-0", "child", {"loss": math.nan, "severities": (1, 2)})
    with driven(place) as (store, writer):
        writer.enqueue([entry])
        store.mark_sent([found.id for found in store.unsent(writer.sweep_id)])
        writer.enqueue([entry])
        assert store.unsent(writer.sweep_id) == []


def test_an_entry_that_says_something_else_is_sent_again(place: Location) -> None:
    with driven(place) as (store, writer):
        writer.enqueue([OutboxEntry("trial-0", "child", {"clean": 0.5})])
        store.mark_sent([found.id for found in store.unsent(writer.sweep_id)])
        writer.enqueue([OutboxEntry("trial-0", "child", {"clean": 0.75})])
        assert [found.payload for found in store.unsent(writer.sweep_id)] == [{"clean": 0.75}]


def test_an_entry_replaced_while_it_is_being_sent_stays_unsent(place: Location) -> None:
    with driven(place) as (store, writer):
        writer.enqueue([OutboxEntry("trial-0", "child", {"clean": 0.5})])
        under_way = store.unsent(writer.sweep_id)
        writer.enqueue([OutboxEntry("trial-0", "child", {"clean": 0.75})])
        store.mark_sent(found.id for found in under_way)
        assert [found.payload for found in store.unsent(writer.sweep_id)] == [{"clean": 0.75}]


def test_a_replaced_entry_keeps_its_place(place: Location) -> None:
    with driven(place) as (store, writer):
        writer.enqueue([OutboxEntry("sweep", "parent", {}), OutboxEntry("trial-0", "child", {})])
        writer.enqueue([OutboxEntry("trial-1", "child", {}), OutboxEntry("sweep", "parent", {"trials": 2})])
        assert [found.key for found in store.unsent(writer.sweep_id)] == ["sweep", "trial-0", "trial-1"]


def test_columns_of_a_sweep_can_be_set(place: Location) -> None:
    now = datetime.now(UTC)
    with driven(place) as (store, writer):
        writer.update_sweep(train_mode="fused", score_mode="looped", bitwise=True)
        writer.update_sweep(state="complete", finished_at=now, budget_trials=20)
        sweep = store.sweep("digits")
    assert (sweep.train_mode, sweep.score_mode, sweep.bitwise) == ("fused", "looped", True)
    assert (sweep.state, sweep.finished_at, sweep.budget_trials) == ("complete", now, 20)


def test_other_columns_of_a_sweep_cannot_be_set(place: Location) -> None:
    changes: Any = {"lease_generation": 5}
    with driven(place) as (_, writer), pytest.raises(TypeError, match="lease_generation"):
        writer.update_sweep(**changes)


WRITES: dict[str, Callable[[Writer], object]] = {
    "add_members": lambda writer: writer.add_members([trial(7)]),
    "start_job": lambda writer: writer.start_job([1], from_epoch=0, to_epoch=3),
    "finish_job": lambda writer: finish(writer, 1, result(1)),
    "abandon_running_jobs": lambda writer: writer.abandon_running_jobs(),
    "mark_told": lambda writer: writer.mark_told([1]),
    "enqueue": lambda writer: writer.enqueue([OutboxEntry("trial-0", "child", {})]),
    "update_sweep": lambda writer: writer.update_sweep(state="failed"),
    "renew": lambda writer: writer.renew(),
}


def everything(store: Store) -> object:
    return (
        store.sweeps(),
        store.members(1),
        store.results(1),
        store.jobs(1),
        store.unsent(1),
        rows(store.location, "SELECT lease_owner, lease_expires_at FROM sweeps"),
    )


@pytest.mark.parametrize("write", WRITES)
def test_a_driver_that_lost_its_lease_changes_nothing(place: Location, write: str) -> None:
    with driven(place) as (store, late):
        late.start_job([late.add_members([trial(0)])[0].id], from_epoch=0, to_epoch=3)
        rows(place, "UPDATE sweeps SET lease_expires_at = '2020-01-01 00:00:00.000000'")
        with store.take_lease(late.sweep_id, owner="the new one", lease_seconds=3600):
            before = everything(store)
            with pytest.raises(LeaseLost, match="digits has been taken over by the new one"):
                WRITES[write](late)
            late.release()
            assert everything(store) == before


def test_nothing_is_written_after_the_lease_was_given_back(place: Location) -> None:
    with driven(place) as (store, writer):
        writer.release()
        with pytest.raises(LeaseLost, match="given back by this process"):
            writer.add_members([trial(0)])
        assert store.members(writer.sweep_id) == []


def test_two_drivers_of_one_store_wait_for_each_other(place: Location) -> None:
    def write(writer: Writer) -> None:
        try:
            for number in range(40):
                writer.add_members([trial(number)])
        except BaseException as error:
            failures.append(error)
            raise

    failures: list[BaseException] = []
    with (
        driven(place) as (store, first),
        open_store(place, create=False) as again,
        again.take_lease(new_sweep(store, "other").id) as second,
    ):
        threads = [threading.Thread(target=write, args=(writer,)) for writer in (first, second)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert len(store.members(first.sweep_id)) == len(store.members(second.sweep_id)) == 40


def test_of_entries_of_one_key_left_at_once_the_last_counts(place: Location) -> None:
    with driven(place) as (store, writer):
        writer.enqueue(
            [OutboxEntry("a", "child", {"n": 1}), OutboxEntry("b", "child", {}), OutboxEntry("a", "child", {"n": 2})]
        )
        assert [(entry.key, entry.payload) for entry in store.unsent(writer.sweep_id)] == [("a", {"n": 2}), ("b", {})]
