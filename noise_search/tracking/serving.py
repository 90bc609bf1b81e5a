"""MLflow's own pages over a store's database, served on this machine for as long as somebody looks.

    with serve(location.tracking_url, location.artifact_folder) as server:
        ...  # server.address, http://127.0.0.1:5000, answers until the block is left

The server is MLflow's, cut down to one worker without its job queue. It runs in a process group of its own, which is
ended as a whole.
"""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from noise_search.errors import CallerError
from noise_search.tracking.places import Place
from noise_search.tracking.runs import sweep_runs

PORT = 5000
LARGEST_PORT = 65535
HOST = "127.0.0.1"
START_SECONDS = 120.0
END_SECONDS = 10.0
EXPERIMENTS = "#/experiments"  # the page that lists them
# Without the type MLflow opens the pages for language models, where these runs are not shown.
_TYPE = "workflowType=machine_learning"
_MORE_PORTS = 3  # that are tried where nobody named one
# As Uvicorn, which serves MLflow's pages, says it in its log.
_LISTENS, _IN_USE = "Uvicorn running on", "address already in use"
_ERROR = re.compile(r"\w(Error|Exception)\b.*:")


@dataclass(frozen=True, slots=True)
class Server:
    """MLflow's server while it runs, and the address it answers at."""

    address: str
    _process: subprocess.Popen[bytes]
    _said: Path

    def look(self) -> None:
        """Nothing, while the server runs.

        Raises:
            RuntimeError: It has ended; with the error that it told of.
        """
        if self._process.poll() is not None:
            raise RuntimeError(f"MLflow's server ended with exit code {self._process.returncode}: {_told(self._said)}")


@contextmanager
def serve(
    tracking_url: str,
    artifact_folder: Path,
    *,
    host: str = HOST,
    port: int | None = None,
    seconds: float = START_SECONDS,
) -> Iterator[Server]:
    """Start MLflow's server on a database, wait until it answers, yield it; end it on leaving.

    Args:
        tracking_url: URL of the database, whose tables `mlflow_sink.create_schema` has made.
        artifact_folder: Where experiments that are made in the pages keep their files.
        host: Address to listen at; on any but a loopback address everybody who reaches it can change the runs.
        port: To listen at; None takes 5000, or a free one where that is in use.
        seconds: How long to wait for the first answer.

    Raises:
        CallerError: `port` is in use, or this machine has no such address.
        RuntimeError: The server ended or does not answer; with the error that it told of.
    """
    with tempfile.TemporaryDirectory() as folder:  # its working folder, so that it leaves nothing in the caller's
        said = Path(folder) / "server.log"
        # What is free now may be another server's when ours begins to listen, seconds later.
        for wanted in [port] if port is not None else [None, *[0] * _MORE_PORTS]:
            chosen = free_port(host, wanted)
            process = _start(_command(artifact_folder, host, chosen), tracking_url, Path(folder), said)
            try:
                if _has_its_port(process, _reached_at(host), chosen, said, seconds):
                    yield Server(f"http://{_in_url(_reached_at(host))}:{chosen}", process, said)
                    return
            finally:
                _end(process)
        raise CallerError(_refusal(host, chosen, "in use"))


def free_port(host: str, port: int | None) -> int:
    """`port` if it can be listened at, for None 5000 or else one that the system gives.

    Raises:
        CallerError: It is in use, or the address is none of this machine's.
    """
    wanted = [PORT, 0] if port is None else [port]
    refusal = ""
    for number in wanted:
        try:
            if not 0 <= number <= LARGEST_PORT:  # the system would take it modulo 65536
                raise OSError(f"no port from 0 to {LARGEST_PORT}")
            family, kind, protocol, _, address = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)[0]
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
                return int(probe.getsockname()[1])
        except OSError as error:
            refusal = error.strerror or str(error)
    raise CallerError(_refusal(host, wanted[0], refusal))


def _refusal(host: str, port: int, why: str) -> str:
    return (
        f"ui: expected an address and port to listen at, got {host}:{port} ({why}); "
        "name another --port, or leave it out for a free one"
    )


@dataclass(frozen=True, slots=True)
class Links:
    """Paths within MLflow's pages, to put behind the server's address and a slash.

    Args:
        sweep: The sweep's own run, with its parameters, numbers and files.
        trials: Runs of its experiment, where [+] before the sweep's run unfolds its trials and controls.
    """

    sweep: str
    trials: str


def links_to(place: Place, sweep: str) -> Links:
    """Where MLflow's pages show a sweep.

    Raises:
        CallerError: Where MLflow has no run of that sweep.
        TrackingServerError: A server does not answer, or refuses the login.
    """
    parents = [run for run in sweep_runs(place, sweep) if run.member is None]
    if not parents:
        raise CallerError(
            f"MLflow: expected a run of sweep {sweep!r} in {place.shown}, got none; "
            "noise-search mirror, or the same sweep once more with tracking.enabled=true, puts it there"
        )
    runs = f"#/experiments/{parents[0].experiment_id}/runs"
    return Links(f"{runs}/{parents[0].run_id}?{_TYPE}", f"{runs}?{_TYPE}")


def _command(artifact_folder: Path, host: str, port: int) -> list[str]:
    return [
        *(sys.executable, "-m", "mlflow", "server"),
        *("--default-artifact-root", artifact_folder.resolve().as_uri(), "--no-serve-artifacts"),
        *("--host", host, "--port", str(port), "--workers", "1"),
    ]


def _start(command: list[str], tracking_url: str, folder: Path, said: Path) -> subprocess.Popen[bytes]:
    with said.open("wb") as log:
        return subprocess.Popen(  # noqa: S603  # our own interpreter
            command,
            cwd=folder,
            # Not on the command line, which everybody on this machine can read.
            env=_environment(os.environ) | {"MLFLOW_BACKEND_STORE_URI": tracking_url},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _environment(ours: Mapping[str, str]) -> dict[str, str]:
    """Ours, without what would tell MLflow another database or size, but with what it is told of hosts."""
    kept = {key: value for key, value in ours.items() if not key.startswith("MLFLOW_") or "_SERVER_" in key}
    return {
        **kept,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "OMP_NUM_THREADS": "1",
    }


def _has_its_port(process: subprocess.Popen[bytes], host: str, port: int, said: Path, seconds: float) -> bool:
    """Wait until the server answers; False where the port went to another one, which would answer in its place."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        log = said.read_text(encoding="utf-8", errors="replace")
        if _IN_USE in log:
            return False
        if process.poll() is not None:
            raise RuntimeError(f"MLflow's server ended with exit code {process.returncode}: {_told(said)}")
        if _LISTENS in log and _answers(host, port):
            return True
        time.sleep(0.1)
    raise RuntimeError(f"MLflow's server does not answer after {seconds:.0f} s: {_told(said)}")


def _answers(host: str, port: int) -> bool:
    connection = http.client.HTTPConnection(host, port, timeout=10)  # past any proxy
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _told(said: Path) -> str:
    """Last line of the log that names an error, or else its last line."""
    lines = [line.strip() for line in said.read_text(encoding="utf-8", errors="replace").split("\n") if line.strip()]
    errors = [line for line in lines if _ERROR.search(line)]
    return (errors or lines or ["it said nothing"])[-1]


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask every process of the server's group to end, then make those end that have not."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        end = time.monotonic() + END_SECONDS
        while time.monotonic() < end and _is_running(process):
            time.sleep(0.02)


def _is_running(process: subprocess.Popen[bytes]) -> bool:
    ended = process.poll() is not None  # first, because it also lets the system forget the process
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return not ended
    return True


def _reached_at(host: str) -> str:
    """Address under which this machine reaches a server at `host`."""
    return {"0.0.0.0": HOST, "::": "::1"}.get(host, host)  # noqa: S104  # compared, not listened at


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
