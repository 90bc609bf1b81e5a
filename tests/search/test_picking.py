"""Which trial is picked, and whose numbers it comes with."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from confirm_examples import FEW, confirmed_store
from sweep_examples import NAME, finished_store

from noise_search.commands import confirm
from noise_search.search.fronts import FrontRow, complete_rows
from noise_search.search.pick import pick_row
from noise_search.search.picking import Picked, missed, notes, picked
from noise_search.store import locate, open_store


def found(folder: Path, rule: str | None) -> Picked:
    with open_store(locate(folder), create=False) as store:
        return picked(store, store.sweep(NAME), rule)


def rows(folder: Path) -> list[FrontRow]:
    with open_store(locate(folder), create=False) as store:
        return complete_rows(store, store.sweep(NAME).id)


def winner(outcome_choice: object) -> int:
    assert isinstance(outcome_choice, dict)
    return int(outcome_choice["chosen"]["winner"].removeprefix("trial "))


@pytest.mark.parametrize(
    ("given", "used"), [(None, "best"), ("best", "best"), ("knee", "knee"), ("trial=0", "trial=0")]
)
def test_without_a_confirmation_a_rule_picks_by_what_was_searched(given: str | None, used: str) -> None:
    one = found(finished_store(), given)
    assert one == Picked(pick_row(rows(finished_store()), used), used, None)


@pytest.mark.parametrize("given", [None, "best"])
def test_after_a_confirmation_its_winner_is_picked_by_its_rule_and_by_none(given: str | None) -> None:
    folder, outcome = confirmed_store()
    one = found(folder, given)
    assert (one.row.trial, one.rule) == (winner(outcome.choice), "best")
    assert one.confirmation is not None
    assert one.confirmation.number == 1


def test_a_trial_that_won_a_confirmation_keeps_what_it_measured_whatever_rule_picks_it() -> None:
    folder, outcome = confirmed_store()
    won = winner(outcome.choice)
    one = found(folder, f"trial={won}")
    assert (one.row.trial, one.rule) == (won, f"trial={won}")
    assert one.confirmation is not None
    other = next(row.trial for row in rows(folder) if row.control is None and row.trial != won)
    assert found(folder, f"trial={other}").confirmation is None


def test_of_several_confirmations_the_latest_to_be_finished_counts(tmp_path: Path) -> None:
    folder, outcome = confirmed_store()
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    won = winner(outcome.choice)
    other = next(row.trial for row in rows(folder) if row.control is None and row.trial != won)
    second = confirm(NAME, store=tmp_path, **{**FEW, "rule": f"trial={other}"})
    assert winner(second.choice) == other
    latest = found(tmp_path, None)
    assert (latest.row.trial, latest.rule) == (other, f"trial={other}")
    assert latest.confirmation is not None
    assert latest.confirmation.number == 2
    assert found(tmp_path, "best").row.trial == won
    spelled = found(tmp_path, f"trial=0{other}").confirmation
    assert spelled is not None
    assert spelled.number == 2


def test_a_trial_that_is_beaten_or_over_a_limit_is_said_to_be() -> None:
    row = FrontRow(4, None, 0.5, 0.5, 0.5, 0.5, 0.5, True, [])
    off = FrontRow(4, None, 0.5, 0.5, 0.5, 0.5, 0.5, False, [])
    over = FrontRow(4, None, 0.5, 0.5, 0.5, 0.5, 0.5, False, [], over_constraint="clean_drop by 0.013")
    assert notes(Picked(row, "best", None)) == ()
    assert "trial 4 is not on the front" in notes(Picked(off, "trial=4", None))[0]
    assert notes(Picked(over, "trial=4", None)) == ("trial 4 is over a limit of the objective: clean_drop by 0.013",)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("min-clean=0.8", ()),
        ("min-clean=0.81", ("min-clean=0.81: met as searched, but measured clean is 0.8000",)),
        ("max-drop=0.31", ()),
        ("max-drop=0.2", ("max-drop=0.2: met as searched, but measured clean minus robust is 0.3000",)),
        ("best", ()),
    ],
)
def test_a_bound_that_measured_numbers_miss_is_said_to_be_missed(rule: str, said: tuple[str, ...]) -> None:
    one = found(confirmed_store()[0], "best")
    evidence = {"arms": {"winner": {"clean": {"mean": 0.8}, "robust": {"mean": 0.5}}}}
    assert missed(replace(one, rule=rule), evidence) == said
    assert missed(Picked(one.row, rule, None), evidence) == ()
