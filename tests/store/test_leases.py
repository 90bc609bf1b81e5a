from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import TypeVar

import psycopg
import pytest
import time_machine
from store_examples import driven, new_sweep, process, rows, stored, trial

from noise_search.errors import CallerError
from noise_search.store import LeaseLost, Location, Store, Writer, open_store
from noise_search.store.leases import is_dead, owner_text, this_process

Found = TypeVar("Found")
LOST = 7


def drive_until_the_lease_is_lost(place: Location, lease_seconds: float) -> None:
    with open_store(place, create=False) as store:
        writer = store.take_lease(store.sweep("digits").id, lease_seconds=lease_seconds)
        try:
            for number in range(10_000):
                writer.add_members([trial(number)])
                time.sleep(0.02)
        except LeaseLost:
            os._exit(LOST)


@contextmanager
def another_driver(store: Store, lease_seconds: float) -> Iterator[BaseProcess]:
    sweep = new_sweep(store)
    child = process(drive_until_the_lease_is_lost, store.location, lease_seconds)
    try:
        until(lambda: store.members(sweep.id))
        yield child
    finally:
        child.kill()
        child.join()


def until(attempt: Callable[[], Found | None]) -> Found:
    deadline = time.monotonic() + 60
    while not (found := attempt()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def lease_or_none(store: Store) -> Writer | None:
    try:
        return store.take_lease(1)
    except CallerError:
        return None


def asleep_between_transactions(child: BaseProcess, place: Location) -> bool:
    """Stop a process; one that holds a lock, which nobody can then take from it, goes on, and False is said."""
    assert child.pid is not None
    os.kill(child.pid, signal.SIGSTOP)
    os.waitpid(child.pid, os.WUNTRACED)  # it may run on for a moment, and begin one
    free = row_is_free(place) if place.is_shared else file_is_free(place)
    if not free:
        os.kill(child.pid, signal.SIGCONT)
    return free


def file_is_free(place: Location) -> bool:
    connection = sqlite3.connect(place.folder / "search.db", timeout=0, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        return False
    finally:
        connection.close()
    return True


def row_is_free(place: Location) -> bool:
    try:
        rows(place, "SELECT id FROM sweeps FOR UPDATE NOWAIT")
    except psycopg.errors.LockNotAvailable:
        return False
    return True


def test_a_second_driver_is_told_who_holds_the_lease(place: Location) -> None:
    with driven(place) as (store, writer):
        holder = f"{socket.gethostname()}:{os.getpid()}"
        until = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"
        message = (
            f"sweep digits is in use by process {holder}; wait for it, or end it with: noise-search stop digits; "
            f"should it have died, the sweep is free again from {until} on"
        )
        with pytest.raises(CallerError, match=message):
            store.take_lease(writer.sweep_id)
        writer.add_members([trial(0)])


def test_a_released_lease_is_free(place: Location) -> None:
    with driven(place) as (store, writer):
        writer.release()
        with store.take_lease(writer.sweep_id) as second:
            assert second.generation == writer.generation + 1


def test_releasing_twice_does_not_take_the_lease_from_the_next_driver(place: Location) -> None:
    with driven(place) as (store, writer):
        writer.release()
        with store.take_lease(writer.sweep_id) as second:
            writer.release()
            second.add_members([trial(0)])


def test_two_sweeps_of_one_store_have_a_lease_each(place: Location) -> None:
    with driven(place) as (store, first), store.take_lease(new_sweep(store, "other").id) as second:
        first.add_members([trial(0)])
        second.add_members([trial(0)])


def test_a_sweep_that_is_not_there_has_no_lease(place: Location) -> None:
    with stored(place) as store, pytest.raises(CallerError, match="the id of a stored sweep, got 5"):
        store.take_lease(5)


def test_the_lease_of_a_killed_process_is_taken_over_at_once(place: Location) -> None:
    with (
        stored(place) as store,
        another_driver(store, lease_seconds=3600) as child,
    ):
        assert lease_or_none(store) is None
        child.kill()
        # Nobody has collected its exit status yet: its entry in the process table is still there.
        taken = until(lambda: lease_or_none(store))
        taken.release()
        assert taken.generation == 2


def test_a_driver_that_slept_past_its_lease_is_replaced_and_finds_out(place: Location) -> None:
    with stored(place) as store, another_driver(store, lease_seconds=1) as child:
        until(lambda: asleep_between_transactions(child, place))
        with until(lambda: lease_or_none(store)) as taken:
            members = len(store.members(taken.sweep_id))
            os.kill(child.pid or 0, signal.SIGCONT)
            child.join(60)
            assert child.exitcode == LOST
            assert len(store.members(taken.sweep_id)) == members


def test_a_lease_outlasts_its_seconds_while_its_driver_lives(place: Location) -> None:
    with stored(place) as store:
        sweep = new_sweep(store)
        with store.take_lease(sweep.id, lease_seconds=1):
            first = expiry(place)
            until(lambda: expiry(place) > first)
            time.sleep(1.2)
            with pytest.raises(CallerError, match="is in use"):
                store.take_lease(sweep.id)


def expiry(place: Location) -> str:
    return str(rows(place, "SELECT lease_expires_at FROM sweeps")[0][0])


def test_a_lease_expires_by_the_clock_of_the_database(place: Location) -> None:
    seconds = "SELECT (julianday(lease_expires_at) - julianday('now')) * 86400 FROM sweeps"
    if place.is_shared:
        seconds = "SELECT extract(epoch FROM lease_expires_at - clock_timestamp()) FROM sweeps"
    with stored(place) as store, store.take_lease(new_sweep(store).id, lease_seconds=90):
        ((left,),) = rows(place, seconds)
    assert 60 < left <= 90.01


def test_a_lease_under_a_name_of_its_own_is_kept_until_it_expires(place: Location) -> None:
    message = "in use by process the cluster's head; wait for it"
    with (
        stored(place) as store,
        store.take_lease(new_sweep(store).id, owner="the cluster's head") as writer,
    ):
        with pytest.raises(CallerError, match=message):
            store.take_lease(writer.sweep_id)
        writer.add_members([trial(0)])


def test_the_renewal_ends_with_the_lease(place: Location) -> None:
    with driven(place) as (_, writer):
        assert writer._renewal.is_alive()
    assert not writer._renewal.is_alive()


OTHER = "login2:99:{boot}-4026531836-7"  # a process of another machine


def test_a_folder_that_is_driven_from_another_host_is_refused_with_the_reason(tmp_path: Path) -> None:
    message = (
        "sweep other in it is in use by process login2:99, of another host; SQLite is for one host at a time, "
        "because .* a network file system; .*postgresql.* free again from .* UTC on"
    )
    with stored(tmp_path) as store:
        own, other = new_sweep(store), new_sweep(store, "other")
        with store.take_lease(other.id, owner=OTHER.format(boot="f" * 32)) as theirs:
            with pytest.raises(CallerError, match=message):
                store.take_lease(own.id)
            theirs.release()
            store.take_lease(own.id).release()


def test_a_folder_is_free_for_another_host_when_the_lease_of_the_first_has_expired(tmp_path: Path) -> None:
    with stored(tmp_path) as store:
        own, other = new_sweep(store), new_sweep(store, "other")
        with store.take_lease(other.id, owner=OTHER.format(boot="f" * 32)):
            rows(tmp_path / "search.db", "UPDATE sweeps SET lease_expires_at = '2020-01-01 00:00:00.000000'")
            store.take_lease(own.id).release()


def test_containers_of_one_machine_may_share_a_folder(tmp_path: Path) -> None:
    boot = this_process().split(":")[2].split("-")[0]
    with stored(tmp_path) as store:
        own, other = new_sweep(store), new_sweep(store, "other")
        with store.take_lease(other.id, owner=OTHER.format(boot=boot)):
            store.take_lease(own.id).release()


def test_drivers_of_many_hosts_share_a_server(shared: Location) -> None:
    with stored(shared) as store:
        own, other = new_sweep(store), new_sweep(store, "other")
        with store.take_lease(other.id, owner=OTHER.format(boot="f" * 32)):
            store.take_lease(own.id).release()


def hold_with_another_clock(place: Location, hours: float, held: Event, enough: Event) -> None:
    """Driver on a host whose clock is wrong."""
    with (
        time_machine.travel(datetime.now(UTC) + timedelta(hours=hours)),
        open_store(place, create=False) as store,
        store.take_lease(1, owner="host far:1:", lease_seconds=5),
    ):
        held.set()
        enough.wait(60)


@pytest.mark.parametrize("hours", [-5, 5])
def test_a_host_whose_clock_is_wrong_keeps_its_lease_while_it_lives_and_not_longer(
    shared: Location, hours: float
) -> None:
    context = multiprocessing.get_context("spawn")
    held, enough = context.Event(), context.Event()
    with stored(shared) as store:
        new_sweep(store)
        child = process(hold_with_another_clock, shared, hours, held, enough)
        try:
            assert held.wait(120)
            time.sleep(6)  # renewed since
            with pytest.raises(CallerError, match="in use by process host far:1"):
                store.take_lease(1)
        finally:
            child.kill()
            child.join()
        until(lambda: lease_or_none(store)).release()


def test_this_process_is_alive() -> None:
    assert not is_dead(this_process())
    assert not is_dead(owner_text(1))


def test_a_process_that_was_given_the_pid_of_a_dead_one_does_not_stand_in_for_it() -> None:
    machine, _, ticks = this_process().rpartition("-")
    assert is_dead(f"{machine}-{int(ticks) - 1}")


def test_nothing_is_known_of_processes_elsewhere() -> None:
    host, pid, start = this_process().split(":")
    boot, namespace, ticks = start.split("-")
    gone = int(ticks) - 1
    assert not is_dead(f"other.{host}:{pid}:{boot}-{namespace}-{gone}")
    assert not is_dead(f"{host}:{pid}:{'0' * len(boot)}-{namespace}-{gone}")
    assert not is_dead(f"{host}:{pid}:{boot}-1-{gone}")
    assert not is_dead(f"{host}:{pid}:")
    assert not is_dead("a name of its own")


def test_a_sweep_is_driven_while_a_lease_of_it_is_held(place: Location) -> None:
    with driven(place) as (store, writer):
        assert store.is_driven(writer.sweep_id)
        writer.release()
        assert not store.is_driven(writer.sweep_id)


def test_a_sweep_whose_driver_was_killed_is_not_driven(place: Location) -> None:
    with stored(place) as store, another_driver(store, lease_seconds=3600) as child:
        assert store.is_driven(1)
        child.kill()
        child.join()
        assert not store.is_driven(1)
