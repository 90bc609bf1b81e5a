from __future__ import annotations

import os
import signal
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TypeVar

import pytest
from store_examples import driven, new_sweep, process, rows, stored, trial

from noise_search.errors import CallerError
from noise_search.store import LeaseLost, Store, Writer, locate, open_store
from noise_search.store.leases import is_dead, owner_text, this_process

Found = TypeVar("Found")
LOST = 7


def drive_until_the_lease_is_lost(folder: Path, lease_seconds: float) -> None:
    with open_store(locate(folder), create=False) as store:
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
    child = process(drive_until_the_lease_is_lost, store.location.folder, lease_seconds)
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


def asleep_between_transactions(child: BaseProcess, folder: Path) -> bool:
    """Stop a process; one that holds SQLite's lock, which nobody can then take from it, goes on, and False is said."""
    assert child.pid is not None
    os.kill(child.pid, signal.SIGSTOP)
    os.waitpid(child.pid, os.WUNTRACED)  # it may run on for a moment, and begin one
    connection = sqlite3.connect(folder / "search.db", timeout=0, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        os.kill(child.pid, signal.SIGCONT)
        return False
    finally:
        connection.close()
    return True


def test_a_second_driver_is_told_who_holds_the_lease(tmp_path: Path) -> None:
    with driven(tmp_path) as (store, writer):
        holder = f"{socket.gethostname()}:{os.getpid()}"
        until = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"
        message = (
            f"sweep digits is in use by process {holder}; wait for it, or end it with: noise-search stop digits; "
            f"should it have died, the sweep is free again from {until} on"
        )
        with pytest.raises(CallerError, match=message):
            store.take_lease(writer.sweep_id)
        writer.add_members([trial(0)])


def test_a_released_lease_is_free(tmp_path: Path) -> None:
    with driven(tmp_path) as (store, writer):
        writer.release()
        with store.take_lease(writer.sweep_id) as second:
            assert second.generation == writer.generation + 1


def test_releasing_twice_does_not_take_the_lease_from_the_next_driver(tmp_path: Path) -> None:
    with driven(tmp_path) as (store, writer):
        writer.release()
        with store.take_lease(writer.sweep_id) as second:
            writer.release()
            second.add_members([trial(0)])


def test_two_sweeps_of_one_store_have_a_lease_each(tmp_path: Path) -> None:
    with driven(tmp_path) as (store, first), store.take_lease(new_sweep(store, "other").id) as second:
        first.add_members([trial(0)])
        second.add_members([trial(0)])


def test_a_sweep_that_is_not_there_has_no_lease(tmp_path: Path) -> None:
    with stored(tmp_path) as store, pytest.raises(CallerError, match="the id of a stored sweep, got 5"):
        store.take_lease(5)


def test_the_lease_of_a_killed_process_is_taken_over_at_once(tmp_path: Path) -> None:
    with (
        stored(tmp_path) as store,
        another_driver(store, lease_seconds=3600) as child,
    ):
        assert lease_or_none(store) is None
        child.kill()
        # Nobody has collected its exit status yet: its entry in the process table is still there.
        taken = until(lambda: lease_or_none(store))
        taken.release()
        assert taken.generation == 2


def test_a_driver_that_slept_past_its_lease_is_replaced_and_finds_out(tmp_path: Path) -> None:
    with stored(tmp_path) as store, another_driver(store, lease_seconds=1) as child:
        until(lambda: asleep_between_transactions(child, tmp_path))
        with until(lambda: lease_or_none(store)) as taken:
            members = len(store.members(taken.sweep_id))
            os.kill(child.pid or 0, signal.SIGCONT)
            child.join(60)
            assert child.exitcode == LOST
            assert len(store.members(taken.sweep_id)) == members


def test_a_lease_outlasts_its_seconds_while_its_driver_lives(tmp_path: Path) -> None:
    with stored(tmp_path) as store:
        sweep = new_sweep(store)
        with store.take_lease(sweep.id, lease_seconds=1):
            first = expiry(tmp_path)
            until(lambda: expiry(tmp_path) > first)
            time.sleep(1.2)
            with pytest.raises(CallerError, match="is in use"):
                store.take_lease(sweep.id)


def expiry(folder: Path) -> str:
    return str(rows(folder / "search.db", "SELECT lease_expires_at FROM sweeps")[0][0])


def test_a_lease_expires_by_the_clock_of_the_database(tmp_path: Path) -> None:
    seconds = "SELECT (julianday(lease_expires_at) - julianday('now')) * 86400 FROM sweeps"
    with stored(tmp_path) as store, store.take_lease(new_sweep(store).id, lease_seconds=90):
        ((left,),) = rows(tmp_path / "search.db", seconds)
    assert 60 < left <= 90.01


def test_a_lease_under_a_name_of_its_own_is_kept_until_it_expires(tmp_path: Path) -> None:
    message = "in use by process the cluster's head; wait for it"
    with (
        stored(tmp_path) as store,
        store.take_lease(new_sweep(store).id, owner="the cluster's head") as writer,
    ):
        with pytest.raises(CallerError, match=message):
            store.take_lease(writer.sweep_id)
        writer.add_members([trial(0)])


def test_the_renewal_ends_with_the_lease(tmp_path: Path) -> None:
    with driven(tmp_path) as (_, writer):
        assert writer._renewal.is_alive()
    assert not writer._renewal.is_alive()


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


def test_a_sweep_is_driven_while_a_lease_of_it_is_held(tmp_path: Path) -> None:
    with driven(tmp_path) as (store, writer):
        assert store.is_driven(writer.sweep_id)
        writer.release()
        assert not store.is_driven(writer.sweep_id)


def test_a_sweep_whose_driver_was_killed_is_not_driven(tmp_path: Path) -> None:
    with stored(tmp_path) as store, another_driver(store, lease_seconds=3600) as child:
        assert store.is_driven(1)
        child.kill()
        child.join()
        assert not store.is_driven(1)
