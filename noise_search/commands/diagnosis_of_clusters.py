"""What works of Ray clusters, and what to mend."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from dataclasses import replace

from packaging.requirements import Requirement

from noise_search.commands.checks import DISTRIBUTION, Check, package_check
from noise_search.errors import installs

INSTALL = f"only executor=ray needs it; {installs('ray')}"


def ray_package() -> Iterator[Check]:
    """Whether Ray is installed, in a version that this one works with."""
    try:
        importlib.metadata.version("ray")
    except importlib.metadata.PackageNotFoundError:
        yield Check("Ray", "absent", "not installed", INSTALL)
    else:
        yield replace(package_check(_needed()), name="Ray")


def _needed() -> Requirement:
    """The versions that this one works with; any, where this one is not installed as a package."""
    try:
        lines = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        lines = []
    return next((one for one in map(Requirement, lines) if one.name == "ray"), Requirement("ray"))


def ray_cluster(address: str) -> Iterator[Check]:
    """Whether a cluster is reached, and what its nodes have for jobs.

    Raises:
        CallerError: It is not reached.
    """
    try:
        from noise_search.execute.ray_connections import nodes_at
    except ModuleNotFoundError:
        yield Check(f"Ray cluster {address}", "fail", "Ray is not installed", INSTALL)
        return
    nodes = nodes_at(address)
    cpus, gpus = (sum(node.get(name, 0.0) for node in nodes) for name in ("CPU", "GPU"))
    advice = "" if cpus else "nothing trains there: let a node join that has CPUs"
    found = f"{len(nodes)} nodes with {cpus:g} CPUs and {gpus:g} GPUs"
    yield Check(f"Ray cluster {address}", "warn" if advice else "ok", found, advice)
