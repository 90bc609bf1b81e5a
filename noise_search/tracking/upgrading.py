"""MLflow's tables on a database server: made and brought up to date by `noise-search migrate` alone."""

from __future__ import annotations

import os

from noise_search.tracking.mlflow_sink import connect


def upgrade_schema(tracking_url: str) -> None:
    """Create MLflow's tables on a server, or bring them up to date, by MLflow's own migrations.

    The caller sees to it that one process does this at a time, and no other opens tables that are not made yet.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    from mlflow.db import upgrade

    upgrade.callback(tracking_url)
    connect(tracking_url)  # which makes the first experiment
