"""A folder keeps the files of one store, whoever comes first and from which side."""

from __future__ import annotations

import errno
import json
import os
import threading
from pathlib import Path

import pytest
from postgres_servers import Server
from store_examples import new_sweep, rows

from noise_search.errors import CallerError
from noise_search.store import Location, create_schema, locate, open_store
from noise_search.store.ownership import take_folder


@pytest.fixture
def other(shared: Location, postgres: Server, migrated: str) -> Location:
    """Another store in PostgreSQL, whose files are to lie in the same folder."""
    found = locate(postgres.url(postgres.new_database(migrated)), folder=str(shared.folder))
    rows(found, "UPDATE stores SET key = 'other'")  # the databases of tests are copies of one
    return found


def taken(location: Location) -> Location:
    with open_store(location, create=True) as store:
        new_sweep(store)
    return location


def test_the_folder_of_a_database_says_whose_it_is_without_a_password(shared: Location) -> None:
    taken(shared)
    mark = (shared.folder / "noise_search_store.json").read_text(encoding="utf-8")
    assert json.loads(mark) == {"store": str(shared), "key": rows(shared, "SELECT key FROM stores")[0][0]}
    assert "p%40ss" not in mark


@pytest.mark.parametrize("create", [True, False], ids=["to sweep", "to look or remove"])
def test_the_folder_of_one_database_is_refused_to_another(shared: Location, other: Location, create: bool) -> None:
    taken(shared)
    before = (shared.folder / "noise_search_store.json").read_bytes()
    with pytest.raises(CallerError, match=r"which keeps those of another store, .*; name another by \$NOISE_SEARCH_FO"):
        open_store(other, create=create)
    assert (shared.folder / "noise_search_store.json").read_bytes() == before
    with open_store(shared, create=True) as store:
        assert [sweep.name for sweep in store.sweeps()] == ["digits"]


def test_a_folder_is_free_again_where_its_mark_was_deleted(shared: Location, other: Location) -> None:
    taken(shared)
    (shared.folder / "noise_search_store.json").unlink()
    taken(other)
    with pytest.raises(CallerError, match="which keeps those of another store"):
        open_store(shared, create=True)


def test_a_database_keeps_its_folder_when_its_address_changes(shared: Location) -> None:
    taken(shared)
    renamed = locate(f"{shared.server}?application_name=other", folder=str(shared.folder))
    with open_store(renamed, create=True) as store:
        assert [sweep.name for sweep in store.sweeps()] == ["digits"]


def test_looking_takes_no_folder(shared: Location) -> None:
    open_store(shared, create=False).close()
    assert not shared.folder.exists()


def test_the_folder_of_a_database_is_no_store_itself(shared: Location) -> None:
    taken(shared)
    with pytest.raises(CallerError, match=r"which keeps the files of postgresql.*; name that store, or another"):
        locate(shared.folder)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"store": "postgresql://db/noise"}'])
def test_a_mark_that_cannot_be_read_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "noise_search_store.json").write_text(content, encoding="utf-8")
    with pytest.raises(CallerError, match=r"store\.json: expected the mark of a store, got what cannot be read"):
        locate(tmp_path)


def test_a_folder_that_is_a_store_stays_one_whatever_else_lies_in_it(tmp_path: Path) -> None:
    create_schema(locate(tmp_path))
    (tmp_path / "noise_search_store.json").write_text("{}", encoding="utf-8")
    assert locate(tmp_path).folder == tmp_path


def test_of_several_that_take_a_folder_at_once_one_has_it(tmp_path: Path) -> None:
    places = [Location(tmp_path, f"postgresql+psycopg://db/noise{number}") for number in range(8)]
    ready, refused = threading.Barrier(len(places)), []

    def take(place: Location) -> None:
        ready.wait()
        try:
            take_folder(place, str(place))
        except CallerError:
            refused.append(str(place))

    threads = [threading.Thread(target=take, args=(place,)) for place in places]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    owner = json.loads((tmp_path / "noise_search_store.json").read_text(encoding="utf-8"))["key"]
    assert sorted([owner, *refused]) == sorted(map(str, places))
    assert [path.name for path in tmp_path.iterdir()] == ["noise_search_store.json"]


def test_a_file_system_without_links_takes_the_mark_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    place = Location(tmp_path, "postgresql+psycopg://db/noise")
    take_folder(place, "mine")
    take_folder(place, "mine")
    with pytest.raises(CallerError, match="which keeps those of another store"):
        take_folder(place, "other")


def test_a_folder_that_cannot_be_made_is_named_with_what_names_another(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CallerError, match=r"that can be written, got .* \(.*\); name another by \$NOISE_SEARCH_FOLDER"):
        take_folder(Location(tmp_path / "file" / "below", "postgresql+psycopg://db/noise"), "mine")
