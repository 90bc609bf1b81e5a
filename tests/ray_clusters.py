"""Ray clusters: one for all tests of a session, as they take seconds to start, and such as can be killed."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from real_processes import kill_sessions


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[Any]:
    """A cluster of one node with two cores, which this process is connected to; nodes that a test adds it removes."""
    import ray
    from ray.cluster_utils import Cluster

    fast = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 4}
    head = {"num_cpus": 2, "include_dashboard": False, "_system_config": fast}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="warning")
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@contextmanager
def ray_head(port: int, cpus: int = 2) -> Iterator[int]:
    """A head that `ray start` has started on loopback; gives the session that all its processes are in."""
    with tempfile.TemporaryDirectory(
        prefix="r", ignore_cleanup_errors=True
    ) as folder:  # its path has to be short, for Ray's sockets
        ray = str(Path(sys.executable).parent / "ray")
        here = ["--node-ip-address=127.0.0.1", f"--port={port}", f"--num-cpus={cpus}", f"--temp-dir={folder}"]
        process = subprocess.Popen(
            [ray, "start", "--head", "--block", "--include-dashboard=false", *here],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            _wait_until_it_has_a_node(port)
            yield process.pid
        finally:
            kill_sessions({process.pid})
            process.wait()


def _wait_until_it_has_a_node(port: int) -> None:
    """Wait until jobs can be submitted: the head listens before the node that it is itself has joined."""
    ask = [str(Path(sys.executable).parent / "ray"), "status", f"--address=127.0.0.1:{port}"]
    end = time.monotonic() + 120
    while "CPU" not in subprocess.run(ask, capture_output=True, text=True, check=False).stdout:
        assert time.monotonic() < end, "the head of a Ray cluster did not start"
        time.sleep(0.2)
