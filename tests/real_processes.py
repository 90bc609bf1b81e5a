"""What tests that start servers need: ports that nobody uses, and an end for all that a server has started."""

from __future__ import annotations

import os
import socket
from contextlib import suppress

import psutil


def free_port() -> int:
    """A port on loopback that nobody listens at just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def processes_of(sessions: set[int]) -> list[psutil.Process]:
    """What runs in some sessions."""
    found = []
    for process in psutil.process_iter():
        with suppress(ProcessLookupError):
            if os.getsid(process.pid) in sessions:
                found.append(process)
    return found


def kill_sessions(sessions: set[int]) -> None:
    """Kill all that runs in some sessions."""
    for process in processes_of(sessions):
        with suppress(psutil.NoSuchProcess):
            process.kill()
