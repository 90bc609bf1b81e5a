"""Settings and fixtures that every test shares."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import settings
from mlflow_server import MlflowServer
from requirements import needs
from s3_server import S3Server

pytest_plugins = ("cli_runs", "ray_clusters", "script_modules", "store_places")  # fixtures of what they are named for

# Machines are shared, so an example may be slow; the same examples every time, and none kept on disk.
settings.register_profile("repository", deadline=None, derandomize=True, database=None)
settings.load_profile("repository")

# Test modules import MLflow to read what the sink wrote; it must not report that to anybody.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")

# Ray reads these when it is imported: on this machine alone, and for those alone who know the token.
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")


@pytest.fixture(autouse=True)
def _no_console_of_earlier_commands() -> None:
    """A command that ran in this process logs to standard error as it was then, which is closed by now."""
    for handler in list(logging.getLogger().handlers):
        if type(handler) is logging.StreamHandler:
            logging.getLogger().removeHandler(handler)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real data sets that are not shipped: $NOISE_SEARCH_TEST_DATA, else shared/data beside the checkout."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("NOISE_SEARCH_TEST_DATA", beside))
    what = f"real data: a folder fashion-mnist in {folder}; name another with NOISE_SEARCH_TEST_DATA"
    needs((folder / "fashion-mnist").is_dir(), what)
    return folder


@pytest.fixture(scope="session")
def mlflow_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without runs; making one takes seconds, copying it does not."""
    from noise_search.tracking.mlflow_sink import create_schema

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    create_schema(f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


@pytest.fixture
def mlflow_url(mlflow_template: Path, tmp_path: Path) -> str:
    shutil.copyfile(mlflow_template, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """A real MLflow server on loopback; starting one takes about ten seconds. A test that kills it starts it again."""
    server = MlflowServer(tmp_path_factory.mktemp("server"))
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3-compatible server on loopback."""
    server = S3Server(tmp_path_factory.mktemp("s3"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def bucket(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """URL of a bucket of the S3 server, which clients find by their environment."""
    import fsspec

    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    fsspec.filesystem("s3").mkdirs("s3://bucket", exist_ok=True)
    return "s3://bucket"
