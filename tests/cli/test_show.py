"""What the command line says of a sweep at its end and later."""

from __future__ import annotations

import os
import shlex
import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
from cli_runs import Run
from sweep_examples import NAME, TINY, finished_store

from noise_search.cli.show import print_table
from noise_search.store import locate, open_store

NO_DIFFERENCE = "The shape of the schedule made no difference beyond noise (90 % of shuffles show as much)."
CONFIRM = f"noise-search confirm {NAME}"


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """Store with the tiny sweep, to be changed."""
    return shutil.copytree(finished_store(), tmp_path / "store")


@pytest.fixture
def on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs of this environment on PATH, so that commands are printed with their bare names."""
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)


@pytest.mark.parametrize(
    ("chance_of_magnitude", "said"),
    [
        (0.05, "magnitude 6 % (5 % of shuffles show as much); no more than chance: schedule"),
        (0.5, "no more than chance: magnitude, schedule"),
    ],
)
def test_shares_of_importance_are_shown_of_what_is_beyond_chance_alone(
    chance_of_magnitude: float, said: str, ns: Run, copied: Path
) -> None:
    chance = {"magnitude": chance_of_magnitude, "schedule": 0.9}
    found = {"trials": 20, "shares": {"magnitude": 0.06, "schedule": 0.94}, "chance": chance, "sentence": NO_DIFFERENCE}
    with open_store(locate(copied), create=False) as store, store.take_lease(store.sweep(NAME).id) as writer:
        writer.finish_sweep("complete", [], importance=found)
    _, out, _ = ns("status", NAME, "--store", str(copied))
    assert out.splitlines()[-2:] == [f"importance for the score: {said}", NO_DIFFERENCE]


def test_of_a_sweep_that_runs_nothing_is_said_that_it_will_see_to_itself(ns: Run, copied: Path) -> None:
    with closing(sqlite3.connect(copied / "search.db")) as database, database:
        columns = "sweep_id, position, key, kind, payload"
        database.execute(f"INSERT INTO outbox ({columns}) SELECT id, 1, 'sweep', 'sweep', '{{}}' FROM sweeps")
    with open_store(locate(copied), create=False) as store:
        sweep = store.sweep(NAME)
        with store.take_lease(sweep.id) as writer:
            writer.update_sweep(state="running")
            _, running, _ = ns("status", NAME, "--store", str(copied))
            writer.update_sweep(state="complete")
    _, ended, _ = ns("status", NAME, "--store", str(copied))
    for words in (f"MLflow lacks 1 message of {NAME}", f"noise-search confirm {NAME}"):
        assert words not in running
        assert words in ended


@pytest.mark.usefixtures("on_path")
@pytest.mark.parametrize(
    ("score", "said"),
    [
        (0.803, f"control no_noise scores 0.800, 0.003 less: this lead says nothing; confirm it: {CONFIRM}"),
        (0.8, f"control no_noise scores 0.800, as much: a difference that says nothing; confirm it: {CONFIRM}"),
        (0.797, f"control no_noise scores 0.800, 0.003 more: a difference that says nothing; confirm it: {CONFIRM}"),
        (0.7, "control no_noise scores 0.800, 0.100 more: no trial beats it; search on, or train without noise"),
        (0.9, None),  # three standard errors
    ],
)
def test_a_lead_over_the_best_control_that_chance_could_make_is_warned_of(
    score: float, said: str | None, ns: Run, copied: Path
) -> None:
    set_score(copied, "number IS NULL", 0.8)
    set_score(copied, "control IS NULL", score)
    for arguments in (("status", NAME), ("sweep", *TINY)):
        _, out, _ = ns(*arguments, "--store", str(copied))
        lines = [line for line in out.splitlines() if line.startswith("control ")]
        assert [line.replace(f" --store {copied}", "") for line in lines] == [said] * (said is not None)
        assert ("with 1 seed on about 360 samples a difference of two such scores" in out) == (0.75 < score < 0.85)


def set_score(folder: Path, of_members: str, score: float) -> None:
    """Let members of the tiny sweep have a score that they did not reach."""
    chosen = f"SELECT id FROM members WHERE {of_members}"
    with closing(sqlite3.connect(folder / "search.db")) as connection, connection:
        connection.execute(
            f"UPDATE results SET scores = json_set(scores, '$.score', {score}) WHERE member_id IN ({chosen})"
        )


def test_where_no_trial_beats_a_control_the_command_that_takes_it_is_named(ns: Run, copied: Path) -> None:
    set_score(copied, "number IS NULL", 0.7)
    set_score(copied, "control = 'constant_1'", 0.8)
    set_score(copied, "control IS NULL", 0.75)
    _, out, _ = ns("status", NAME, "--store", str(copied))
    (line,) = [line for line in out.splitlines() if line.startswith("control ")]
    command = shlex.split(line.partition("take the control: ")[2])  # as it can be copied
    code, _, said = ns(*command[1:])
    assert code == 0
    assert said[0].startswith("control constant_1 by control=constant_1: ")


def test_an_address_in_a_table_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([{"found": "cannot reach a cluster by 127.0.0.1:1234: refused"}])
    assert "127.0.0.1:1234: refused" in capsys.readouterr().out
