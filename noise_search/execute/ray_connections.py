"""Connections to Ray clusters: of one's own, started here, or of others."""

from __future__ import annotations

import ipaddress
import logging
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from noise_search.errors import CallerError
from noise_search.execute.workers import cores

_KNOCK_SECONDS = 10.0


def nodes_at(address: str) -> list[dict[str, float]]:
    """Resources of every node of a cluster, looked at and left.

    Raises:
        CallerError: It is not there.
    """
    is_ours = connect(address)
    try:
        return nodes()
    finally:
        if is_ours:
            ray.shutdown()


def connect(address: str | None) -> bool:
    """Connect to a cluster, or start one that nobody but this machine reaches; whether anything was left to do."""
    if ray.is_initialized():
        return False
    quiet = {"log_to_driver": False, "logging_level": logging.WARNING}
    try:
        with _own_signals():
            if address is None:
                _refuse_the_network()
                ray.init("local", num_cpus=cores(), include_dashboard=False, **quiet)
            else:
                _knock(address)
                ray.init(address, **quiet)
    except CallerError:
        raise
    except Exception as error:  # of every kind, a bare one among them
        where = "null" if address is None else address
        raise CallerError(f"executor.address: cannot reach a cluster by {where}: {first_line(error)}") from error
    return True


def nodes() -> list[dict[str, float]]:
    """Resources of every node that is there."""
    return [dict(node["Resources"]) for node in ray.nodes() if node["Alive"]]


def first_line(error: object) -> str:
    """What an error says first, else what it is."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


@contextmanager
def _own_signals() -> Iterator[None]:
    """Let SIGTERM mean what it meant before: Ray makes an exit of it that closes nothing."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _knock(address: str) -> None:
    """Find out in seconds that nobody listens there, which takes Ray many minutes.

    Raises:
        OSError: So it is.
        ValueError: It is no HOST:PORT.
    """
    if address != "auto":
        host, _, port = address.rpartition(":")
        socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK_SECONDS).close()


def _refuse_the_network() -> None:
    """Refuse to start a cluster that would listen to more than this machine: Ray was imported before it was told so."""
    address = ray.util.get_node_ip_address()
    if not ipaddress.ip_address(address).is_loopback:
        raise CallerError(
            f"executor.address: a cluster started here would listen to the network at {address}; set "
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 before Ray is imported, or give the address of a cluster of your own"
        )
