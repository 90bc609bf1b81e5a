from __future__ import annotations

import json
import os
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from mlflow_processes import servers_of
from sweep_examples import BUDGET, CONTROLS, NAME, tracked_store

from noise_search.errors import CallerError
from noise_search.store import locate
from noise_search.tracking.places import Place, own_place
from noise_search.tracking.serving import PORT, Server, free_port, links_to, serve

pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy is deprecated:sqlalchemy.exc.SADeprecationWarning"
)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a server on the tiny sweep's store, started from an empty folder that stays empty."""
    here, empty = Path.cwd(), tmp_path_factory.mktemp("empty")
    location = locate(tracked_store())
    os.chdir(empty)
    try:
        with serve(location.tracking_url, location.artifact_folder) as server:
            yield server.address
    finally:
        os.chdir(here)
    assert servers_of(tracked_store()) == {}
    assert list(empty.iterdir()) == []


def posted(address: str, path: str, **content: object) -> dict[str, object]:
    request = urllib.request.Request(
        f"{address}/api/2.0/mlflow/{path}", json.dumps(content).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        found: dict[str, object] = json.load(answer)
    return found


def test_the_server_answers_on_a_loopback_address_with_its_pages(served: str) -> None:
    assert urlsplit(served).hostname == "127.0.0.1"
    with urllib.request.urlopen(served, timeout=30) as answer:
        assert b"MLflow" in answer.read()


def test_the_links_name_the_sweeps_own_run_and_the_experiment_that_holds_its_trials(served: str) -> None:
    links = links_to(own_place(locate(tracked_store())), NAME)
    experiment, run = links.sweep.removeprefix("#/experiments/").partition("?")[0].split("/runs/")
    assert links.trials == f"#/experiments/{experiment}/runs?workflowType=machine_learning"
    tagged = f"tags.`mlflow.parentRunId` = '{run}'"
    found = posted(served, "runs/search", experiment_ids=[experiment], filter=tagged, max_results=100)
    children = found["runs"]
    assert isinstance(children, list)
    assert len(children) == BUDGET + CONTROLS


def test_files_of_a_run_can_be_looked_at(served: str) -> None:
    run = links_to(own_place(locate(tracked_store())), NAME).sweep.partition("/runs/")[2].partition("?")[0]
    with urllib.request.urlopen(f"{served}/get-artifact?run_uuid={run}&path=card/card.yaml", timeout=30) as answer:
        assert answer.read() == (tracked_store() / "sweeps" / NAME / "card.yaml").read_bytes()


def test_two_processes_serve_and_no_more(served: str) -> None:
    assert served
    assert len(servers_of(tracked_store())) == 2  # MLflow's command, and the one worker that it starts


def test_no_file_of_another_machine_is_served_under_a_foreign_name(served: str) -> None:
    request = urllib.request.Request(served, headers={"Host": "evil.example"})
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(request, timeout=30)


def test_a_sweep_without_runs_has_no_links_and_is_told_how_it_gets_them(mlflow_url: str) -> None:
    with pytest.raises(CallerError, match=r"expected a run of sweep 'tiny' in sqlite:.*, got none; .*tracking.enabled"):
        links_to(Place(mlflow_url, None, ""), NAME)


def test_a_port_in_use_is_refused_if_it_was_asked_for() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(CallerError, match=rf"got 127\.0\.0\.1:{port} \(Address already in use\)"):
            free_port("127.0.0.1", port)
    assert free_port("127.0.0.1", port) == port


def test_without_a_port_it_is_5000_or_a_free_one() -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", PORT))
            taken.listen()
        except OSError:  # in use by others: as good
            pass
        chosen = free_port("127.0.0.1", None)
        assert chosen != PORT
        with socket.socket() as other:
            other.bind(("127.0.0.1", chosen))


@contextmanager
def both(port: int | None) -> Iterator[list[Server | CallerError]]:
    """Two servers that are started at the same time, or what refused one of them."""
    location = locate(tracked_store())
    with ExitStack() as ended, ThreadPoolExecutor(2) as pool:

        def start() -> Server | CallerError:
            try:
                return ended.enter_context(serve(location.tracking_url, location.artifact_folder, port=port))
            except CallerError as error:
                return error

        yield [future.result() for future in [pool.submit(start) for _ in range(2)]]


def test_servers_that_start_at_the_same_time_have_a_port_each() -> None:
    with both(None) as found:
        servers = [one for one in found if isinstance(one, Server)]
        assert len({server.address for server in servers}) == 2
        for server in servers:
            server.look()
            with urllib.request.urlopen(server.address, timeout=30) as answer:
                assert answer.status == 200


def test_of_two_that_start_at_the_same_time_at_one_port_the_later_is_refused() -> None:
    with both(free_port("127.0.0.1", 0)) as found:
        (refused,) = (one for one in found if isinstance(one, CallerError))
        assert "in use); name another --port" in refused.mistakes[0]


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(CallerError, match=r"ui: expected an address and port to listen at, got 192\.0\.2\.1:5000"):
        free_port("192.0.2.1", None)


def test_a_database_that_mlflow_refuses_is_told_with_its_last_words_and_leaves_no_process(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"this is no database " * 500)
    with (
        pytest.raises(RuntimeError, match=r"MLflow's server ended with exit code \d+: .*not a database"),
        serve(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path),
    ):
        pass
    assert servers_of(tmp_path) == {}
