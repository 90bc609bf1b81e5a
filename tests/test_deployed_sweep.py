"""A sweep on what docker-compose.yml runs, as plain processes: from an empty PostgreSQL server to runs on MLflow's."""

from __future__ import annotations

import json
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from compose_file import required
from compose_processes import Deployment
from postgres_servers import Server, postgres_server
from real_processes import processes_of
from sweep_examples import BUDGET, CONTROLS, NAME, TINY

pytestmark = pytest.mark.slow  # about a minute on two cores

OVERRIDES = [one for one in TINY if not one.startswith("tracking.")]
SECRETS = {name: f"{name.lower()}-{'0123456789abcdef' * 2}" for name in required()}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """PostgreSQL as the image finds it: with nothing of ours."""
    with postgres_server() as started:
        yield started


@pytest.fixture(scope="module")
def deployment(server: Server) -> Iterator[Deployment]:
    """All services; the sweep has ended, the others run."""
    with tempfile.TemporaryDirectory(prefix="ns", ignore_cleanup_errors=True) as folder:
        started = Deployment(Path(folder), server, SECRETS)
        try:
            started.run("sweep", *OVERRIDES)
            yield started
        finally:
            started.end()


@pytest.fixture
def client(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> Any:
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", SECRETS["NOISE_SEARCH_MLFLOW_PASSWORD"])
    return MlflowClient(deployment.mlflow_url, registry_uri=deployment.mlflow_url)


@pytest.mark.usefixtures("deployment")
def test_its_trials_are_in_postgresql(server: Server) -> None:
    ours = "SELECT count(*) FROM noise_search.members WHERE state = 'complete'"
    optunas = "SELECT count(*) FROM optuna.trials WHERE state = 'COMPLETE'"
    assert [server.ask(one, "noise_search") for one in (ours, optunas)] == [[(BUDGET + CONTROLS,)], [(BUDGET,)]]


def test_its_runs_are_on_the_mlflow_server_with_their_files(client: Any, deployment: Deployment) -> None:
    experiment = client.get_experiment_by_name("noise_search")
    found = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert len(found) == 1 + BUDGET + CONTROLS
    assert {run.info.status for run in found.values()} == {"FINISHED"}
    assert [file.path for file in client.list_artifacts(found[NAME].info.run_id, "card")] == ["card/card.yaml"]
    assert list((deployment.folder / "volumes" / "mlflow").rglob("card.yaml")) != []


@pytest.mark.usefixtures("deployment")
def test_the_mlflow_server_and_the_store_share_no_table(server: Server) -> None:
    count = "SELECT count(*) FROM {}.runs"
    assert server.ask(count.format("public"), "mlflow") == [(1 + BUDGET + CONTROLS,)]
    assert server.ask(count.format("mlflow"), "noise_search") == [(0,)]
    named = "SELECT nspname FROM pg_namespace WHERE nspname IN ('noise_search', 'optuna')"
    assert server.ask(named, "mlflow") == []


def test_the_mlflow_server_asks_for_the_password(deployment: Deployment) -> None:
    address = f"{deployment.mlflow_url}/api/2.0/mlflow/experiments/search?max_results=1"
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(address, timeout=30)


def test_every_service_listens_where_it_is_told_to(deployment: Deployment) -> None:
    running = processes_of(deployment.sessions)
    at = {socket.laddr.ip for one in running for socket in one.net_connections("inet") if socket.status == "LISTEN"}
    assert at - {"::ffff:127.0.0.1"} == {"127.0.0.1"}


def test_no_secret_is_in_a_log(deployment: Deployment) -> None:
    logs = {path.name: path.read_text(errors="replace") for path in deployment.folder.glob("*.log")}
    assert {"sweep.log", "migrate.log", "mlflow.log", "ray-head.log", "ray-worker.log"} <= set(logs)
    assert [(name, secret) for name, text in logs.items() for secret in SECRETS.values() if secret in text] == []


def test_other_commands_find_the_sweep(deployment: Deployment) -> None:
    said = json.loads(deployment.run("noise-search", "status", NAME, "--json"))
    assert (said["state"], said["mlflow_behind"]) == ("complete", 0)


def test_migrations_run_again_change_nothing(deployment: Deployment, server: Server) -> None:
    count = "SELECT count(*) FROM noise_search.members"
    deployment.run("migrate")
    assert server.ask(count, "noise_search") == [(BUDGET + CONTROLS,)]
