"""Every command on a store in a real PostgreSQL database, from an empty one to its last sweep removed."""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cli_runs import Run
from mlflow import MlflowClient
from mlflow_server import MlflowServer
from postgres_servers import PASSWORD, Server
from sweep_examples import BUDGET, CONTROLS, NAME, TINY

from noise_search.cli.passwords import passwords_apart

FEW = (
    "--top",
    "1",
    "--randoms",
    "1",
    "--seeds",
    "2",
    "--measure-seeds",
    "2",
    "--constant-trials",
    "2",
    "--no-lr-check",
)
SWEEP = ("sweep", *(word for word in TINY if not word.startswith("tracking.enabled")))


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NOISE_SEARCH_FOLDER", str(tmp_path / "files"))
    monkeypatch.delenv("PGPASSWORD", raising=False)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)  # commands have bare names


@pytest.fixture
def url(postgres: Server) -> str:
    """Address of an empty database, with its password."""
    return postgres.url(postgres.new_database())


@pytest.fixture
def migrated_url(postgres: Server, migrated: str) -> str:
    """Address of a database with all schemas, with its password."""
    return postgres.url(postgres.new_database(migrated))


def json_of(ns: Run, *arguments: str) -> object:
    code, out, said = ns(*arguments, "--json")
    assert code == 0, said
    return json.loads(out)


def dumped(postgres: Server, url: str) -> str:
    """Everything that a database holds, as text."""
    name = url.rpartition("/")[2]
    program = [str(postgres.binaries / "pg_dump"), "-h", "127.0.0.1", "-p", str(postgres.port), "-U", "noise", name]
    password = {**os.environ, "PGPASSWORD": PASSWORD}
    said: str = subprocess.run(program, env=password, check=True, capture_output=True, text=True).stdout
    return said


@pytest.mark.slow
def test_a_sweep_on_a_server_from_migrate_to_rm(ns: Run, postgres: Server, url: str, tmp_path: Path) -> None:
    shown = url.replace(":p%40ss%3Aw%2Frd", "")
    said: list[str] = []

    def run(*arguments: str) -> str:
        code, out, errors = ns(*arguments, "--store", url, "-v")
        said.extend([out, *errors])
        assert code == 0, errors
        return out

    assert "made or brought up to date" in run("migrate")
    assert f"next:   noise-search confirm {NAME} --store {shown}" in run(*SWEEP)
    assert f"{BUDGET} of {BUDGET}" in run("status")
    assert "no_noise" in run("front", NAME)
    assert "confirmation 1" in run("confirm", NAME, *FEW)
    assert "card" in run("pick", NAME, "-o", "card.yaml")
    assert "version" in run("cards", NAME)
    run("report", NAME)
    run("stop", NAME)
    stored = dumped(postgres, url)
    files = {path: path.read_bytes() for path in (tmp_path / "files").rglob("*") if path.is_file()}
    assert {path.name for path in files} >= {"card.yaml", "report.html", "model.safetensors"}
    assert len(postgres.ask("SELECT 1 FROM optuna.trials", url.rpartition("/")[2])) == BUDGET + 2
    assert len(postgres.ask("SELECT 1 FROM mlflow.runs WHERE status = 'RUNNING'", url.rpartition("/")[2])) == 0
    assert len(postgres.ask("SELECT 1 FROM mlflow.runs", url.rpartition("/")[2])) > BUDGET + CONTROLS
    folder = os.environ["NOISE_SEARCH_FOLDER"]
    os.environ["NOISE_SEARCH_FOLDER"] = str(tmp_path / "elsewhere")  # as in another working folder; see `url`
    code, _, (refused,) = ns("rm", NAME, "--yes", "--store", url)
    assert (code, "which keeps none; name it by $NOISE_SEARCH_FOLDER, or leave" in refused) == (2, True)
    os.environ["NOISE_SEARCH_FOLDER"] = folder
    run("rm", NAME, "--yes")
    assert not (tmp_path / "files" / "sweeps" / NAME).exists()
    assert [one["name"] for one in json_of(ns, "status", "--store", url)] == [f"{NAME}-constant"]  # type: ignore[attr-defined]
    for secret in (PASSWORD, "p%40ss%3Aw%2Frd"):
        assert secret not in stored
        assert not any(secret in line for line in said)
        assert not any(secret.encode() in content for content in files.values())
    assert "PGPASSWORD" not in os.environ


@pytest.mark.slow
def test_the_runs_are_on_an_mlflow_server_where_one_is_named_and_else_in_the_same_database(
    ns: Run, postgres: Server, migrated_url: str, mlflow_server: MlflowServer, tmp_path: Path
) -> None:
    def in_database(question: str) -> set[object]:
        return {one for (one,) in postgres.ask(question, migrated_url.rpartition("/")[2])}

    def on_server() -> set[str]:
        experiment = client.get_experiment_by_name("both")
        return {run.info.run_name for run in client.search_runs([experiment.experiment_id])}

    client = MlflowClient(mlflow_server.url, registry_uri=mlflow_server.url)
    command = (*SWEEP, "tracking.experiment=both", "--store", migrated_url)
    found = json_of(ns, *command, f"tracking.uri={mlflow_server.url}")
    assert (found["state"], found["mlflow_behind"]) == ("complete", 0)  # type: ignore[index]
    runs = on_server()
    assert len(runs) == 1 + CONTROLS + BUDGET
    assert in_database("SELECT name FROM mlflow.runs") == set()
    assert json_of(ns, "ui", NAME, "--store", migrated_url)["address"] == mlflow_server.url  # type: ignore[index]
    again = json_of(ns, *command)  # trains nothing
    assert (again["state"], again["mlflow_behind"]) == ("complete", 0)  # type: ignore[index]
    assert in_database("SELECT name FROM mlflow.runs") == runs
    (kept,) = in_database("SELECT artifact_location FROM mlflow.experiments WHERE name = 'both'")
    assert kept == (tmp_path / "files" / "artifacts").as_uri()
    assert json_of(ns, "rm", NAME, "--yes", "--store", migrated_url)["runs"] == len(runs)  # type: ignore[index]
    assert on_server() == runs  # where its last run has not been


def test_a_database_that_nobody_has_migrated_is_named_with_what_to_do(ns: Run, url: str) -> None:
    shown = url.replace(":p%40ss%3Aw%2Frd", "")
    advice = f"store: expected a store, found none at {shown}; make it with: noise-search migrate --store {shown}"
    for command in (("status",), SWEEP, ("rm", NAME, "--yes"), ("ui",)):
        code, out, said = ns(*command, "--store", url)
        assert (code, out, said[-1]) == (2, "", advice)


def test_migrating_again_changes_nothing(ns: Run, migrated_url: str) -> None:
    found = json_of(ns, "migrate", "--store", migrated_url)
    assert isinstance(found, dict)
    assert found["changed"] is False
    assert found["before"] == found["after"]
    assert set(found["after"]) == {"noise_search", "optuna", "mlflow"}
    assert PASSWORD not in json.dumps(found)


def test_the_store_can_be_named_by_configuration_and_by_environment(
    ns: Run, migrated_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    quoted = f"store.url='{migrated_url}'"
    code, out, said = ns(*SWEEP, "store=postgres", quoted, "--preview", "--json")
    assert (code, json.loads(out)["name"]) == (0, NAME), said
    monkeypatch.setenv("NOISE_SEARCH_STORE", migrated_url)
    assert json_of(ns, "status") == []
    code, out, _ = ns(*SWEEP, "--cfg", "job", "--resolve")
    assert code == 0
    assert "url: postgresql+psycopg://noise@127.0.0.1" in out
    assert "p%40ss" not in out


def test_an_address_that_is_missing_is_named_alone_and_not_beside_other_mistakes_when_it_is_there(ns: Run) -> None:
    assert ns(*SWEEP, "store=postgres") == (2, "", ["store.url: expected a value, got none"])
    code, _, said = ns(*SWEEP, "store=postgres", "store.url=postgresql://db/noise", "sampler=best")
    assert (code, len(said)) == (2, 1)
    assert said[0].startswith("sampler: expected one of ")


def test_a_server_that_is_not_there_or_another_password_is_said_in_a_line(ns: Run, migrated_url: str) -> None:
    wrong = migrated_url.replace("p%40ss", "other")
    for command in (("status",), SWEEP):
        code, out, said = ns(*command, "--store", wrong)
        assert (code, out, len(said)) == (2, "", 1)
        assert "lets this user in" in said[0]
        assert "password authentication failed" in said[0]
    code, out, said = ns("status", "--store", "postgresql://noise:other@127.0.0.1:1/noise")
    assert (code, out, len(said)) == (2, "", 1)
    assert "Connection refused" in said[0]
    assert "other" not in said[0]


def test_doctor_looks_at_the_server(ns: Run, migrated_url: str) -> None:
    found = {check["name"]: check for check in json_of(ns, "doctor", "--store", migrated_url)}  # type: ignore[attr-defined]
    assert found["store server"]["found"].startswith("PostgreSQL ")
    assert [found[name]["state"] for name in ("store server", "store privileges", "store", "MLflow database")] == [
        "ok"
    ] * 4
    assert "noise_search 0" in found["store"]["found"]
    assert "mlflow" in found["store"]["found"]


def test_doctor_names_the_grants_that_a_user_lacks(ns: Run, postgres: Server, migrated_url: str) -> None:
    postgres.ask("DO $$ BEGIN CREATE ROLE guest LOGIN PASSWORD 'guest'; EXCEPTION WHEN duplicate_object THEN END $$")
    guest = migrated_url.replace("noise:p%40ss%3Aw%2Frd", "guest:guest")
    found = {check["name"]: check for check in json_of_failing(ns, "doctor", "--store", guest)}
    assert found["store privileges"]["state"] == "fail"
    assert "GRANT USAGE ON SCHEMA noise_search TO guest" in found["store privileges"]["advice"]
    code, _, said = ns("status", "--store", guest)
    assert code == 2
    assert "permission denied" in said[0]


def json_of_failing(ns: Run, *arguments: str) -> list[dict[str, str]]:
    code, out, _ = ns(*arguments, "--json")
    assert code == 1
    found: list[dict[str, str]] = json.loads(out)
    return found


@pytest.mark.parametrize("scheme", ["mysql", "sqlite", "postgres", "https"])
def test_other_addresses_are_refused_with_what_is_allowed(ns: Run, scheme: str) -> None:
    code, out, said = ns("status", "--store", f"{scheme}://me:secret@host/db")
    allowed = f"store: expected a folder, or postgresql+psycopg://USER@HOST/DATABASE, got a {scheme}:// address"
    assert (code, out, said) == (2, "", [allowed])


def test_a_log_line_with_an_address_loses_its_password(ns: Run) -> None:
    record = logging.LogRecord("x", logging.WARNING, __file__, 1, "at postgresql://me:secret@host/db", None, None)
    for options, line in (
        ((), "warning: at postgresql://me@host/db"),
        (("-v",), "WARNING:x:at postgresql://me@host/db"),
    ):
        ns("list", "noises", *options)
        (handler,) = [one for one in logging.getLogger().handlers if type(one) is logging.StreamHandler]
        assert handler.format(record) == line


@pytest.mark.parametrize("override", ["store.url={}", "++store.url={}", "+store.url={}", "store={{url: '{}'}}"])
def test_an_override_with_an_address_loses_its_password_and_it_is_used(
    override: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOISE_SEARCH_STORE", raising=False)
    words = [override.format("postgresql://me:secret@host/db"), "name=a"]
    with passwords_apart(argparse.Namespace(store=None), words) as found:
        assert found == [override.format("postgresql://me@host/db"), "name=a"]
        assert os.environ["PGPASSWORD"] == "secret"  # of this test
    assert "PGPASSWORD" not in os.environ
