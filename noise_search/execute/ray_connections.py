"""Connections to Ray clusters: of one's own, started here, or of others."""

from __future__ import annotations

import ipaddress
import logging
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import ray
from ray._private.authentication.authentication_token_setup import ensure_token_if_auth_enabled
from ray._private.services import canonicalize_bootstrap_address_or_die
from ray._raylet import GcsClient  # type: ignore[attr-defined]  # compiled, without stubs

from noise_search.errors import CallerError
from noise_search.execute.contract import LostClusterError
from noise_search.execute.workers import cores

_log = logging.getLogger(__name__)
KNOCK_SECONDS = 10.0
HEAD_SECONDS = 30.0  # Ray itself waits for 60, and then ends the process without a word of ours
_ALONE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"  # which is how Ray says: on this machine alone


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
    if address is None:
        _refuse_the_network()
        _init("local", "null", num_cpus=cores(), include_dashboard=False)
    else:
        _init(head_at(address), address)
    return True


def _init(address: str, shown: str, **options: object) -> None:
    try:
        with _own_signals():
            ray.init(address, log_to_driver=False, logging_level=logging.WARNING, **options)
    except Exception as error:  # of every kind, a bare one among them
        raise CallerError(_unreachable(shown, error)) from error


def head_at(address: str) -> str:
    """HOST:PORT that Ray makes of an address, where a head lets us in: to find out takes Ray itself minutes.

    Raises:
        CallerError: Nobody listens there, or asks for another token.
    """
    found = address
    try:
        found = str(canonicalize_bootstrap_address_or_die(address))
        knock(found)
        ensure_token_if_auth_enabled(create_token_if_missing=False)  # without one the next would end the process
        GcsClient(address=found)
    except ray.exceptions.AuthenticationError as error:
        raise CallerError(
            f"executor.address: expected the token of the cluster at {found}, got another or none; set "
            "RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH, as where it was started"
        ) from error
    except Exception as error:  # of every kind: nobody there, no HOST:PORT, no Ray
        if found == address:
            raise CallerError(_unreachable(address, error)) from error
        taken = _unreachable(f"{address}, which Ray takes for {found}", error)
        alone = f"where it listens to this machine alone, set {_ALONE}=0; a sweep's own lets nobody in"
        raise CallerError(f"{taken}; {alone}") from error
    return found


def _unreachable(shown: str, error: Exception) -> str:
    return f"executor.address: cannot reach a cluster by {shown}: {first_line(error)}"


class Head:
    """The head of the cluster that this process is connected to, without which nothing can be submitted.

    Whoever calls Ray without it waits, and is ended by Ray after a minute: so it is looked after before.
    """

    def __init__(self) -> None:
        self._address = ray.get_runtime_context().gcs_address

    def look(self) -> None:
        """See that somebody listens there, which takes less than a call of Ray's, and wait where nobody does.

        Raises:
            LostClusterError: It was waited for in vain.
        """
        since, is_told = time.monotonic(), False
        while (error := self._silence()) is not None:
            waited = time.monotonic() - since
            if waited > HEAD_SECONDS:
                raise LostClusterError(
                    f"executor: the head of the Ray cluster at {self._address} has not answered for {waited:.0f} s "
                    f"({error}); once there is a cluster again, the same command goes on"
                )
            if not is_told:
                _log.warning("the head of the Ray cluster at %s does not answer: %s", self._address, error)
                is_told = True
            time.sleep(1.0)

    def _silence(self) -> OSError | None:
        try:
            knock(self._address)
        except OSError as error:
            return error
        return None


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


def knock(address: str) -> None:
    """See that somebody listens at HOST:PORT.

    Raises:
        OSError: Nobody does.
        ValueError: It is no HOST:PORT.
    """
    host, _, port = address.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_SECONDS).close()


def _refuse_the_network() -> None:
    """Refuse to start a cluster that would listen to more than this machine: Ray was imported before it was told so."""
    address = ray.util.get_node_ip_address()
    if not ipaddress.ip_address(address).is_loopback:
        raise CallerError(
            f"executor.address: a cluster started here would listen to the network at {address}; set "
            f"{_ALONE}=0 before Ray is imported, or give the address of a cluster of your own"
        )
