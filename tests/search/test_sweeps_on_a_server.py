"""A PostgreSQL server that goes away in the middle of a sweep, and comes back."""

from __future__ import annotations

import json
import logging
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from postgres_servers import Server
from prometheus_client.parser import text_string_to_metric_families
from simulations import NAME, findings_in, run, told

from noise_search.store import Location, StoreLostError, open_store
from noise_search.training import Job

MODES = ("immediate", "fast")


def undisturbed(folder: Path) -> dict[str, str]:
    run(folder)
    return findings_in(folder)


def optuna_knows(place: Path | Location) -> list[tuple[object, ...]]:
    with open_store(place if isinstance(place, Location) else Location(place), create=False) as store:
        return [(one.number, one.state, one.values, one.params) for one in told(store)]


def metrics(place: Location) -> dict[str, float]:
    """Numbers of the sweep's metrics file; of those by state, the last."""
    text = (place.folder / "sweeps" / NAME / "metrics.prom").read_text(encoding="utf-8")
    samples = [one for family in text_string_to_metric_families(text) for one in family.samples]
    return {one.name.removeprefix("noise_search_"): one.value for one in samples}


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_a_server_that_restarts_in_the_middle_of_a_sweep_costs_waiting_and_nothing_else(
    mode: str, postgres: Server, shared: Location, tmp_path: Path
) -> None:
    def restart(number: int, _job: Job) -> None:
        if number in (1, 4):
            postgres.stop(mode)
            back.append(threading.Timer(1.0, postgres.start))
            back[-1].start()

    back: list[threading.Timer] = []
    assert run(shared, before_job=restart).state == "complete"
    assert len(back) == 2
    assert findings_in(shared) == undisturbed(tmp_path / "folder")
    assert optuna_knows(shared) == optuna_knows(tmp_path / "folder")


@pytest.mark.slow
def test_a_driver_that_waits_for_its_server_says_so_and_that_it_lives(postgres: Server, shared: Location) -> None:
    def outage(number: int, _job: Job) -> None:
        if number == 2:
            before.append(metrics(shared))
            postgres.stop()
            watching.start()

    def watch() -> None:
        end = time.monotonic() + 30.0
        while time.monotonic() < end and not metrics(shared)["store_lost"]:
            time.sleep(0.05)
        during.append(metrics(shared))
        postgres.start()

    before: list[dict[str, float]] = []
    during: list[dict[str, float]] = []
    watching = threading.Thread(target=watch)
    assert run(shared, before_job=outage).state == "complete"
    watching.join()
    (was,), (waited,), ended = before, during, metrics(shared)
    assert (was["running"], was["store_lost"]) == (1, 0)
    assert (waited["running"], waited["store_lost"], waited["jobs_under_way"]) == (1, 1, 1)
    assert was["heartbeat_timestamp_seconds"] < waited["heartbeat_timestamp_seconds"]
    assert (ended["running"], ended["store_lost"], ended["jobs_under_way"]) == (0, 0, 0)


def test_what_no_database_takes_of_an_error_is_replaced(shared: Location) -> None:
    def fail(number: int, _job: Job) -> None:
        if number == 2:
            raise RuntimeError("no \0 and no \udc80")

    assert run(shared, before_job=fail).state == "complete"
    with open_store(shared, create=False) as store:
        errors = [job.error for job in store.jobs(1) if job.state == "failed"]
    assert errors == ["RuntimeError: no \N{REPLACEMENT CHARACTER} and no ?"]


@contextmanager
def restarted_at_random(server: Server, begun: threading.Event, seed: int) -> Iterator[list[str]]:
    """Restarts at moments that nobody has chosen, from when it has begun for as long as the block lasts."""

    def restart() -> None:
        begun.wait()
        # Few: on a busy machine a transaction may take longer than the server is up.
        for _ in range(4):
            if done.wait(draw.uniform(0.1, 1.0)):
                return
            server.stop(draw.choice(MODES))
            server.start()
            restarts.append("")

    draw, done = random.Random(seed), threading.Event()
    restarts: list[str] = []
    thread = threading.Thread(target=restart)
    thread.start()
    try:
        yield restarts
    finally:
        done.set()
        begun.set()
        thread.join()


@pytest.mark.slow
def test_a_server_that_restarts_at_any_moment_costs_waiting_and_nothing_else(
    postgres: Server, shared: Location, tmp_path: Path
) -> None:
    def train(_number: int, _job: Job) -> None:
        begun.set()
        time.sleep(0.2)  # or the sweep is over before the first restart

    begun = threading.Event()
    with restarted_at_random(postgres, begun, seed=0) as restarts:
        assert run(shared, before_job=train).state == "complete"
    assert restarts
    assert findings_in(shared) == undisturbed(tmp_path / "folder")
    assert optuna_knows(shared) == optuna_knows(tmp_path / "folder")


@pytest.mark.slow
def test_a_server_that_does_not_come_back_ends_the_run_with_what_to_do(
    postgres: Server, shared: Location, tmp_path: Path
) -> None:
    def stop(number: int, _job: Job) -> None:
        if number == 2:
            postgres.stop()

    impatient = Location(shared.folder, shared.server, retry_seconds=1)
    try:
        with pytest.raises(StoreLostError, match=r"could not be reached for 1 s .*the same command goes on"):
            run(impatient, before_job=stop)
    finally:
        postgres.start()
    log = shared.folder / "sweeps" / NAME / "log.jsonl"
    last = json.loads(log.read_text().splitlines()[-1])
    assert (last["event"], last["reason"].partition(":")[0]) == ("sweep_failed", "StoreLostError")
    written = log.stat().st_size
    logging.getLogger("noise_search").warning("of somebody else")
    assert log.stat().st_size == written
    stands = metrics(shared)
    assert (stands["running"], stands["jobs_under_way"], stands["store_lost"]) == (0, 0, 1)
    database = str(shared.server).rpartition("/")[2]
    postgres.ask("UPDATE noise_search.sweeps SET lease_expires_at = now()", database)  # as if its process were dead
    assert run(shared).state == "complete"
    assert findings_in(shared) == undisturbed(tmp_path / "folder")
