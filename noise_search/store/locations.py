"""Where a store lies: one folder, three databases and the artifacts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from noise_search.errors import CallerError

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
# `?`, `#` and `%` mean something in a database URL, `{` and `}` in Optuna's templates of them.
_UNUSABLE = "?#%{}"


@dataclass(frozen=True, slots=True)
class Location:
    """Folder of a store, absolute, and the addresses of what lies in it; nothing need exist yet.

    >>> Location(Path("/data/runs")).search_url
    'sqlite:////data/runs/search.db'
    """

    folder: Path

    @property
    def search_url(self) -> str:
        """Database of noise_search itself: sweeps, members, results."""
        return f"sqlite:///{self.folder / 'search.db'}"

    @property
    def optuna_url(self) -> str:
        """Database of the Optuna studies."""
        return f"sqlite:///{self.folder / 'optuna.db'}"

    @property
    def tracking_path(self) -> Path:
        """File of the MLflow mirror; missing where no sweep was tracked."""
        return self.folder / "mlflow.db"

    @property
    def tracking_url(self) -> str:
        """Database of the MLflow mirror."""
        return f"sqlite:///{self.tracking_path}"

    @property
    def artifact_folder(self) -> Path:
        """Folder of checkpoints, cards and other files."""
        return self.folder / "artifacts"


def locate(text: str | Path) -> Location:
    """Location named by `text`, a folder that may not exist yet; `~` is expanded.

    Raises:
        CallerError: `text` is empty, a URL, names something that is no folder, or cannot stand in a
            database URL.

    >>> locate("/data/runs").folder.name
    'runs'
    """
    raise_if_url(str(text))
    if not str(text):
        raise CallerError("store: expected a folder, got an empty text")
    folder = Path(text).expanduser().absolute()
    try:
        is_file = folder.exists() and not folder.is_dir()
    except OSError as error:
        raise CallerError(f"store: expected a folder that can be read, got {folder} ({error.strerror})") from error
    if is_file:
        raise CallerError(f"store: expected a folder, got the file {folder}")
    if found := sorted(set(str(folder)) & set(_UNUSABLE)):
        raise CallerError(f"store: expected a folder with none of {_UNUSABLE} in its path, got {found} in {folder}")
    return Location(folder)


def raise_if_url(text: str) -> None:
    """Refuse a URL, naming only its scheme: the rest may hold a password."""
    if match := _URL.match(text):
        raise CallerError(
            f"store: expected a folder, got a {match[1]}:// address; shared databases come in a later version"
        )
