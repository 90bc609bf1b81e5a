"""Registered cards: versions, what is the same card, and how often test was read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, replace

import pytest
from store_examples import new_sweep, rows

from noise_search.store import (
    Confirmed,
    Location,
    NewCard,
    Store,
    add_confirmed,
    begin_confirmation,
    open_store,
)


@pytest.fixture
def store(place: Location) -> Iterator[Store]:
    with open_store(place, create=True) as opened:
        yield opened


def card(content: str, **changes: object) -> NewCard:
    made = NewCard(
        rule="best",
        trial=3,
        kind="searched",
        confirmation=None,
        digest=hashlib.sha256(content.encode()).hexdigest(),
        content=content,
        versions={"noise_search": "0.1.0", "torch": "2.13.0"},
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def test_cards_of_a_sweep_are_counted_from_1_and_those_of_another_from_1_again(store: Store) -> None:
    one, other = new_sweep(store, "one"), new_sweep(store, "other")
    made = [store.register_card(sweep.id, card(text)) for sweep, text in ((one, "a"), (one, "b"), (other, "a"))]
    assert [record.version for record in made] == [1, 2, 1]
    assert store.cards(one.id) == made[:2]
    assert asdict(card("b")).items() <= asdict(made[1]).items()


def test_the_same_card_again_is_the_version_that_it_is(store: Store) -> None:
    sweep = new_sweep(store)
    first = store.register_card(sweep.id, card("a"))
    store.register_card(sweep.id, card("b"))
    assert store.register_card(sweep.id, card("a")) == first
    assert [one.version for one in store.cards(sweep.id)] == [1, 2]


def test_a_card_that_brings_another_up_to_date_takes_its_place(store: Store) -> None:
    sweep = new_sweep(store)
    first = store.register_card(sweep.id, card("a, read once"))
    store.register_card(sweep.id, card("b"))
    second = store.register_card(sweep.id, card("a, read twice"), version=1)
    assert (second.version, second.id, second.created_at) == (1, first.id, first.created_at)
    assert [one.content for one in store.cards(sweep.id)] == ["a, read twice", "b"]
    assert asdict(card("a, read twice")).items() <= asdict(second).items()


def test_the_card_of_a_control_has_no_trial_and_its_name_from_the_rule(store: Store) -> None:
    given = card("a", rule="control=constant_1", trial=None)
    made = store.register_card(new_sweep(store).id, given)
    assert (made.trial, made.name) == (None, "control constant_1")
    assert store.register_card(made.sweep_id, card("b")).name == "trial 3"


def test_a_card_comes_back_as_it_was_given(store: Store) -> None:
    sweep = new_sweep(store)
    text = 'version: 1\nnotes: "Käse \x85 \u2028"\n\n'
    given = card(text, kind="confirmed", confirmation=2, rule="trial=7", trial=7)
    store.register_card(sweep.id, given)
    (found,) = store.cards(sweep.id)
    assert {name: value for name, value in asdict(found).items() if name in asdict(given)} == asdict(given)
    assert found.created_at.tzinfo is not None


def test_a_sweep_that_somebody_drives_takes_cards(store: Store) -> None:
    sweep = new_sweep(store)
    with store.take_lease(sweep.id):
        assert store.register_card(sweep.id, card("a")).version == 1


def test_cards_go_with_their_sweep(store: Store, place: Location) -> None:
    one, other = new_sweep(store, "one"), new_sweep(store, "other")
    for sweep in (one, other):
        store.register_card(sweep.id, card("a"))
    with store.take_lease(one.id) as writer:
        writer.remove_sweep()
    assert rows(place, "SELECT sweep_id FROM cards") == [(other.id,)]


def training(stage: str, seed: int) -> Confirmed:
    return Confirmed(stage, "winner", seed, [], {}, {}, "", {}, diverged=False)


def test_test_was_read_once_for_each_confirmation_that_measured_on_the_same_data(store: Store) -> None:
    def confirmed(name: str, digest: str, *stages: str) -> None:
        sweep = store.create_sweep(name=name, digest=name, identity={"data.digest": digest}, config={}, budget_trials=1)
        with store.take_lease(sweep.id) as writer:
            for number, stage in enumerate(stages):
                record = begin_confirmation(writer, {"number": number})
                add_confirmed(writer, record.id, [training(stage, 0), training(stage, 1)], [], seconds=1.0)

    assert store.test_reads("ours") == 0
    confirmed("one", "ours", "measure", "choose", "measure")
    confirmed("two", "ours", "measure")
    confirmed("three", "others", "measure")
    assert (store.test_reads("ours"), store.test_reads("others"), store.test_reads("none")) == (3, 1, 0)
