from __future__ import annotations

from pathlib import Path

import pytest

from noise_search.errors import CallerError
from noise_search.store import Location, locate


def test_a_store_is_three_databases_and_the_artifacts_in_one_folder() -> None:
    location = Location(Path("/data/runs"))
    assert location.search_url == "sqlite:////data/runs/search.db"
    assert location.optuna_url == "sqlite:////data/runs/optuna.db"
    assert location.tracking_url == "sqlite:////data/runs/mlflow.db"
    assert location.artifact_folder == Path("/data/runs/artifacts")


def test_a_relative_folder_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert locate("runs").folder == tmp_path / "runs"


def test_the_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert locate("~/runs").folder == tmp_path / "runs"


def test_naming_a_place_makes_nothing(tmp_path: Path) -> None:
    locate(tmp_path / "runs")
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes").touch()
    with pytest.raises(CallerError, match=r"expected a folder, got the file .*notes"):
        locate(tmp_path / "notes")


def test_a_url_is_refused_without_repeating_its_password() -> None:
    with pytest.raises(CallerError, match=r"expected a folder, got a postgresql\+psycopg:// address") as caught:
        locate("postgresql+psycopg://me:secret@host/db")
    assert "secret" not in str(caught.value)


def test_an_empty_text_is_refused() -> None:
    with pytest.raises(CallerError, match="got an empty text"):
        locate("")


@pytest.mark.parametrize("character", "?#%{}")
def test_a_folder_that_cannot_stand_in_a_database_url_is_refused(tmp_path: Path, character: str) -> None:
    with pytest.raises(CallerError, match="with none of"):
        locate(tmp_path / f"a{character}b")
