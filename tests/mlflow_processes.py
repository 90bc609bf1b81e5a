"""Which processes serve MLflow's pages."""

from __future__ import annotations

import os
from pathlib import Path


def processes() -> dict[int, str]:
    """Command line of every process that runs, by its id."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:  # it has ended meanwhile
                continue
    return found


def servers_of(store: Path) -> dict[int, str]:
    """Processes whose group serves a store, by the store's path on the first one's command line."""
    running = processes()
    leaders = [pid for pid, command in running.items() if str(store) in command and "mlflow server" in command]
    return {pid: command for pid, command in running.items() if _group(pid) in leaders}


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None
