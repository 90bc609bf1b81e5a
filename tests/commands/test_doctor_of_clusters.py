from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sweep_examples import finished_store, run

from noise_search.commands import Check, doctor

NOBODY = "127.0.0.1:9"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NOISE_SEARCH_STORE", raising=False)


def of_ray(address: str | None = None) -> dict[str, Check]:
    found = doctor(ray_address=address)
    return {check.name: check for check in found if check.name.startswith("Ray")}


def test_without_a_cluster_the_package_alone_is_looked_at() -> None:
    import ray

    assert of_ray() == {"Ray": Check("Ray", "ok", ray.__version__)}


def test_a_cluster_that_is_named_is_looked_at_and_left(ray_cluster: Any) -> None:
    node = ray_cluster.add_node(num_cpus=3)
    try:
        found = of_ray(address=ray_cluster.address)[f"Ray cluster {ray_cluster.address}"]
    finally:
        ray_cluster.remove_node(node)
    assert (found.state, found.found) == ("ok", "2 nodes with 5 CPUs and 0 GPUs")


def test_a_cluster_that_a_sweep_has_trained_at_and_is_gone_fails(tmp_path: Path) -> None:
    store = shutil.copytree(finished_store(), tmp_path / "store")
    executor = json.dumps({"name": "ray", "address": NOBODY})
    with closing(sqlite3.connect(store / "search.db")) as connection, connection:
        connection.execute("UPDATE sweeps SET config = json_set(config, '$.executor', json(?))", [executor])
    # In a process of its own, as one that is connected to a cluster takes that for it.
    said = run("doctor", "--store", str(store), "--json", cwd=tmp_path)
    assert said.returncode == 1
    found = {check["name"]: check for check in json.loads(said.stdout)}[f"Ray cluster {NOBODY}"]
    assert found["state"] == "fail"
    assert found["found"].startswith(f"executor.address: cannot reach a cluster by {NOBODY}: ")
