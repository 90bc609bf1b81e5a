"""What becomes of tasks when their workers or nodes are lost, and which clusters are refused."""

from __future__ import annotations

import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from executor_examples import (
    POLICIES,
    Told,
    is_running,
    job,
    long_job,
    nobody,
    numbers,
    on_ray,
    own_setup,
    ray_workers,
    wait_until,
    when_trained,
    workbench,
)
from ray_clusters import ray_head
from real_processes import free_port
from requirements import needs

from noise_search.errors import CallerError
from noise_search.execute import ray_connections
from noise_search.execute.contract import Executor, LostClusterError, LostWorkerError
from noise_search.training import Job, make_workbench, run_job

TESTS = Path(__file__).resolve().parent.parent
MINUTES = job(POLICIES[:1], epochs=400)
LOCAL = """
from executor_examples import descendants, job, listening, nobody, numbers, workbench
from noise_search.execute.making import make_executor
from noise_search.executor_specs import RaySpec
executor = make_executor(RaySpec(), workbench(), "fused", "looped")
executor.submit(1, job())
print(executor.next(nobody).error, executor.places > 0)
print(sorted(listening(descendants())))
executor.close()
"""

EARLY = """
import ray
ray.util.get_node_ip_address = lambda: "192.0.2.7"  # as where Ray was imported before it was told
from executor_examples import workbench
from noise_search.errors import CallerError
from noise_search.execute.making import make_executor
from noise_search.executor_specs import RaySpec
try:
    make_executor(RaySpec(), workbench(), "fused", "looped")
except CallerError as error:
    print(error, ray.is_initialized())
"""


def kill_ray_workers() -> None:
    for pid in ray_workers():
        os.kill(pid, signal.SIGKILL)


def submitted(one: Job, **keys: Any) -> Iterator[Executor]:
    executor = on_ray(**keys)
    executor.submit(1, one)
    yield executor
    executor.close()


@pytest.mark.usefixtures("ray_cluster")
def test_a_job_whose_worker_is_killed_begins_again_and_its_epochs_count_once() -> None:
    told = Told(kill_ray_workers)
    for executor in submitted(job(epochs=40)):
        found = executor.next(told)
        assert (found.ticket, found.error) == (1, None)
        assert numbers(found.results) == numbers(run_job(job(epochs=40), workbench())[0])
    assert told.acted
    assert told.epochs == 40 * len(POLICIES)


@pytest.mark.usefixtures("ray_cluster")
def test_it_is_lost_where_it_may_not_begin_again() -> None:
    for executor in submitted(long_job(), max_retries=0):
        found = executor.next(when_trained(kill_ray_workers))
        assert isinstance(found.error, LostWorkerError)
        assert "is gone: WorkerCrashedError" in str(found.error)


@pytest.mark.usefixtures("ray_cluster")
def test_a_driver_that_was_elsewhere_for_long_does_not_take_its_workers_for_silent() -> None:
    told = Told(lambda: time.sleep(8.0))
    for executor in submitted(job(epochs=20), max_retries=0, silent_seconds=4.0):
        found = executor.next(told)
        assert (found.error, told.acted) == (None, True)


@pytest.mark.usefixtures("ray_cluster")
def test_a_worker_that_hangs_is_killed_and_its_job_is_lost() -> None:
    hanging: list[int] = []

    def stop() -> None:
        hanging.extend(ray_workers())
        for pid in hanging:
            os.kill(pid, signal.SIGSTOP)

    for executor in submitted(long_job(), max_retries=0, silent_seconds=20.0):
        found = executor.next(when_trained(stop))
        assert isinstance(found.error, LostWorkerError)
        assert "no sign of life" in str(found.error)
    assert hanging
    assert wait_until(lambda: not any(is_running(pid) for pid in hanging))


def test_a_job_outlives_its_node_on_one_that_joins(ray_cluster: Any) -> None:
    nodes = [ray_cluster.add_node(num_cpus=1, resources={"away": 1})]

    def lose() -> None:
        for pid in ray_workers():
            os.kill(pid, signal.SIGSTOP)  # that it does not end before its node does
        ray_cluster.remove_node(nodes.pop())
        nodes.append(ray_cluster.add_node(num_cpus=1, resources={"away": 1}))

    told = Told(lose)
    for executor in submitted(MINUTES, resources={"away": 1.0}):
        assert executor.places == 1
        found = executor.next(told)
        assert found.error is None
        assert numbers(found.results) == numbers(run_job(MINUTES, workbench())[0])
    assert told.acted
    assert told.epochs == 400
    ray_cluster.remove_node(nodes.pop())


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"gpus": 0.5}, "1 CPU, 0.5 GPU, got none; the most that one of its 1 has is 2 CPU, 0 GPU"),
        ({"cpus": 3.0}, "3 CPU, got none; the most that one of its 1 has is 2 CPU"),
        ({"resources": {"quantum": 1.0}}, "1 CPU, 1 quantum, got none"),
    ],
)
def test_what_no_node_has_is_told_at_once(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(CallerError) as refused:
        on_ray(**keys)
    assert words in str(refused.value)


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize(("keys", "places"), [({}, 2), ({"cpus": 2.0}, 1), ({"cpus": 0.25}, 8), ({"places": 5}, 5)])
def test_there_are_as_many_places_as_the_cluster_has_room_for(keys: dict[str, Any], places: int) -> None:
    executor = on_ray(**keys)
    assert executor.places == places
    executor.close()


@pytest.mark.usefixtures("ray_cluster")
def test_a_model_and_data_of_ones_own_are_found_and_loaded_once_a_process_and_not_a_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    mine = own_setup(tmp_path)
    executor = on_ray(mine)
    loads = tmp_path / "loads.txt"
    loads.unlink()  # the driver's own
    for ticket in range(6):
        executor.submit(ticket, job())
        found = executor.next(nobody)
        assert numbers(found.results) == numbers(run_job(job(), make_workbench(mine))[0])
    executor.close()
    assert len(loads.read_text().splitlines()) < 6


def test_a_cluster_of_ones_own_is_reached_from_this_machine_alone_and_ends_with_the_sweep() -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    environment["PYTHONPATH"] = os.pathsep.join([*sys.path, str(TESTS / "execute"), str(TESTS)])
    ran = subprocess.run([sys.executable, "-c", LOCAL], env=environment, stdout=subprocess.PIPE, text=True, check=True)
    ended, addresses = ran.stdout.splitlines()
    assert ended == "None True"
    assert addresses == "['127.0.0.1']"


def test_no_cluster_is_started_that_would_listen_to_the_network() -> None:
    finished = subprocess.run([sys.executable, "-c", EARLY], cwd=TESTS, capture_output=True, text=True, check=False)
    assert "a cluster started here would listen to the network at 192.0.2.7; set RAY_ENABLE" in finished.stdout
    assert finished.stdout.endswith("of your own False\n")


ALONE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}  # as the cluster of these tests
OTHERS = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "7" * 64}
TOKENS: dict[str, dict[str, str]] = {"none": {}, "no token": {"RAY_AUTH_MODE": "token"}, "another": OTHERS}
AT_ADDRESS = """
import sys
from executor_examples import workbench
from noise_search.errors import CallerError
from noise_search.execute.making import make_executor
from noise_search.executor_specs import RaySpec
try:
    print(make_executor(RaySpec(address=sys.argv[1]), workbench(), "fused", "looped").places)
except CallerError as error:
    print(error)
"""


def made_at(address: str, **variables: str) -> tuple[str, str]:
    """Standard output and error of a process that makes an executor of a cluster."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    environment |= {"PYTHONPATH": os.pathsep.join([*sys.path, str(TESTS / "execute"), str(TESTS)]), **variables}
    command = [sys.executable, "-c", AT_ADDRESS, address]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
    return ran.stdout, ran.stderr


@pytest.mark.parametrize("address", ["127.0.0.1:9", "nowhere"])
def test_a_cluster_that_is_not_there_is_told_of_in_one_line(address: str) -> None:
    said, _ = made_at(address, **ALONE)
    assert said.startswith(f"executor.address: cannot reach a cluster by {address}")
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("is_named", [True, False], ids=["named", "auto"])
def test_a_cluster_on_loopback_is_told_of_where_ray_looks_for_it_elsewhere(is_named: bool, ray_cluster: Any) -> None:
    # RAY_ADDRESS, because what else `auto` finds is whatever runs on this machine.
    address, more = (ray_cluster.address, {}) if is_named else ("auto", {"RAY_ADDRESS": ray_cluster.address})
    said, _ = made_at(address, **more)
    needs(not said.isdigit(), "a machine with an address beside loopback")
    assert said.startswith(f"executor.address: cannot reach a cluster by {address}, which Ray takes for ")
    assert "where it listens to this machine alone, set RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0; a sweep's own" in said


@pytest.mark.parametrize("mode", TOKENS.values(), ids=TOKENS)
def test_a_cluster_that_asks_for_another_token_is_told_of_in_one_line(mode: dict[str, str], ray_cluster: Any) -> None:
    said, errors = made_at(ray_cluster.address, HOME="/nowhere", **ALONE, **mode)
    assert said.startswith(f"executor.address: expected the token of the cluster at {ray_cluster.address}, got another")
    assert "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH," in said
    assert len(errors.splitlines()) <= 1  # which is Ray's own


class Gone(AbstractContextManager["Gone"]):
    """A head that does not answer while it is gone."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self.now = 0.0
        self.back_at = math.inf
        context = SimpleNamespace(gcs_address=self.address)
        monkeypatch.setattr("ray.get_runtime_context", lambda: context)
        monkeypatch.setattr(ray_connections, "time", SimpleNamespace(monotonic=lambda: self.now, sleep=self.sleep))

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.now >= self.back_at:
            self._socket.listen()


def test_a_head_that_does_not_answer_is_waited_for_and_then_the_cluster_is_lost(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with Gone(monkeypatch) as gone:
        head = ray_connections.Head()
        with pytest.raises(LostClusterError, match=rf"at {gone.address} has not answered for 31 s .*; once there"):
            head.look()
    assert caplog.text.count("does not answer") == 1


def test_a_head_that_comes_back_in_time_is_no_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    with Gone(monkeypatch) as gone:
        gone.now, gone.back_at = 10.0, 25.0
        ray_connections.Head().look()
        assert gone.now == 25.0


WITHOUT_HEAD = """
import sys
import psutil
from executor_examples import long_job, workbench
from noise_search.execute import ray_connections
from noise_search.execute.contract import LostClusterError
from noise_search.execute.making import make_executor
from noise_search.executor_specs import RaySpec
ray_connections.HEAD_SECONDS = 2.0
executor = make_executor(RaySpec(address=sys.argv[1]), workbench(), "fused", "looped")
executor.submit(1, long_job())
def kill(ticket, epochs):
    for one in psutil.process_iter(["name", "cmdline"]):
        if one.info["name"] == "gcs_server" and any(sys.argv[1].split(":")[1] in word for word in one.info["cmdline"]):
            one.kill()
            one.wait()
    print(executor.places)  # at once, while Ray does not know it yet
try:
    executor.next(kill)
except LostClusterError as error:
    print(error)
executor.close()
print("closed")
"""


@pytest.mark.slow
def test_a_head_that_is_gone_while_its_nodes_live_is_noticed_before_anything_is_asked_of_it() -> None:
    port = free_port()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(TESTS / "execute"), str(TESTS)])}
    with ray_head(port):
        command = [sys.executable, "-c", WITHOUT_HEAD, f"127.0.0.1:{port}"]
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180, check=False)
    assert ran.returncode == 0, ran.stderr
    said, closed = ran.stdout.splitlines()
    assert said.startswith(f"executor: the head of the Ray cluster at 127.0.0.1:{port} has not answered for ")
    assert closed == "closed"
