"""What is read of a finished confirmation, from its store alone."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from confirm_examples import FEW, confirmed_store, trainings
from sweep_examples import BATCH, BUDGET, NAME, Quitter, drive, finished_store, spec

from noise_search.commands import confirm, pick, plan_confirmation, report, status
from noise_search.corruptions.suites import families
from noise_search.errors import CallerError
from noise_search.policy import policy_from_list, policy_to_list
from noise_search.search.confirmed import Measured, chosen_by, finished_confirmations, kinds_of, latest_measured
from noise_search.search.evidence import BEST_RANDOM, WINNER, seen_families
from noise_search.store import Store, create_schema, locate, open_store
from noise_search.store.tables import SCHEMA, VERSION_TABLE
from noise_search.training import load_dataset


def opened(folder: Path) -> Store:
    return open_store(locate(folder), create=False)


def latest(folder: Path) -> Measured:
    with opened(folder) as store:
        found = latest_measured(store, store.sweep(NAME).id)
    assert found is not None
    return found


def test_the_evidence_is_what_confirming_said() -> None:
    folder, outcome = confirmed_store()
    found = latest(folder)
    assert found.evidence == outcome.evidence
    assert chosen_by(found.record) == outcome.choice["chosen"]


def test_what_was_measured_on_is_read_off_the_measurements() -> None:
    folder, _ = confirmed_store()
    suite, data = plan_confirmation(NAME, store=folder, **FEW).held_out, spec().data
    winner = next(one for one in latest(folder).arms if one.arm == WINNER)
    found = latest(folder).yard
    assert (found.classes, found.samples) == (10, len(load_dataset(data).test))
    assert found.cells == {family: 5 * len(kinds) for family, kinds in families(suite).items()}
    assert found.seen == seen_families(policy_from_list(winner.policy))
    assert {family: tuple(kinds) for family, kinds in kinds_of(winner.cells).items()} == families(suite)


def test_the_best_random_policy_is_an_arm_of_its_own_and_one_of_the_random_ones() -> None:
    folder, outcome = confirmed_store()
    best, arms = outcome.choice["chosen"][BEST_RANDOM], latest(folder).arms
    assert best in ("random 1", "random 2")
    scores = {name: [one.scores for one in arms if one.arm == name] for name in (BEST_RANDOM, best)}
    assert len(scores[BEST_RANDOM]) == FEW["measure_seeds"]
    assert scores[BEST_RANDOM] == scores[best]


def test_a_confirmation_that_was_cut_short_is_not_among_the_finished(tmp_path: Path) -> None:
    shutil.copytree(finished_store(), tmp_path, dirs_exist_ok=True)
    confirm(NAME, store=tmp_path, **FEW)
    with pytest.raises(KeyboardInterrupt):
        confirm(NAME, store=tmp_path, reporter=Quitter(epochs=30), **{**FEW, "rule": "knee"})
    with opened(tmp_path) as store:
        sweep = store.sweep(NAME)
        assert len(store.confirmations(sweep.id)) == 2
        assert [one.number for one in finished_confirmations(store, sweep.id)] == [1]


def test_the_latest_has_every_training_and_what_they_say() -> None:
    folder, outcome = confirmed_store()
    found = latest(folder)
    assert found.trainings == tuple(trainings(folder))
    assert policy_to_list(found.winner) == outcome.choice["policies"][WINNER]
    assert {one.arm for one in found.arms} > {WINNER, BEST_RANDOM}


def test_a_sweep_that_nobody_has_confirmed_has_no_latest() -> None:
    with opened(finished_store()) as store:
        assert latest_measured(store, store.sweep(NAME).id) is None


def as_of_schema_0005(folder: Path) -> Path:
    """The store as that version left it: confirmations had the total of their sweep for its complete trials."""
    with closing(sqlite3.connect(folder / "search.db")) as database, database:
        database.execute("DROP TABLE stores")
        database.execute("ALTER TABLE confirmations DROP COLUMN generation")
        database.execute(f"UPDATE {VERSION_TABLE} SET version_num = '0005'")
        database.execute("UPDATE confirmations SET settings = json_set(settings, '$.trials', ?)", [BUDGET])
    return folder


def as_of_schema_0004(store: Path, folder: Path) -> Path:
    """A copy as that version left it: no cards, and choices without the number of classes."""
    shutil.copytree(store, folder, dirs_exist_ok=True)
    as_of_schema_0005(folder)
    with closing(sqlite3.connect(folder / "search.db")) as database, database:
        database.execute("DROP TABLE cards")
        database.execute(f"UPDATE {VERSION_TABLE} SET version_num = '0004'")
        database.execute("UPDATE confirmations SET choice = json_remove(choice, '$.classes', '$.smallest_gain')")
    return folder


def test_a_confirmation_of_schema_0004_is_read_once_the_same_command_has_added_what_it_lacks(tmp_path: Path) -> None:
    folder, outcome = confirmed_store()
    old, before = as_of_schema_0004(folder, tmp_path), trainings(folder)
    for read in (status, report, pick):
        with pytest.raises(CallerError, match=f"store: expected schema {SCHEMA}"):
            read(NAME, store=old)
    create_schema(locate(old))
    with opened(old) as store:
        assert latest_measured(store, store.sweep(NAME).id) is None
        assert store.confirmed(store.confirmations(store.sweep(NAME).id)[0].id) == before
    assert status(NAME, store=old)["confirmations"][0]["state"] == "interrupted"
    again = confirm(NAME, store=old, **FEW)
    assert (again.number, again.changed, again.evidence) == (1, False, outcome.evidence)
    with opened(old) as store:
        assert latest_measured(store, store.sweep(NAME).id) is not None
    assert trainings(old) == before


def test_an_upgrade_makes_no_confirmation_stale_of_a_sweep_that_was_cut_short(tmp_path: Path) -> None:
    drive(tmp_path, "controls.constants=0", "controls.random=0", reporter=Quitter(epochs=9))
    few = FEW | {"top": 1, "randoms": 1, "constant_trials": 0, "lr_check": False}
    first = confirm(NAME, store=tmp_path, **few)
    create_schema(locate(as_of_schema_0005(tmp_path)))
    outcome = pick(NAME, store=tmp_path, model=False)
    assert (outcome.trials_then, outcome.trials) == (BATCH, BATCH)
    again = confirm(NAME, store=tmp_path, **few)
    assert (again.number, again.changed, again.settings) == (1, False, first.settings)


def test_families_are_those_of_the_registry_in_the_order_of_the_cells() -> None:
    cells = {"clean": [1.0], "fog": [0.1], "shot": [0.2], "impulse": [0.3], "weights": [0.4]}
    assert kinds_of(cells) == {"tone": ["fog"], "noise": ["shot", "impulse"]}
