"""Where jobs of a sweep train, as plain frozen data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Interval, Len

SilentSeconds = Annotated[float, Interval(ge=5, le=86400)]
Amount = Annotated[float, Interval(ge=0, le=1e6)]


@dataclass(frozen=True, slots=True)
class InlineSpec:
    """Jobs run in the process of the sweep itself."""

    name: Literal["inline"] = "inline"


@dataclass(frozen=True, slots=True)
class ProcessesSpec:
    """Jobs run in processes of their own on this machine.

    Args:
        processes: How many; None for one a GPU, or as many as there are cores for `train.threads` each.
        silent_seconds: Without a sign of life after which one is killed.
    """

    name: Literal["processes"] = "processes"
    processes: Annotated[int, Interval(ge=1, le=1024)] | None = None
    silent_seconds: SilentSeconds = 300.0


@dataclass(frozen=True, slots=True)
class RaySpec:
    """Jobs run as tasks of a Ray cluster.

    Args:
        address: Of a cluster that runs; None starts one on this machine alone.
        places: Jobs at the same time; None for as many as the cluster has room for.
        cpus, gpus, resources: That a job takes up, of the cluster's.
        max_retries: How often a job starts again whose worker or node was lost.
        silent_seconds: Without a sign of life after which a worker is killed.
    """

    name: Literal["ray"] = "ray"
    address: Annotated[str, Len(1, 200)] | None = None
    places: Annotated[int, Interval(ge=1, le=1_000_000)] | None = None
    cpus: Amount = 1.0
    gpus: Amount = 0.0
    resources: Mapping[str, Amount] = field(default_factory=dict)
    max_retries: Annotated[int, Interval(ge=0, le=100)] = 1
    silent_seconds: SilentSeconds = 300.0


ExecutorSpec = InlineSpec | ProcessesSpec | RaySpec
