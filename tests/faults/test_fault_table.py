"""What befalls real sweeps on PostgreSQL; at the end each is the one that nothing befell, trial for trial.

That one ran in another store, of files, in one process, one job after another. All of them are tracked.
"""

from __future__ import annotations

import os
import random
import re
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from driven_sweeps import TRIALS, Driver
from executor_examples import ray_workers
from faulty_runs import ON_PROCESSES, configuration, drive, driving, kill_workers, killed, undisturbed
from mlflow_server import MlflowServer
from postgres_servers import Server
from ray_clusters import ray_head
from real_processes import free_port, kill_sessions
from requirements import needs
from sweep_damage import NONE, count, damage, lost_jobs, members
from sweep_examples import NAME, Quitter, run

from noise_search.config import build, compose
from noise_search.store import Location, open_store

pytestmark = pytest.mark.slow
DOWN_SECONDS = 60.0


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Location:
    """Store with the sweep that nothing befell."""
    return undisturbed(tmp_path_factory.mktemp("whole"))


def test_nothing_happens(shared: Location, whole: Location) -> None:
    with driving(shared, *ON_PROCESSES) as driver:
        driver.end()
    assert damage(shared, whole) == NONE
    assert not lost_jobs(shared)


def test_a_worker_is_killed_while_it_trains(shared: Location, whole: Location) -> None:
    with driving(shared, *ON_PROCESSES) as driver:
        driver.wait_for_jobs(2)
        kill_workers(driver)
        assert "was ended by signal 9 (SIGKILL)" in driver.end()
    assert damage(shared, whole) == NONE


def test_a_worker_hangs(shared: Location, whole: Location) -> None:
    with driving(shared, *ON_PROCESSES, "executor.silent_seconds=15") as driver:
        driver.wait_for_jobs(2)
        _send(signal.SIGSTOP, driver.workers())
        assert "gave no sign of life for" in driver.end()
    assert lost_jobs(shared)
    assert damage(shared, whole) == NONE


class Losing(Quitter):
    """Reporter that has one of two nodes of a Ray cluster removed while both train, and another added.

    Args:
        cluster: That the nodes join.
        jobs: After so many.
    """

    def __init__(self, cluster: Any, jobs: int) -> None:
        super().__init__()
        self.cluster, self.jobs, self.removed = cluster, jobs, False
        self.nodes = [self.join() for _ in range(2)]

    def join(self) -> Any:
        """A node that jobs of this sweep have room on, one at a time."""
        return self.cluster.add_node(num_cpus=1, resources={"ours": 1})

    def message(self, text: str) -> None:  # noqa: ARG002  # as reporters have it
        """Count jobs."""
        self.jobs -= 1

    def advance(self, epochs: int) -> None:
        """While a job tells of an epoch it is under way."""
        training = ray_workers()
        if epochs <= 0 or self.jobs > 0 or self.removed or len(training) < 2:
            return
        self.removed = True
        with stopped(training):  # that none ends before its node does
            self.cluster.remove_node(self.nodes.pop(0))
        self.nodes.append(self.join())


@pytest.mark.parametrize("max_retries", [0, 1], ids=["lost to the driver", "begun again by the executor"])
def test_a_node_of_two_leaves_the_cluster_and_another_joins(
    max_retries: int, ray_cluster: Any, shared: Location, whole: Location, caplog: pytest.LogCaptureFixture
) -> None:
    losing = Losing(ray_cluster, jobs=4)
    on_ray = ("executor=ray", "executor.resources={ours: 1}", f"executor.max_retries={max_retries}")
    try:
        assert drive(shared, *on_ray, reporter=losing).state == "complete"
    finally:
        for node in losing.nodes:
            ray_cluster.remove_node(node)
    assert losing.removed
    assert "is gone: " in caplog.text
    assert bool(lost_jobs(shared)) == (max_retries == 0)
    assert damage(shared, whole) == NONE


@pytest.mark.parametrize("seed", range(3))
def test_a_driver_is_killed_at_a_random_moment_and_the_same_command_goes_on(
    seed: int, shared: Location, whole: Location
) -> None:
    rng = random.Random(seed)
    assert killed(shared, *ON_PROCESSES, jobs=rng.randrange(count(whole, "done") - 2), rng=rng)
    with driving(shared, *ON_PROCESSES) as driver:
        driver.end()
    assert damage(shared, whole) == NONE


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["told to end", "killed"])
def test_a_driver_on_ray_ends_and_the_same_command_goes_on(
    how: signal.Signals, shared: Location, whole: Location
) -> None:
    with driving(shared, "executor=ray") as driver:
        driver.wait_for_jobs(2)
        driver.process.send_signal(how)
        code = driver.process.wait(60)
        assert code == (130 if how == signal.SIGTERM else -signal.SIGKILL)
        assert ("interrupted; continue with: " in driver.said) == (how == signal.SIGTERM)
    with driving(shared, "executor=ray") as driver:
        driver.end()
    assert damage(shared, whole) == NONE


def test_the_head_of_the_ray_cluster_is_gone_and_the_same_command_goes_on_with_another(
    shared: Location, whole: Location
) -> None:
    port = free_port()
    on_ray = ("executor=ray", f"executor.address=127.0.0.1:{port}")
    with ray_head(port) as session, driving(shared, *on_ray) as driver:
        driver.wait_for_jobs(2)
        kill_sessions({session})
        assert driver.process.wait(120) == 1
        said = (
            rf"failed: LostClusterError: .* head .* at 127\.0\.0\.1:{port} has not answered for .* same command goes on"
        )
        assert re.search(said, driver.said), driver.said
    stands = (shared.folder / "sweeps" / NAME / "metrics.prom").read_text()
    for number in ("running", "jobs_under_way"):
        assert f'noise_search_{number}{{sweep="{NAME}"}} 0.0' in stands
    with ray_head(port), driving(shared, *on_ray) as driver:
        driver.end()
    assert damage(shared, whole) == NONE


@pytest.mark.parametrize("mode", ["immediate", "fast"])
def test_the_database_server_restarts(mode: str, postgres: Server, shared: Location, whole: Location) -> None:
    with driving(shared, *ON_PROCESSES) as driver:
        driver.wait_for_jobs(2)
        postgres.stop(mode)
        time.sleep(2.0)
        postgres.start()
        driver.end()
    assert damage(shared, whole) == NONE


def test_the_tracking_server_is_down_for_a_minute_in_the_middle(
    mlflow_server: MlflowServer, shared: Location, whole: Location
) -> None:
    with driving(shared, *ON_PROCESSES, f"tracking.uri={mlflow_server.url}") as driver:
        driver.wait_for_jobs(2)
        mlflow_server.kill()
        since = time.monotonic()
        try:
            driver.wait_until(lambda: unsent(shared) > 0)
            with stopped(driver.workers()):  # the sweep would come to its end within the minute
                time.sleep(max(0.0, DOWN_SECONDS - (time.monotonic() - since)))
                assert count(shared, "done") < count(whole, "done")
                mlflow_server.start()
        finally:
            mlflow_server.start()
        assert "messages behind" not in driver.end()
    assert unsent(shared) == 0
    assert damage(shared, whole) == NONE


def test_the_tracking_server_comes_back_after_the_end(
    mlflow_server: MlflowServer, shared: Location, whole: Location
) -> None:
    with driving(shared, *ON_PROCESSES, f"tracking.uri={mlflow_server.url}") as driver:
        driver.wait_for_jobs(2)
        mlflow_server.kill()
        try:
            said = driver.end()
        finally:
            mlflow_server.start()
    assert re.search(r"MLflow is \d+ messages behind", said), said
    store = ("--store", str(shared.server))
    caught_up = run("mirror", NAME, *store, cwd=shared.folder.parent, NOISE_SEARCH_FOLDER=str(shared.folder))
    assert caught_up.returncode == 0, caught_up.stderr
    assert damage(shared, whole) == NONE


def unsent(place: Location) -> int:
    """Messages that MLflow has not had yet."""
    with open_store(place, create=False) as store:
        return len(store.unsent(store.sweep(NAME).id))


@contextmanager
def stopped(pids: Sequence[int]) -> Iterator[None]:
    """Processes that do nothing within the block; one that has ended is left out."""
    _send(signal.SIGSTOP, pids)
    try:
        yield
    finally:
        _send(signal.SIGCONT, pids)


def _send(what: signal.Signals, pids: Sequence[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, what)


# A file system of its own, on which one checkpoint has room and the next has not.
FULL = 'mount -t tmpfs -o size=20k none "$1" || exit 77; shift; exec "$@"'


def test_the_disk_of_the_checkpoints_is_full(shared: Location, whole: Location, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    prefix = ("unshare", "--user", "--map-root-user", "--mount", "bash", "-c", FULL, "full", str(small))
    with driving(shared, *ON_PROCESSES, f"store.checkpoints={small}", prefix=prefix) as driver:
        _refuse_without_mounts(driver)
        said = driver.end()
    assert "No space left on device" in said
    found = damage(shared, whole)
    assert found.epochs_trained_again > 0  # by those whose checkpoint had no room
    assert replace(found, epochs_trained_again=0) == NONE


def _refuse_without_mounts(driver: Driver) -> None:
    driver.process.wait()
    is_refused = driver.process.returncode == 77 or "unshare failed" in driver.said
    needs(not is_refused, "mounts in a namespace of one's own (unshare)")


def poisoned(*, kill: bool) -> tuple[str, ...]:
    """A sweep with a model that some trials' noise makes end its process, or raise."""
    return (f"model={{_target_: own_models.Poisoned, least: 0.31, kill: {str(kill).lower()}}}", "train.mode=looped")


def test_a_poisoned_trial_kills_every_worker_that_it_meets(shared: Location, tmp_path: Path) -> None:
    raising = undisturbed(tmp_path / "raising", *poisoned(kill=False))
    failed = [int(name) for name, state in states(raising).items() if state == "failed"]
    assert 0 < len(failed) < TRIALS / 2
    with driving(shared, *ON_PROCESSES, *poisoned(kill=True)) as driver:
        said = driver.end()
    assert states(shared) == states(raising)
    for number in failed:
        assert f"trial {number} failed: LostWorkerError" in said
    allowed = 1 + build(compose(configuration())).driver.retries.lost
    assert {member.attempts["lost"] for member in members(shared) if member.number in failed} == {allowed}
    assert damage(shared, raising, failed=failed) == NONE


def states(place: Location) -> dict[str, str]:
    """How trials and controls have ended."""
    return {str(one.control or one.number): one.state for one in members(place)}
