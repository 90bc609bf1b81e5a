from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import urllib.request
from pathlib import Path

import pytest
from executor_examples import listening
from mlflow_processes import servers_of
from sweep_examples import NAME, command, environment, finished_store, location, tracked_store

from noise_search import cli
from noise_search.cli.looking import _is_loopback
from noise_search.tracking.places import own_place
from noise_search.tracking.serving import links_to

STARTING = "MLflow's address follows in some seconds"


def started(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    call = command("ui", *arguments, "--store", str(tracked_store()))
    return subprocess.Popen(call, cwd=cwd, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_the_ui_tells_where_it_is_once_it_answers_and_ctrl_c_ends_all_of_it(tmp_path: Path) -> None:
    with started(NAME, "--json", cwd=tmp_path) as process:
        assert process.stdout is not None
        shown = "".join(iter(process.stdout.readline, "}\n")) + "}"
        pages = json.loads(shown)
        with urllib.request.urlopen(pages["address"], timeout=30) as answer:
            assert answer.status == 200
        assert listening(sorted(servers_of(tracked_store()))) == {"127.0.0.1"}
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=60)
    assert (process.returncode, out, errors) == (0, "", "")
    assert servers_of(tracked_store()) == {}
    assert list(tmp_path.iterdir()) == []
    links = links_to(own_place(location(tracked_store())), NAME)
    assert (pages["sweep"], pages["trials"]) == tuple(
        f"{pages['address']}/{link}" for link in (links.sweep, links.trials)
    )


def test_the_ui_without_a_name_links_to_all_experiments_and_ends_with_its_terminal(tmp_path: Path) -> None:
    with started(cwd=tmp_path) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        starting = process.stderr.readline()
        first, last = process.stdout.readline(), process.stdout.readline()
        process.send_signal(signal.SIGHUP)
        process.communicate(timeout=60)
    assert (process.returncode, servers_of(tracked_store())) == (0, {})
    assert starting == STARTING + "\n"  # at once, not only to a terminal
    assert first.startswith("MLflow: http://127.0.0.1:")
    assert first.endswith("/#/experiments\n")
    assert last == "Ctrl-C ends it\n"


def test_a_server_that_dies_ends_the_command_with_what_it_was(tmp_path: Path) -> None:
    with started(cwd=tmp_path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        for server in servers_of(tracked_store()):
            os.kill(server, signal.SIGKILL)
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, servers_of(tracked_store())) == (1, {})
    assert "MLflow's server ended with exit code -9" in errors


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.3.2.1", "::1"])
def test_a_loopback_address_is_not_warned_of(host: str) -> None:
    assert _is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.2", "127.example.org", "localhost.example.org", "::"])
def test_any_other_address_is(host: str) -> None:
    assert not _is_loopback(host)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("tinny",), "sweep: expected one of ['tiny'], got 'tinny'; did you mean 'tiny'?"),
        ((NAME,), "ui: expected an MLflow database, found none in"),
        (("--port", "x"), "noise-search ui: argument --port: invalid int value: 'x'"),
    ],
)
def test_a_mistake_is_one_line_before_anything_starts(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["ui", *arguments, "--store", str(finished_store())]) == 2
    said = capsys.readouterr()
    (mistake,) = (line for line in said.err.splitlines() if line != STARTING)
    assert said.out == ""
    assert mistake.startswith(message)


@pytest.mark.parametrize("port", ["in use", "-1", "70000"])
def test_a_port_that_cannot_be_had_is_refused(
    port: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signal, "pause", _not_refused)  # where it waits while it serves
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = str(taken.getsockname()[1]) if port == "in use" else port
        assert cli.main(["ui", NAME, "--port", number, "--store", str(tracked_store())]) == 2
    said = capsys.readouterr()
    (mistake,) = (line for line in said.err.splitlines() if line != STARTING)
    assert said.out == ""
    assert mistake.startswith(f"ui: expected an address and port to listen at, got 127.0.0.1:{number} (")


def _not_refused() -> None:
    raise AssertionError("expected the port to be refused, but it is served")
