"""Where MLflow keeps the runs of a sweep: in a database of the store's own, or on a server that others use too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from noise_search.store import Location, SweepRecord
from noise_search.tracking.clients import is_server
from noise_search.urls import without_password

ORIGIN_TAG = "noise_search.origin"


@dataclass(frozen=True, slots=True)
class Place:
    """Where the runs of one sweep are, and how they are told from those of others.

    Args:
        url: Of a database or a server.
        artifact_folder: Where experiments that are made there keep their files; None leaves that to the server.
        origin: Of the sweep, for on a server several stores may have a sweep of the same name; empty in a store's own
            database, where everything is its own.
    """

    url: str
    artifact_folder: Path | None
    origin: str

    @property
    def is_server(self) -> bool:
        """Whether it is a server."""
        return is_server(self.url)

    @property
    def shown(self) -> str:
        """Its address, without a password, and without what a database is told beside it."""
        return without_password(self.url).partition("?")[0]

    @property
    def is_there(self) -> bool:
        """Whether there can be runs: not in the file of a database that nothing has made yet."""
        scheme, _, rest = self.url.partition("://")
        return not scheme.startswith("sqlite") or Path(rest.partition("?")[0].removeprefix("/")).is_file()

    def is_own(self, tags: Mapping[str, str]) -> bool:
        """Whether what has these tags is of this sweep, given that it has the sweep's name."""
        return not self.origin or tags.get(ORIGIN_TAG) == self.origin

    @property
    def tags(self) -> dict[str, str]:
        """Tags of what is made there."""
        return {ORIGIN_TAG: self.origin} if self.origin else {}


def place_of(location: Location, sweep: SweepRecord) -> Place:
    """Where a sweep is mirrored, as its last tracked run had it.

    Args:
        location: Of its store.
        sweep: As the store has it.
    """
    uri = tracking_uri(sweep.config)
    return own_place(location) if uri is None else Place(uri, None, sweep.created_at.isoformat())


def own_place(location: Location) -> Place:
    """A store's own database."""
    return Place(location.tracking_url, location.artifact_folder, "")


def tracking_uri(config: Mapping[str, object]) -> str | None:
    """Address of the server that a configuration names; None for the store's own database."""
    tracking = cast(Mapping[str, str | None], config.get("tracking", {}))
    return tracking.get("uri")  # sweeps of earlier versions have none
