"""Services of docker-compose.yml as plain processes on loopback: the same commands, in the order that they depend in.

What containers have of their own is put in its place: names of hosts and ports, folders of volumes and configs. Of the
image that runs PostgreSQL only what it does to an empty volume is done here, on a server that the caller has.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from compose_file import CHECKOUT, content, services, words
from postgres_servers import Server
from real_processes import free_port, kill_sessions

PATIENCE_SECONDS = 400.0
# Of addresses that say localhost Ray makes the machine's own; this one it leaves alone, where getaddrinfo looks it up.
_LOOPBACK_FOR_RAY = "127.1"
_ON_LOOPBACK = {
    "ray-head": {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"},  # which is how Ray says: on this machine alone
}


class Deployment:
    """The services, as far as they have been started.

    Args:
        folder: For volumes, configs and logs; its path has to be short, for Ray's sockets.
        server: PostgreSQL.
        variables: What Compose would read from .env.
    """

    def __init__(self, folder: Path, server: Server, variables: Mapping[str, str]) -> None:
        self.folder, self._server = folder, server
        self._services = services(variables)
        self._ports = {"5432": server.port, "5000": free_port(), "6379": free_port()}
        self._own_ports = {name: free_port() for name in self._services}
        self._paths = {name: self._make_paths(name) for name in self._services}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._ready: set[str] = set()  # healthy, or done
        self.sessions: set[int] = set()

    @property
    def mlflow_url(self) -> str:
        """Address that the MLflow server is published at."""
        return f"http://127.0.0.1:{self._ports['5000']}"

    def run(self, name: str, *arguments: str, seconds: float = PATIENCE_SECONDS) -> str:
        """Start what a service depends on, run it to its end, and give its standard output."""
        self._start_dependencies(name)
        service = self._services[name]
        command = [*words(service.get("entrypoint", [])), *(arguments or words(service["command"]))]
        process = self._popen(name, command, subprocess.PIPE)
        said, _ = process.communicate(timeout=seconds)
        kill_sessions({process.pid})  # as the container ends, and all that it has started
        assert process.returncode == 0, self.log(name)
        return said.decode()

    def log(self, name: str) -> str:
        """What a service has said on standard error, and long-running ones on both."""
        return f"{name}: {(self.folder / f'{name}.log').read_text(errors='replace')}"

    def end(self) -> None:
        """Kill every process of every service."""
        kill_sessions(self.sessions)
        for process in self._running.values():
            process.wait()

    def _start_dependencies(self, name: str) -> None:
        """As Compose does it: those that may start at the same time do, and the service itself waits for all."""
        conditions = {of: how["condition"] for of, how in self._services[name].get("depends_on", {}).items()}
        for dependency, condition in conditions.items():
            if condition == "service_healthy":
                self._start(dependency)
            elif dependency not in self._ready:
                self.run(dependency)
                self._ready.add(dependency)
        for dependency in conditions.keys() - self._ready:
            self._wait_until_healthy(dependency)
            self._ready.add(dependency)

    def _start(self, name: str) -> None:
        """Start a service after those that it depends on."""
        if name in self._running or name in self._ready:
            return
        self._start_dependencies(name)
        if name == "postgres":
            self._set_up_databases()
        else:
            self._running[name] = self._popen(name, words(self._services[name]["command"]))

    def _set_up_databases(self) -> None:
        """What the image does to an empty volume."""
        of = self._services["postgres"]["environment"]
        user, password = of["POSTGRES_USER"], of["POSTGRES_PASSWORD"]
        self._server.ask(f"CREATE ROLE {user} SUPERUSER LOGIN PASSWORD '{password}'")
        self._server.ask(f"CREATE DATABASE {of['POSTGRES_DB']} OWNER {user}")
        for config in self._services["postgres"]["configs"]:
            for statement in filter(str.strip, content(config["source"]).split(";")):
                self._server.ask(statement)

    def _wait_until_healthy(self, name: str) -> None:
        kind, *check = self._services[name]["healthcheck"]["test"]
        assert kind == "CMD"
        end = time.monotonic() + PATIENCE_SECONDS
        while self._popen(f"{name}-health", check, service=name).wait(timeout=PATIENCE_SECONDS):
            assert name not in self._running or self._running[name].poll() is None, self.log(name)
            assert time.monotonic() < end, self.log(name) + self.log(f"{name}-health")
            time.sleep(0.5)

    def _popen(
        self, log: str, command: list[str], output: int | None = None, service: str = ""
    ) -> subprocess.Popen[bytes]:
        name = service or log
        with (self.folder / f"{log}.log").open("ab") as file:
            process = subprocess.Popen(
                [self._local(name, word) for word in command],
                cwd=self.folder,
                env=self._environment(name),
                stdout=output or file,
                stderr=file,
                start_new_session=True,
            )
        self.sessions.add(process.pid)
        return process

    def _environment(self, name: str) -> dict[str, str]:
        given = {key: self._local(name, value) for key, value in self._services[name]["environment"].items()}
        binaries = [str(Path(sys.executable).parent), str(self._server.binaries), os.environ["PATH"]]
        ours = {
            "GRPC_DNS_RESOLVER": "native",
            "HOME": str(self.folder),
            "MLFLOW_DISABLE_TELEMETRY": "true",  # as the image has it
            "OMP_NUM_THREADS": "1",
            "PATH": os.pathsep.join(binaries),
            "PYTHONPATH": str(CHECKOUT),
            "RAY_TMPDIR": str(self.folder),
        }
        return {**ours, **given, **_ON_LOOPBACK.get(name, {})}

    def _local(self, name: str, text: str) -> str:
        """A command's word, or a variable's value, as it is outside of a container."""
        text = self._on_loopback(name, text)
        for target, path in self._paths[name].items():
            text = re.sub(rf"(?<![^=\s]){re.escape(target)}(?!\w)", str(path), text)
        return text

    def _on_loopback(self, name: str, text: str) -> str:
        text = text.replace("0.0.0.0", "127.0.0.1").replace("ray-head:", f"{_LOOPBACK_FOR_RAY}:")
        text = re.sub(r"\b(postgres|mlflow):(?=\d)", "127.0.0.1:", text)
        ports = {**self._ports, "6380": self._own_ports[name]}  # every container has the last for itself
        return re.sub(r"(?<!\d)(" + "|".join(ports) + r")(?!\d)", lambda found: str(ports[found[0]]), text)

    def _make_paths(self, name: str) -> dict[str, Path]:
        """Volumes and configs of a service: where it sees them, and where they are."""
        found = {}
        for volume in self._services[name].get("volumes", []):
            source, target = volume.split(":")
            found[target] = self.folder / "volumes" / source
            found[target].mkdir(parents=True, exist_ok=True)
        for config in self._services[name].get("configs", []):
            found[config["target"]] = self.folder / config["source"]
            found[config["target"]].write_text(self._on_loopback(name, content(config["source"])))
        return found
