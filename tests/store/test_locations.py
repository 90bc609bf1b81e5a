from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import make_url

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


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg"])
def test_a_postgresql_database_is_three_schemas_and_a_folder_of_files(tmp_path: Path, scheme: str) -> None:
    location = locate(f"{scheme}://me:se%40cret@db:5433/noise?sslmode=require", folder=str(tmp_path))
    addresses = {
        "noise_search": location.search_url,
        "optuna": location.optuna_url,
        "mlflow": location.tracking_url,
    }
    for schema, address in addresses.items():
        url = make_url(address)
        assert (url.drivername, url.username, url.password) == ("postgresql+psycopg", "me", "se@cret")
        assert (url.host, url.port, url.database, url.query["sslmode"]) == ("db", 5433, "noise", "require")
        assert str(url.query["options"]).endswith(f"-csearch_path={schema}")
    assert location.artifact_folder == tmp_path / "artifacts"
    assert location.is_shared


def test_options_of_an_address_are_kept() -> None:
    location = locate("postgresql://me@db/noise?options=-cstatement_timeout%3D60s")
    assert str(make_url(location.search_url).query["options"]).startswith("-cstatement_timeout=60s -c")


def test_a_location_is_shown_without_its_password() -> None:
    location = locate("postgresql://me:secret@db/noise?password=other&sslmode=require")
    assert str(location) == "postgresql+psycopg://me@db/noise?sslmode=require"
    assert "secret" not in repr(location)
    assert "other" not in repr(location)


def test_files_of_a_database_lie_in_the_folder_that_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOISE_SEARCH_FOLDER", str(tmp_path / "a"))
    assert locate("postgresql://db/noise").folder == tmp_path / "a"
    assert locate("postgresql://db/noise", folder=str(tmp_path / "b")).folder == tmp_path / "b"
    monkeypatch.delenv("NOISE_SEARCH_FOLDER")
    monkeypatch.chdir(tmp_path)
    assert locate("postgresql://db/noise").folder == tmp_path / "noise_search_files"


def test_a_folder_that_is_a_store_is_refused_to_a_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "search.db").touch()
    monkeypatch.setenv("NOISE_SEARCH_FOLDER", str(tmp_path))
    with pytest.raises(CallerError, match=r"expected one of its own, got .* name another by \$NOISE_SEARCH_FOLDER"):
        locate("postgresql://me@db/noise")


def test_a_folder_keeps_its_files_itself(tmp_path: Path) -> None:
    with pytest.raises(CallerError, match=r"folder: expected None for a store in a folder.*got 'there'"):
        locate(tmp_path, folder="there")


@pytest.mark.parametrize("address", ["postgresql://me:secret@host", "postgresql://me:secret@host:port/db"])
def test_an_incomplete_address_is_refused_without_its_password(address: str) -> None:
    with pytest.raises(CallerError, match="expected a folder, or postgresql") as caught:
        locate(address)
    assert "secret" not in str(caught.value)


def test_a_password_with_an_at_sign_is_asked_to_be_written_otherwise() -> None:
    with pytest.raises(CallerError, match="write %40 in a password") as caught:
        locate("postgresql://me:sec@ret@host/db")
    assert "ret@" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["mysql", "sqlite", "postgresql+asyncpg", "https"])
def test_another_address_is_refused_with_what_is_allowed(scheme: str) -> None:
    with pytest.raises(CallerError, match=r"expected a folder, or postgresql\+psycopg://USER@HOST/DATABASE") as caught:
        locate(f"{scheme}://me:secret@host/db")
    assert "secret" not in str(caught.value)


def test_an_empty_text_is_refused() -> None:
    with pytest.raises(CallerError, match="got an empty text"):
        locate("")


@pytest.mark.parametrize("character", "?#%{}")
def test_a_folder_that_cannot_stand_in_a_database_url_is_refused(tmp_path: Path, character: str) -> None:
    with pytest.raises(CallerError, match="with none of"):
        locate(tmp_path / f"a{character}b")
