"""Where a store lies: one folder with three databases, or one PostgreSQL database and a folder for files."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from noise_search.errors import CallerError
from noise_search.urls import scheme_of, without_password

DEFAULT_STORE = "./noise_search_runs"
DEFAULT_FILES = "./noise_search_files"  # of a store in PostgreSQL
FOLDER_VARIABLE = "NOISE_SEARCH_FOLDER"
SEARCH_FILE = "search.db"
OWNER_FILE = "noise_search_store.json"  # in a folder that keeps the files of a store in PostgreSQL: which
RETRY_SECONDS = 300.0
SEARCH, OPTUNA, MLFLOW = "noise_search", "optuna", "mlflow"  # schemas of a PostgreSQL database
DRIVER = "postgresql+psycopg"
ALLOWED = f"a folder, or {DRIVER}://USER@HOST/DATABASE"

# `?`, `#` and `%` mean something in a database URL, `{` and `}` in Optuna's templates of them.
_UNUSABLE = "?#%{}"


@dataclass(frozen=True, slots=True)
class Location:
    """Folder of a store, absolute, and the addresses of what lies in it; nothing need exist yet.

    Its text, `str(location)`, names the store in messages and behind `--store`, and holds no password.

    Args:
        folder: Of its files: all three databases too, where there is no server.
        server: URL of the PostgreSQL database that holds all three, one schema each; it may hold a password.
        retry_seconds: How long work that has begun waits for a server that is lost.

    >>> Location(Path("/data/runs")).search_url
    'sqlite:////data/runs/search.db'
    >>> str(Location(Path("/data/runs"), "postgresql+psycopg://me:secret@db/noise"))
    'postgresql+psycopg://me@db/noise'
    """

    folder: Path
    server: str | None = field(default=None, repr=False)
    retry_seconds: float = RETRY_SECONDS

    def __str__(self) -> str:
        return str(self.folder) if self.server is None else without_password(self.server)

    @property
    def is_shared(self) -> bool:
        """Whether it is a PostgreSQL database, which drivers on many hosts can share."""
        return self.server is not None

    @property
    def search_url(self) -> str:
        """Database of noise_search itself: sweeps, members, results."""
        return self._database(SEARCH_FILE, SEARCH)

    @property
    def optuna_url(self) -> str:
        """Database of the Optuna studies."""
        return self._database("optuna.db", OPTUNA)

    @property
    def tracking_path(self) -> Path:
        """File of the MLflow mirror in a store without a server; missing where no sweep was tracked."""
        return self.folder / "mlflow.db"

    @property
    def tracking_url(self) -> str:
        """Database of the MLflow mirror."""
        return self._database(self.tracking_path.name, MLFLOW)

    @property
    def artifact_folder(self) -> Path:
        """Folder of checkpoints, cards and other files."""
        return self.folder / "artifacts"

    def sweep_folder(self, name: str) -> Path:
        """Folder of a sweep's files."""
        return self.folder / "sweeps" / name

    def _database(self, file: str, schema: str) -> str:
        if self.server is None:
            return f"sqlite:///{self.folder / file}"
        url = make_url(self.server)
        own = url.query.get("options", ())
        options = " ".join([*([own] if isinstance(own, str) else own), "-ctimezone=UTC", f"-csearch_path={schema}"])
        return url.update_query_dict({"options": options}).render_as_string(hide_password=False)


def locate(
    store: str | Path | Location, *, folder: str | None = None, retry_seconds: float = RETRY_SECONDS
) -> Location:
    """Location named by `store`, a folder that may not exist yet or the URL of a PostgreSQL database.

    Args:
        store: `~` is expanded; a location is itself.
        folder: Of the files of a store in PostgreSQL; None takes $NOISE_SEARCH_FOLDER, else ./noise_search_files.
        retry_seconds: How long work that has begun waits for a server that is lost.

    Raises:
        CallerError: `store` is empty, the URL of something else, names something that is no folder, or cannot stand in
            a database URL; a folder that is to be a store keeps the files of one in PostgreSQL, or the other way round.

    >>> locate("/data/runs").folder.name
    'runs'
    """
    if isinstance(store, Location):
        return store
    if scheme := scheme_of(str(store)):
        server = _server(str(store), scheme)
        files = folder or os.environ.get(FOLDER_VARIABLE) or DEFAULT_FILES
        return Location(_of_its_own(_folder(files, "the folder of the store's files")), server, retry_seconds)
    if folder is not None:
        raise CallerError(f"folder: expected None for a store in a folder, which keeps its files there, got {folder!r}")
    return Location(_without_owner(_folder(store, "store")))


def _server(text: str, scheme: str) -> str:
    """URL of a PostgreSQL database; refused ones are named by their scheme: the rest may hold a password."""
    if scheme not in ("postgresql", DRIVER):
        raise CallerError(f"store: expected {ALLOWED}, got a {scheme}:// address")
    try:
        url = make_url(text).set(drivername=DRIVER)
    except (ArgumentError, ValueError):
        raise CallerError(f"store: expected {ALLOWED}, got a {scheme}:// address that cannot be read") from None
    if "@" in (url.host or ""):
        raise CallerError(f"store: expected {ALLOWED}, got an address with several '@'; write %40 in a password")
    if not url.database:
        raise CallerError(f"store: expected {ALLOWED}, got an address without a database")
    return url.render_as_string(hide_password=False)


def owner_of(folder: Path) -> dict[str, str] | None:
    """`store`, the address, and `key` of the store in PostgreSQL whose files a folder keeps; None where it is nobody's.

    Raises:
        CallerError: Its mark cannot be read.
    """
    mark = folder / OWNER_FILE
    try:
        owner = json.loads(mark.read_text(encoding="utf-8"))
        return {key: str(owner[key]) for key in ("store", "key")}
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CallerError(f"{mark}: expected the mark of a store, got what cannot be read ({error})") from error


def _without_owner(folder: Path) -> Path:
    """A folder that is a store, or may be: none that keeps the files of one in PostgreSQL."""
    if not (folder / SEARCH_FILE).exists() and (owner := owner_of(folder)) is not None:
        raise CallerError(
            f"store: expected a folder of its own, got {folder}, which keeps the files of {owner['store']}; name that "
            "store, or another folder, with --store or NOISE_SEARCH_STORE"
        )
    return folder


def _of_its_own(folder: Path) -> Path:
    """A folder that is no store itself: sweeps of one name would overwrite each other's files."""
    if (folder / SEARCH_FILE).exists():
        raise CallerError(
            f"the folder of the store's files: expected one of its own, got {folder}, which is a store itself; name "
            f"another by ${FOLDER_VARIABLE}"
        )
    return folder


def _folder(text: str | Path, key: str) -> Path:
    if not str(text):
        raise CallerError(f"{key}: expected a folder, got an empty text")
    folder = Path(text).expanduser().absolute()
    try:
        is_file = folder.exists() and not folder.is_dir()
    except OSError as error:
        raise CallerError(f"{key}: expected a folder that can be read, got {folder} ({error.strerror})") from error
    if is_file:
        raise CallerError(f"{key}: expected a folder, got the file {folder}")
    if found := sorted(set(str(folder)) & set(_UNUSABLE)):
        raise CallerError(f"{key}: expected a folder with none of {_UNUSABLE} in its path, got {found} in {folder}")
    return folder
