from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from cli_runs import Refused, here
from sweep_examples import (
    NAME,
    TINY,
    contents,
    finished_store,
)

from noise_search.policy import load_card
from noise_search.schedules import SCHEDULES

SMALL = ("budget.trials=1", "controls.constants=0", "controls.random=0")


# What is asked for, and how each line of the answer begins.
MISTAKES: dict[str, tuple[list[str], list[str]]] = {
    "no command": ([], ["noise-search: the following arguments are required: COMMAND"]),
    "an unknown command": (["swep"], ["noise-search: argument COMMAND: invalid choice: 'swep'"]),
    "an unknown option": (["front", NAME, "--jsno"], ["noise-search: unrecognized arguments: --jsno"]),
    "an unknown option of a sweep": (["sweep", "--trials", "4"], ["noise-search sweep: error: unrecognized arguments"]),
    "no name to show": (["front"], ["noise-search front: the following arguments are required: NAME"]),
    "no name to pick": (["pick"], ["noise-search pick: the following arguments are required: NAME"]),
    "an unknown list": (["list", "noise"], ["list: expected one of ['corruptions', "]),
    "a missing store": (["status"], ["store: expected a store, found none at"]),
    "an empty store": (["sweep", *TINY, "--store", ""], ["store: expected a folder, got an empty text"]),
    "a store on another server": (
        ["front", NAME, "--store", "mysql://me:secret@h/d"],
        ["store: expected a folder, or postgresql+psycopg://USER@HOST/DATABASE, got a mysql:// address"],
    ),
    "an unknown group": (["sweep", "modell=mlp"], ["configuration: expected one of"]),
    "an unknown choice": (
        ["sweep", "model=cnnn"],
        ["model: expected one of ['cnn', 'cnn_bn', 'gru', 'mlp', 'resnet', 'resnet_bn', 'transformer'], got 'cnnn'"],
    ),
    "an unknown key": (["sweep", "train.epoch=3"], ["train: expected one of"]),
    "an unknown noise": (
        ["sweep", "space.terms.inputs.noise={choices:[gausian]}", "space.terms.inputs.magnitude=0.1"],
        ["space.terms.inputs.noise: expected one of"],
    ),
    "an unknown schedule": (
        ["sweep", "space.terms.targets.schedule=linaer"],
        [f"space.terms.targets.schedule.kind: expected one of {sorted(SCHEDULES)}, got 'linaer'"],
    ),
    "a word for a number": (["sweep", "train.epochs=many"], ["train.epochs: expected"]),
    "a number for a word": (["sweep", "optimizer.lr_schedule=3"], ["optimizer.lr_schedule: expected"]),
    "a negative budget": (["sweep", "budget.trials=-4"], ["budget.trials: expected"]),
    "no budget": (["sweep", "budget.trials=0"], ["budget.trials: expected"]),
    "half a trial": (["sweep", "budget.trials=2.5"], ["budget.trials: expected"]),
    "not an override": (["sweep", "garbage"], ["garbage: "]),
    "a name that is a path": (["sweep", "name=../up"], ["name: expected up to 100 letters"]),
    "a folder of one's own that is not there": (["sweep", "--config-dir", "none"], ["config_dir: expected a folder"]),
    "several values without -m": (["sweep", "seed=1,2"], ["seed=1,2: "]),
    "three mistakes at once": (
        ["sweep", "train.epochs=0", "budget.trials=-1", "seed=-1"],
        ["budget.trials: expected", "train.epochs: expected", "seed: expected"],
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_a_line_that_names_the_key_and_nothing_is_written(mistake: str, refused: Refused) -> None:
    arguments, beginnings = MISTAKES[mistake]
    lines = refused(*arguments)
    assert len(lines) == len(beginnings), lines
    for line, beginning in zip(lines, beginnings, strict=True):
        assert line.startswith(beginning)
    assert here() == []


def test_a_password_in_a_store_is_not_repeated(refused: Refused) -> None:
    assert not any("secret" in line for line in refused("status", "--store", "postgresql://me:secret@host/db"))


@pytest.mark.parametrize("name", ["front", "pick", "status"])
def test_an_unknown_name_is_refused_with_the_nearest(name: str, refused: Refused) -> None:
    (line,) = refused(name, "tinny", "--store", str(finished_store()))
    assert line == "sweep: expected one of ['tiny'], got 'tinny'; did you mean 'tiny'?"


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("bset", "did you mean 'best'?"),
        ("min-clean=x", "expected a number in [0, 1], got 'x'"),
        ("min-clean=1", "the highest clean is"),
        ("trial=99", "expected a complete trial, got 99; complete are 0, 1, 2, 3, 4, 5"),
        ("weight=2", "expected a number in [0, 1], got '2'"),
    ],
)
def test_a_bad_rule_is_refused(rule: str, message: str, refused: Refused) -> None:
    (line,) = refused("pick", NAME, "--rule", rule, "-o", "card.yaml", "--store", str(finished_store()))
    assert message in line


def test_a_card_for_a_missing_folder_is_refused(refused: Refused) -> None:
    (line,) = refused("pick", NAME, "-o", "none/card.yaml", "--store", str(finished_store()))
    assert line == "none/card.yaml: cannot write the card: No such file or directory"


@pytest.mark.parametrize(
    "arguments", [("status",), ("front", NAME), ("sweep", *TINY), ("sweep", *TINY, "-m", "seed=0,1")]
)
def test_a_store_that_is_a_file_or_below_one_is_refused(
    arguments: tuple[str, ...], refused: Refused, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mine")
    (line,) = refused(*arguments, "--store", str(tmp_path / "file"))
    assert line == f"store: expected a folder, got the file {tmp_path / 'file'}"
    (line,) = refused(*arguments, "--store", str(tmp_path / "file" / "below"))
    assert line.startswith("store: expected a ")


@pytest.mark.parametrize("arguments", [("status",), ("front", NAME), ("pick", NAME), ("sweep", *TINY)])
def test_a_store_of_a_newer_version_is_refused_untouched(
    arguments: tuple[str, ...], refused: Refused, tmp_path: Path
) -> None:
    store = _copied(tmp_path)
    with closing(sqlite3.connect(store / "search.db")) as connection, connection:
        connection.execute("UPDATE noise_search_version SET version_num = '9999'")
    (line,) = refused(*arguments, "--store", str(store))
    assert "made by a newer noise-search (schema 9999); upgrade noise-search" in line


@pytest.mark.parametrize("arguments", [("status",), ("front", NAME), ("sweep", *TINY)])
def test_a_store_whose_database_is_none_is_refused_untouched(
    arguments: tuple[str, ...], refused: Refused, tmp_path: Path
) -> None:
    store = _copied(tmp_path)
    (store / "search.db").write_bytes(b"this is no database " * 500)
    (line,) = refused(*arguments, "--store", str(store))
    assert line.startswith("store: expected a sound database file")


def _copied(folder: Path) -> Path:
    """The finished store, copied file by file through SQLite, so that nothing stays in a log beside it."""
    store = folder / "store"
    store.mkdir()
    for name in ("search.db", "optuna.db"):
        source, target = sqlite3.connect(finished_store() / name), sqlite3.connect(store / name)
        with closing(source), closing(target):
            source.backup(target)
    (store / ".lock").touch()
    return store


def test_another_search_under_the_same_name_is_refused_key_by_key(refused: Refused) -> None:
    before = contents(finished_store())
    lines = refused("sweep", *TINY, "seed=1", "train.epochs=3", "--store", str(finished_store()))
    assert [line.partition(":")[0] for line in lines] == ["seed", "train.epochs", "name"]
    assert contents(finished_store()) == before


def test_a_card_that_would_run_code_is_refused(tmp_path: Path) -> None:
    from noise_search.errors import CallerError

    card = tmp_path / "card.yaml"
    card.write_text("version: 1\nterms: !!python/object/apply:os.mkdir [made]\n")
    with pytest.raises(CallerError, match=r"expected a YAML card, got the tag tag:yaml\.org,2002:python"):
        load_card(card)
    assert [path.name for path in tmp_path.iterdir()] == ["card.yaml"]
