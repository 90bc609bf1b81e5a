"""What works here, and what to mend."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from packaging.requirements import Requirement

from noise_search.commands.checks import DISTRIBUTION, Check, State, package_check
from noise_search.commands.diagnosis_of_clusters import ray_cluster, ray_package
from noise_search.commands.diagnosis_of_servers import store_server
from noise_search.commands.places import store_location
from noise_search.config import compose, tracking_mistakes
from noise_search.data import DATASETS, Source
from noise_search.errors import CallerError, raise_if_any
from noise_search.spec import TrackingSpec
from noise_search.store import Location, is_current, open_store
from noise_search.tracking.clients import connect, look_at
from noise_search.tracking.mlflow_sink import create_schema as create_tracking_schema
from noise_search.tracking.places import tracking_uri as uri_of

LEAST_PYTHON = (3, 11)
LEAST_FREE_BYTES, FEW_FREE_BYTES = 100 * 2**20, 2**30
SERVER_ADVICE = "start it, or go on with the sweeps at another tracking.uri"
NAMED_SWEEPS = 3  # by name where many use what does not work


def doctor(
    *, store: str | Path | None = None, tracking_uri: str | None = None, ray_address: str | None = None
) -> list[Check]:
    """Look at Python, packages, threads, the GPU, the store, tracking, Ray and the data sets; changes nothing.

    Args:
        store: Folder or URL of the store, which need not be there.
        tracking_uri: Of an MLflow server to look at, besides those that sweeps of the store have their runs on.
        ray_address: Of a Ray cluster to look at, `auto` or HOST:PORT, besides those that sweeps have trained at.

    Raises:
        CallerError: `tracking_uri` is no address of a server, or has a password in it.
    """
    raise_if_any(tracking_mistakes(TrackingSpec(uri=tracking_uri)))
    location = store_location(store)
    looks: dict[str, Callable[[], Iterator[Check]]] = {
        "Python": _python,
        "packages": _packages,
        "threads": _threads,
        "GPU": _gpu,
        "store folder": lambda: _folder(location),
        "store": lambda: _databases(location),
        "MLflow database": lambda: _tracking(location),
        "MLflow server": lambda: _servers(location, tracking_uri),
        "Ray": ray_package,
        "Ray cluster": lambda: _clusters(location, ray_address),
        "data": _data,
    }
    return [check for name, look in looks.items() for check in _looked(name, look)]


def _looked(name: str, look: Callable[[], Iterator[Check]]) -> list[Check]:
    """Checks of one kind; what goes wrong while looking is itself a finding."""
    try:
        return list(look())
    except CallerError as error:  # says what is the matter, and then what to do
        return [Check(name, "fail", *mistake.split("; ", 1)) for mistake in error.mistakes]
    except Exception as error:
        return [Check(name, "fail", f"{type(error).__name__}: {' '.join(str(error).split())}")]


def _python() -> Iterator[Check]:
    found = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info >= LEAST_PYTHON
    yield Check("Python", "ok" if good else "fail", found, "" if good else "install Python 3.11 or newer")


def _packages() -> Iterator[Check]:
    """Everything that noise-search itself needs, in the versions it needs."""
    try:
        lines = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        yield Check("packages", "warn", "not installed as a package", "pip install it, so that versions can be checked")
        return
    for requirement in map(Requirement, lines):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield package_check(requirement)


def _threads() -> Iterator[Check]:
    cores, threads = available_cores(), torch.get_num_threads()
    found = f"{threads} of torch on {cores} cores, OMP_NUM_THREADS {os.environ.get('OMP_NUM_THREADS', 'not set')}"
    if threads > cores:
        yield Check("threads", "warn", found, f"set OMP_NUM_THREADS={cores}, or train.threads={cores}")
    else:
        yield Check("threads", "ok", found)


def available_cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _gpu() -> Iterator[Check]:
    if torch.cuda.is_available():
        yield Check("GPU", "ok", torch.cuda.get_device_name())
    elif torch.version.cuda:
        advice = "see that nvidia-smi shows one, and that its driver suits this torch; else train.device=cpu"
        yield Check("GPU", "warn", f"none, but torch is built for CUDA {torch.version.cuda}", advice)
    else:
        yield Check("GPU", "ok", "none: training runs on the CPU")


def _folder(location: Location) -> Iterator[Check]:
    """Whether the store's folder, or the one that it would be made in, can be written, and how much room is left."""
    folder = next(place for place in (location.folder, *location.folder.parents) if place.exists())
    elsewhere = "name another folder with --store or NOISE_SEARCH_STORE"
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        yield Check("store folder", "fail", f"{folder} cannot be written ({error.strerror})", elsewhere)
        return
    there = str(folder) if folder == location.folder else f"{location.folder}, not made yet"
    yield Check("store folder", "ok", there)
    free = shutil.disk_usage(folder).free
    state = room(free)
    yield Check("free disk", state, f"{free / 2**30:.1f} GiB", "" if state == "ok" else f"make room, or {elsewhere}")


def room(free_bytes: int) -> State:
    """Whether so much free disk is enough for sweeps."""
    if free_bytes < LEAST_FREE_BYTES:
        return "fail"
    return "warn" if free_bytes < FEW_FREE_BYTES else "ok"


def _databases(location: Location) -> Iterator[Check]:
    if location.is_shared:
        yield from store_server(location)
        return
    if not (location.folder / "search.db").is_file():
        yield Check("store", "ok", "none yet: the first sweep makes it")
        return
    if not is_current(location):
        with open_store(location, create=False):  # says what is the matter
            pass
    with open_store(location, create=False) as opened:
        yield Check("store", "ok", f"{len(opened.sweeps())} sweeps, schema as expected")


def _tracking(location: Location) -> Iterator[Check]:
    if location.is_shared:
        is_current(location)  # to connect to what is not there would make tables
        create_tracking_schema(location.tracking_url)
        count = len(connect(location.tracking_url).search_experiments())
        yield Check("MLflow database", "ok", f"{count} experiments")
        return
    if not location.tracking_path.is_file():
        yield Check("MLflow database", "ok", "none yet: the first tracked sweep makes it")
        return
    if not _has_tables(location.tracking_path):  # to connect would make them
        yield Check(
            "MLflow database", "fail", "a file without MLflow's tables", "remove it: the next sweep makes it anew"
        )
        return
    count = len(connect(location.tracking_url).search_experiments())
    yield Check("MLflow database", "ok", f"{count} experiments")


def _servers(location: Location, named: str | None) -> Iterator[Check]:
    """Servers that sweeps of the store have their runs on, and one that is named: do they answer and let us in?"""
    users = _users(location, uri_of, named)
    for address, sweeps in users.items():
        for check in _looked(f"MLflow server {address}", partial(_server, address)):
            is_down = check.state == "fail" and not check.advice
            yield _used_by(replace(check, advice=SERVER_ADVICE) if is_down else check, sweeps)


def _users(
    location: Location, address_of: Callable[[Mapping[str, Any]], str | None], named: str | None
) -> dict[str, list[str]]:
    """Addresses with the names of the sweeps that use them, and one that is named."""
    found: dict[str, list[str]] = {} if named is None else {named: []}
    for name, config in _configurations(location).items():
        if (address := address_of(config)) is not None:
            found.setdefault(address, []).append(name)
    return found


def _used_by(check: Check, sweeps: Sequence[str]) -> Check:
    """The check with the sweeps that it matters to, where something is the matter."""
    if check.state == "ok" or not sweeps:
        return check
    rest = f" and {len(sweeps) - NAMED_SWEEPS} more" if len(sweeps) > NAMED_SWEEPS else ""
    return replace(check, found=f"{check.found} (used by {', '.join(sweeps[:NAMED_SWEEPS])}{rest})")


def _configurations(location: Location) -> dict[str, Mapping[str, Any]]:
    """Those of a store's sweeps, by name; none of a store that cannot be read, of which another check tells."""
    try:
        if not is_current(location):
            return {}
        with open_store(location, create=False) as opened:
            return {sweep.name: sweep.config for sweep in opened.sweeps()}
    except CallerError:
        return {}


def _server(address: str) -> Iterator[Check]:
    found = look_at(address)
    says = f"MLflow {found.version}, login accepted, {found.experiments} experiments"
    ours, theirs = (version.partition(".")[0] for version in (found.client_version, found.version))
    advice = "" if ours == theirs else f"here is MLflow {found.client_version}: install one of the same first number"
    yield Check(f"MLflow server {address}", "warn" if advice else "ok", says, advice)


def _clusters(location: Location, named: str | None) -> Iterator[Check]:
    """Clusters that sweeps of the store have trained at, and one that is named."""
    users = _users(location, lambda config: config.get("executor", {}).get("address"), named)
    for address, sweeps in users.items():
        for check in _looked(f"Ray cluster {address}", partial(ray_cluster, address)):
            yield _used_by(check, sweeps)


def _has_tables(path: Path) -> bool:
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
        return bool(database.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchall())


def _data() -> Iterator[Check]:
    for name, source in DATASETS.items():
        yield from _looked(f"data {name}", partial(_one_data_set, name, source))


def _one_data_set(name: str, source: Source) -> Iterator[Check]:
    """A data set is loaded, which compares checksums; one of files may be absent, but not in part."""
    root = compose([f"data={name}"])["data"].get("root")
    if source.files and not any((Path(root) / file).exists() for file in source.files):
        found = f"none of its {len(source.files)} files in {root}"
        advice = f"only data={name} needs them: put there {source.origin}, or name their folder with data.root=FOLDER"
        yield Check(f"data {name}", "absent", found, advice)
        return
    place = {"root": root} if source.files else {}
    data = source.load(split_seed=0, limit=None, **place)
    yield Check(f"data {name}", "ok", f"{sum(map(len, (data.train, data.validation, data.test))):,} samples")
