"""Whose files a folder keeps: those of one database, because sweeps of one name would overwrite each other's.

A mark in the folder names the database that has taken it. A store that is a folder needs none: its databases lie there.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import Connection, select

from noise_search.errors import CallerError
from noise_search.files import UNFINISHED
from noise_search.store.locations import FOLDER_VARIABLE, OWNER_FILE, Location, owner_of
from noise_search.store.tables import StoreRow


def key_of(connection: Connection) -> str:
    """Key of the store that a connection is to, the same wherever it is and whatever its address."""
    return connection.scalars(select(StoreRow.key)).one()


def refuse_folder_of_another(location: Location, key: str) -> None:
    """Refuse a folder that keeps the files of another database; nothing changes.

    Args:
        location: Of a store in PostgreSQL.
        key: Its own.

    Raises:
        CallerError: So it is, or its mark cannot be read.
    """
    owner = owner_of(location.folder)
    if owner is not None and owner["key"] != key:
        raise CallerError(
            f"the folder of the store's files: expected one of {location}, got {location.folder}, which keeps those of "
            f"another store, {owner['store']}; name another by ${FOLDER_VARIABLE}, or where that store is gone for "
            f"good delete {location.folder / OWNER_FILE}"
        )


def take_folder(location: Location, key: str) -> None:
    """Mark a folder as that of the files of a database; of several that try at once one has it.

    Raises:
        CallerError: It keeps those of another, or cannot be written.
    """
    if owner_of(location.folder) is None:
        try:
            location.folder.mkdir(parents=True, exist_ok=True)
            _place(location.folder / OWNER_FILE, json.dumps({"store": str(location), "key": key}) + "\n")
        except OSError as error:
            raise CallerError(
                f"the folder of the store's files: expected one that can be written, got {location.folder} "
                f"({error.strerror}); name another by ${FOLDER_VARIABLE}"
            ) from error
    refuse_folder_of_another(location, key)


def _place(path: Path, text: str) -> None:
    """Write a file, whole, unless there is one: by a link, which file systems of several hosts make or refuse at once.

    A lock would not do: some of them know none, or each host its own.
    """
    with TemporaryDirectory(dir=path.parent, prefix=UNFINISHED) as folder:
        beside = Path(folder) / path.name
        beside.write_text(text, encoding="utf-8")
        try:
            os.link(beside, path)
        except FileExistsError:
            return
        except OSError:  # a file system without links
            with suppress(FileExistsError), path.open("x", encoding="utf-8") as file:
                file.write(text)
