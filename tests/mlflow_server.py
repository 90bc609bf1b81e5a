"""A real MLflow server on loopback, which tests start, kill and start again at the same address."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from real_processes import free_port

START_SECONDS = 120.0


class MlflowServer:
    """One server with its database and files in a folder; `start` and `kill` it as often as needed.

    Args:
        folder: For the database, the artifacts and the log.
        more: Environment variables besides.
        arguments: Of `mlflow server` besides.
    """

    def __init__(self, folder: Path, *arguments: str, **more: str) -> None:
        self.folder, self._arguments, self._more = folder, arguments, more
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, unless it runs, and wait until it answers."""
        if self.process is not None:
            return
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                self._command(),
                cwd=self.folder,
                env=self._environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        end = time.monotonic() + START_SECONDS
        while not self._answers():
            said = (self.folder / "server.log").read_text(errors="replace")[-3000:]
            assert self.process.poll() is None, f"MLflow's server ended: {said}"
            assert time.monotonic() < end, f"MLflow's server does not answer: {said}"
            time.sleep(0.1)

    def kill(self) -> None:
        """Kill it with all its processes, as by `kill -9`."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def _command(self) -> list[str]:
        return [
            *(sys.executable, "-m", "mlflow", "server", "--backend-store-uri", "sqlite:///mlflow.db"),
            *("--artifacts-destination", str(self.folder / "artifacts"), "--workers", "1"),
            *("--host", "127.0.0.1", "--port", str(self.port), *self._arguments),
        ]

    def _environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
        ours = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        return {**kept, **ours, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path), **self._more}

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=10) as answer:
                return bool(answer.status == 200)
        except urllib.error.HTTPError as error:
            return error.code == 401
        except OSError:
            return False
