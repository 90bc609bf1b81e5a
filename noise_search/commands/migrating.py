"""Make the databases of a store, or bring them up to date."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from noise_search.commands.places import store_location
from noise_search.store import create_schema, schema_versions
from noise_search.tracking.mlflow_sink import create_schema as create_tracking_schema
from noise_search.tracking.upgrading import upgrade_schema


@dataclass(frozen=True, slots=True)
class Migration:
    """What `migrate` found and left.

    Args:
        store: Folder or address, without a password.
        before: Schema of each database, by name; None where there was none.
        after: The same now.
    """

    store: str
    before: Mapping[str, str | None]
    after: Mapping[str, str | None]

    @property
    def changed(self) -> bool:
        """Whether anything was made or brought up to date."""
        return self.before != self.after


def migrate(*, store: str | Path | None = None) -> Migration:
    """Make the three databases of a store, or bring them up to date: ours, Optuna's and MLflow's.

    In a folder a sweep does this by itself when it starts. In PostgreSQL nothing else does: run it once, and again
    after an upgrade of noise_search, Optuna or MLflow, while nobody uses the store. Several at once wait for each
    other, and one that was killed is made up for by the next.

    Args:
        store: Folder or URL of the store.

    Raises:
        CallerError: The store cannot be reached or written, was made by newer versions, or this user may not make
            schemas in it.
    """
    location = store_location(store)
    before = schema_versions(location)
    track = upgrade_schema if location.is_shared else create_tracking_schema
    create_schema(location, more=lambda: track(location.tracking_url))
    return Migration(str(location), before, schema_versions(location))
