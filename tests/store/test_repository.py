from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from store_examples import NO_NOISE, driven, new_sweep, result, stored, trial

from noise_search.errors import CallerError
from noise_search.store import Location, NewMember, OutboxEntry, open_store


def test_a_new_sweep_runs_and_comes_back_as_it_was_made(place: Location) -> None:
    identity: dict[str, object] = {
        "seed": 0,
        "train": {"epochs": 10, "clip": None},
        "suite": ["blur", "Störung"],
    }
    with stored(place) as store:
        made = store.create_sweep(name="digits", digest="abc", identity=identity, config={"lr": 0.1}, budget_trials=7)
        assert store.sweep("digits") == made
    assert (made.name, made.digest, made.identity, made.config) == ("digits", "abc", identity, {"lr": 0.1})
    assert (made.state, made.budget_trials, made.seconds) == ("running", 7, 0.0)
    assert (made.train_mode, made.score_mode, made.bitwise, made.finished_at) == (None, None, None, None)
    assert timedelta(0) <= datetime.now(UTC) - made.created_at < timedelta(minutes=1)


def test_a_name_is_given_once(place: Location) -> None:
    with stored(place) as store:
        first = new_sweep(store)
        with pytest.raises(CallerError, match=r"expected one that is new, got 'digits'"):
            new_sweep(store)
        assert store.sweeps() == [first]


def test_an_unknown_name_is_answered_with_those_there_are(place: Location) -> None:
    with stored(place) as store:
        new_sweep(store, "digits")
        new_sweep(store, "audio")
        message = r"expected one of \['audio', 'digits'\], got 'digit'; did you mean 'digits'\?"
        with pytest.raises(CallerError, match=message):
            store.sweep("digit")
        assert store.find_sweep("digit") is None


def test_a_store_without_sweeps_says_so(place: Location) -> None:
    with stored(place) as store, pytest.raises(CallerError, match="has none yet"):
        store.sweep("digits")


def test_controls_are_listed_first_then_trials_by_number(place: Location) -> None:
    with driven(place) as (store, writer):
        writer.add_members([trial(1), trial(0), NO_NOISE, NewMember(None, "constant", {}, [])])
        members = store.members(writer.sweep_id)
    assert [(member.control, member.number) for member in members] == [
        ("no_noise", None),
        ("constant", None),
        (None, 0),
        (None, 1),
    ]


def test_members_can_be_asked_for_by_state_and_by_whether_optuna_was_told(place: Location) -> None:
    with driven(place) as (store, writer):
        told, untold, waiting = writer.add_members([trial(0), trial(1), trial(2)])
        job = writer.start_job([told.id, untold.id], from_epoch=0, to_epoch=3)
        scored = [result(told.id), result(untold.id, state="infeasible")]
        writer.finish_job(job, scored, [], epochs_trained=6, samples_scored=5, seconds=1.0)
        writer.mark_told([told.id])

        def numbers(**which: Any) -> list[int | None]:
            return [member.number for member in store.members(writer.sweep_id, **which)]

        assert numbers(states=["waiting"]) == [waiting.number]
        assert numbers(states=["complete", "infeasible"]) == [0, 1]
        assert numbers(states=["complete", "infeasible"], told=False) == [1]
        assert numbers(states=[]) == []


def test_results_can_be_asked_for_by_member(place: Location) -> None:
    with driven(place) as (store, writer):
        first, second = (member.id for member in writer.add_members([trial(0), trial(1)]))
        job = writer.start_job([first, second], from_epoch=0, to_epoch=3)
        scored = [result(first, clean=0.3), result(second, clean=0.4)]
        writer.finish_job(job, scored, [], epochs_trained=6, samples_scored=5, seconds=1.0)
        found = store.results(writer.sweep_id, member_ids=[second])
        assert [(one.member_id, one.scores["clean"]) for one in found] == [(second, 0.4)]
        assert store.results(writer.sweep_id, member_ids=[]) == []


def test_what_belongs_to_one_sweep_is_not_shown_in_another(place: Location) -> None:
    with driven(place) as (store, writer):
        other = new_sweep(store, "other").id
        (member,) = writer.add_members([trial(0)])
        job = writer.start_job([member.id], from_epoch=0, to_epoch=3)
        entry = OutboxEntry("trial-0", "child", {})
        writer.finish_job(job, [result(member.id)], [entry], epochs_trained=3, samples_scored=5, seconds=1.0)
        assert store.members(other) == []
        assert store.results(other) == []
        assert store.jobs(other) == []
        assert store.unsent(other) == []


def test_unsent_entries_come_in_order_and_at_most_so_many(place: Location) -> None:
    with driven(place) as (store, writer):
        writer.enqueue([OutboxEntry(f"trial-{number}", "child", {"number": number}) for number in range(5)])
        first = store.unsent(writer.sweep_id, limit=2)
        assert [(entry.key, entry.kind, entry.payload) for entry in first] == [
            ("trial-0", "child", {"number": 0}),
            ("trial-1", "child", {"number": 1}),
        ]
        store.mark_sent(entry.id for entry in first)
        assert [entry.key for entry in store.unsent(writer.sweep_id)] == ["trial-2", "trial-3", "trial-4"]


def test_a_member_is_a_trial_or_a_control() -> None:
    with pytest.raises(ValueError, match="a number or a control"):
        NewMember(0, "no_noise", {}, [])
    with pytest.raises(ValueError, match="a number or a control"):
        NewMember(None, None, {}, [])


def test_the_store_is_read_while_it_is_driven(place: Location) -> None:
    with driven(place) as (_, writer), open_store(place, create=False) as reader:
        writer.add_members([trial(0)])
        assert len(reader.members(writer.sweep_id)) == 1


def test_optuna_gets_one_storage_for_each_open_store(place: Location) -> None:
    with stored(place) as store:
        assert store.optuna_storage() is store.optuna_storage()
