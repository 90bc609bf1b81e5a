"""MLflow's tables on a database server: made and brought up to date by `noise-search migrate` alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from noise_search.tracking.clients import connect

_POOL = "MLFLOW_SQLALCHEMYSTORE_POOLCLASS"


def upgrade_schema(tracking_url: str) -> None:
    """Create MLflow's tables on a server, or bring them up to date, by MLflow's own migrations.

    The caller sees to it that one process does this at a time, and no other opens tables that are not made yet.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    from mlflow.db import upgrade

    with _without_pool():
        upgrade.callback(tracking_url)
    connect(tracking_url)  # which makes the first experiment


@contextmanager
def _without_pool() -> Iterator[None]:
    """Have MLflow close each connection after its use: nobody closes the engine that it upgrades with."""
    before = os.environ.get(_POOL)
    os.environ[_POOL] = "NullPool"
    try:
        yield
    finally:
        os.environ.pop(_POOL)
        if before is not None:
            os.environ[_POOL] = before
