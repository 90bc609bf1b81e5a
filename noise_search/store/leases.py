"""Who drives a sweep: one process at a time, known to be alive by a lease it keeps renewing.

An owner is written `host:pid:start`, where `start` tells apart machines, boots, process namespaces and
processes that were given the same pid. A lease has a generation, one higher at every take: whoever writes
under an old one has lost it, however alive it is.
"""

from __future__ import annotations

import os
import socket
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import bindparam, select, update
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from noise_search.errors import CallerError
from noise_search.store.patience import is_repeated
from noise_search.store.tables import SweepRow, UtcDateTime


class LeaseLost(RuntimeError):  # noqa: N818
    """Another process drives this sweep now, or this one gave it back; nothing was written."""


class from_now(FunctionElement[datetime]):  # noqa: N801
    """Time by the database's clock, in so many seconds: clients' clocks may differ."""

    type = UtcDateTime()
    inherit_cache = True

    def __init__(self, seconds: float) -> None:
        super().__init__(f"{seconds:+.3f} seconds")


@compiles(from_now, "sqlite")
def _from_now_in_sqlite(element: from_now, compiler: SQLCompiler, **options: Any) -> str:
    # Six digits of a second, as SQLAlchemy writes times, for texts to compare as times do.
    return f"strftime('%Y-%m-%d %H:%M:%f000', 'now', {compiler.process(element.clauses, **options)})"


@compiles(from_now, "postgresql")
def _from_now_in_postgresql(element: from_now, compiler: SQLCompiler, **options: Any) -> str:
    # Not now(), which is when the transaction began: it may have waited for the row since.
    return f"(clock_timestamp() + CAST({compiler.process(element.clauses, **options)} AS INTERVAL))"


def this_process() -> str:
    """Owner text of the running process."""
    return owner_text(os.getpid())


def owner_text(pid: int) -> str:
    """Owner text of a process of this machine; without its last part where the system does not tell."""
    return f"{socket.gethostname()}:{pid}:{_start(pid) or ''}"


def is_dead(owner: str) -> bool:
    """Whether the owner is known to have ended: a process of this machine and boot that is no more.

    False says "not known": other machines or process namespaces, systems without `/proc`, owners with names
    of their own.
    """
    host, pid, start = _parts(owner)
    if not pid or host != socket.gethostname() or start.rpartition("-")[0] != _machine():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return _start(pid) != start


def claim(session: Session, sweep_id: int, owner: str, lease_seconds: float) -> int:
    """Give the lease of a sweep to `owner`, in the caller's transaction; returns its generation.

    Raises:
        CallerError: No such sweep, or somebody who may be alive holds an unexpired lease.
    """
    row = session.scalar(select(SweepRow).where(SweepRow.id == sweep_id).with_for_update())
    if row is None:
        raise CallerError(f"sweep: expected the id of a stored sweep, got {sweep_id}")
    if session.get_bind().dialect.name == "sqlite":
        _refuse_another_host(session)
    if is_repeated() and row.lease_owner == owner:  # taken the time before
        return row.lease_generation
    if is_held(session, sweep_id):
        raise CallerError(_held(row))
    generation: int = row.lease_generation + 1
    session.execute(
        update(SweepRow)
        .where(SweepRow.id == sweep_id)
        .values(lease_owner=owner, lease_generation=generation, lease_expires_at=from_now(lease_seconds))
    )
    return generation


def _refuse_another_host(session: Session) -> None:
    """Refuse to drive what lies in a file while a driver of another host holds a lease in it."""
    lasts = SweepRow.lease_expires_at > from_now(0)
    for row in session.scalars(select(SweepRow).where(SweepRow.lease_owner.is_not(None), lasts)):
        owner = row.lease_owner or ""
        if is_elsewhere(owner):
            raise CallerError(
                f"store: sweep {row.name} in it is in use by process {_who(owner)}, of another host; SQLite is for one "
                "host at a time, because its locks are not sure to hold on a network file system; wait for it, or "
                "share a database: --store postgresql+psycopg://... (docs/store.md); should it have died, the store "
                f"is free again from {_moment(row)} on"
            )


def is_elsewhere(owner: str) -> bool:
    """Whether an owner is a process of another machine; containers of one machine are not elsewhere."""
    host, pid, start = _parts(owner)
    here = (_machine() or "").partition("-")[0]
    return bool(pid) and host != socket.gethostname() and (not here or start.partition("-")[0] != here)


def is_held(session: Session, sweep_id: int) -> bool:
    """Whether somebody who may be alive holds an unexpired lease of a sweep."""
    return held_generation(session, sweep_id) is not None


def held_generation(session: Session, sweep_id: int) -> int | None:
    """Generation of the unexpired lease that somebody who may be alive holds of a sweep; None where nobody does."""
    lasts = SweepRow.lease_expires_at > from_now(0)
    row = session.execute(
        select(SweepRow.lease_owner, SweepRow.lease_generation).where(SweepRow.id == sweep_id, lasts)
    ).one_or_none()
    return None if row is None or row.lease_owner is None or is_dead(row.lease_owner) else row.lease_generation


# Not the whole row, and made once: every transaction begins with this, and the configuration is long.
_LEASE = (
    select(SweepRow.name, SweepRow.lease_generation, SweepRow.lease_owner)
    .where(SweepRow.id == bindparam("sweep"))
    .with_for_update()
)


def hold(session: Session, sweep_id: int, generation: int) -> None:
    """Lock the row of a sweep whose lease is still of this generation, until the transaction ends.

    Raises:
        LeaseLost: It is not.
    """
    row = session.connection().execute(_LEASE, {"sweep": sweep_id}).one_or_none()
    if row is None:
        raise LeaseLost(f"sweep {sweep_id} is no longer in the store")
    if row.lease_generation != generation:
        raise LeaseLost(f"sweep {row.name} has been taken over by {_who(row.lease_owner or 'another process')}")
    if row.lease_owner is None:
        raise LeaseLost(f"sweep {row.name} has been given back by this process")


def extend(session: Session, sweep_id: int, generation: int, lease_seconds: float) -> None:
    """Let the lease of this generation last for so many seconds from now.

    Raises:
        LeaseLost: It is another's, or nobody's.
    """
    ours = update(SweepRow).where(
        SweepRow.id == sweep_id, SweepRow.lease_generation == generation, SweepRow.lease_owner.is_not(None)
    )
    if session.connection().execute(ours.values(lease_expires_at=from_now(lease_seconds))).rowcount != 1:
        hold(session, sweep_id, generation)


def give_back(session: Session, sweep_id: int, generation: int) -> None:
    """End the lease of this generation; one that is lost already stays with its new owner."""
    ours = update(SweepRow).where(SweepRow.id == sweep_id, SweepRow.lease_generation == generation)
    session.execute(ours.values(lease_owner=None, lease_expires_at=None))


def _held(row: SweepRow) -> str:
    who, until = _who(row.lease_owner or ""), _moment(row)
    return (
        f"sweep {row.name} is in use by process {who}; wait for it, or end it with: noise-search stop {row.name}; "
        f"should it have died, the sweep is free again from {until} on"
    )


def _moment(row: SweepRow) -> str:
    return f"{row.lease_expires_at:%Y-%m-%d %H:%M:%S} UTC"


def _who(owner: str) -> str:
    host, pid, _ = _parts(owner)
    return f"{host}:{pid}" if pid else owner


def _parts(owner: str) -> tuple[str, int, str]:
    match owner.split(":"):
        case [host, pid, start] if pid.isdecimal():
            return host, int(pid), start
    return owner, 0, ""


def _machine() -> str | None:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", "")
        namespace = Path("/proc/self/ns/pid").readlink().name
    except OSError:
        return None
    return f"{boot}-{namespace.removeprefix('pid:[').removesuffix(']')}"


def _start(pid: int) -> str | None:
    machine = _machine()
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The name, in parentheses, may hold spaces; state and start time are fields 3 and 22.
    fields = stat.rpartition(")")[2].split()
    if machine is None or fields[0] in "ZX":
        return None
    return f"{machine}-{fields[19]}"
