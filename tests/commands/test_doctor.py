from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement
from sweep_examples import finished_store, tracked_store

import noise_search
from noise_search.commands import Check, doctor
from noise_search.commands.checks import package_check
from noise_search.commands.diagnosis import available_cores, room
from noise_search.data.fashion_mnist import FILES

pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy is deprecated:sqlalchemy.exc.SADeprecationWarning"
)


@pytest.fixture(autouse=True)
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    monkeypatch.delenv("NOISE_SEARCH_STORE", raising=False)
    monkeypatch.delenv("NOISE_SEARCH_DATA", raising=False)


def checks(store: Path | None = None) -> dict[str, Check]:
    return {check.name: check for check in doctor(store=store)}


def test_a_sound_installation_without_a_store_is_sound_and_nothing_is_made() -> None:
    assert doctor is noise_search.doctor
    found = checks()
    assert {check.name: check for check in found.values() if check.state == "fail"} == {}
    assert found["torch"].found == torch.__version__
    assert found["data digits"].found == "1,797 samples"
    assert "not made yet" in found["store folder"].found
    assert list(Path.cwd().iterdir()) == []


def test_a_store_with_a_tracked_sweep_is_opened_with_mlflows_database() -> None:
    found = checks(tracked_store())
    assert found["store"] == Check("store", "ok", "1 sweeps, schema as expected")
    assert found["MLflow database"].state == "ok"
    assert checks(finished_store())["MLflow database"].found.startswith("none yet")


def test_an_empty_mlflow_database_fails_and_is_left_empty(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    database = tmp_path / "store" / "mlflow.db"
    database.touch()
    assert checks(tmp_path / "store")["MLflow database"].state == "fail"
    assert database.stat().st_size == 0


def test_a_store_of_a_newer_version_fails_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    for name in ("search.db", "optuna.db"):
        shutil.copyfile(finished_store() / name, tmp_path / "store" / name)
    with closing(sqlite3.connect(tmp_path / "store" / "search.db")) as connection, connection:
        connection.execute("UPDATE noise_search_version SET version_num = '9999'")
    check = checks(tmp_path / "store")["store"]
    assert check.state == "fail"
    assert check.found.endswith("(schema 9999)")
    assert check.advice.startswith("upgrade noise-search, or name another store")


@pytest.mark.parametrize(("file", "check"), [("search.db", "store"), ("mlflow.db", "MLflow database")])
def test_a_file_that_is_no_database_fails_and_the_other_checks_go_on(file: str, check: str, tmp_path: Path) -> None:
    (tmp_path / file).write_bytes(b"this is no database " * 500)
    found = checks(tmp_path)
    assert found[check].state == "fail"
    assert "\n" not in found[check].found
    assert found["data digits"].state == "ok"


def test_a_folder_below_a_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "locked").write_text("mine")
    check = checks(tmp_path / "locked" / "store")["store folder"]
    assert (check.state, check.advice) == ("fail", "name another folder with --store or NOISE_SEARCH_STORE")


@pytest.mark.parametrize(("free", "state"), [(0, "fail"), (2**20, "fail"), (2**29, "warn"), (2**30, "ok")])
def test_little_room_is_warned_of_and_none_fails(free: int, state: str) -> None:
    assert room(free) == state


@pytest.mark.parametrize(
    ("requirement", "state", "found"),
    [
        ("torch>=2", "ok", torch.__version__),
        ("torch>=99", "fail", f"{torch.__version__}, expected >=99"),
        ("no-such-package>=1", "fail", "not installed, expected >=1"),
    ],
)
def test_a_package_that_is_missing_or_of_another_version_fails_with_the_command_that_helps(
    requirement: str, state: str, found: str
) -> None:
    check = package_check(Requirement(requirement))
    assert (check.state, check.found) == (state, found)
    assert check.advice == ("" if state == "ok" else f"pip install -c constraints.txt '{requirement}'")


def test_more_threads_than_cores_are_warned_of() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(available_cores() + 1)
    try:
        check = checks()["threads"]
    finally:
        torch.set_num_threads(before)
    assert (check.state, check.advice.partition(",")[0]) == ("warn", f"set OMP_NUM_THREADS={available_cores()}")


def test_data_of_files_that_are_not_there_are_absent_which_is_no_failure_with_what_to_do() -> None:
    check = checks()["data fashion_mnist"]
    assert (check.state, check.found) == ("absent", "none of its 4 files in data/fashion-mnist")
    assert check.advice.startswith("only data=fashion_mnist needs them: put there the four files that github.com/")
    assert check.advice.endswith("or name their folder with data.root=FOLDER")


def test_files_of_a_data_set_that_are_not_the_published_ones_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path.cwd() / "fashion-mnist"
    folder.mkdir()
    (folder / FILES[0].name).write_bytes(b"not gzip")
    monkeypatch.setenv("NOISE_SEARCH_DATA", str(Path.cwd()))
    found = [check for check in doctor() if check.name == "data fashion_mnist"]
    assert {check.state for check in found} == {"fail"}
    assert all(file.name in " ".join(check.found for check in found) for file in FILES)


def test_the_published_files_are_found_by_the_variable(real_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOISE_SEARCH_DATA", str(real_data))
    assert checks()["data fashion_mnist"] == Check("data fashion_mnist", "ok", "70,000 samples")
