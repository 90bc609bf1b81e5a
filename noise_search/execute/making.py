"""From a configuration to the executor that it asks for."""

from __future__ import annotations

import importlib.util
import os
import secrets
from dataclasses import replace

import torch

from noise_search.errors import CallerError, installs
from noise_search.execute.contract import Executor
from noise_search.execute.inline import InlineExecutor
from noise_search.execute.processes import ProcessesExecutor
from noise_search.execute.workers import Sizes, cores, make_kit
from noise_search.executor_specs import ExecutorSpec, InlineSpec, ProcessesSpec, RaySpec
from noise_search.training import Resolved, Workbench


def make_executor(spec: ExecutorSpec, workbench: Workbench, mode: Resolved, score_mode: Resolved) -> Executor:
    """Executor whose jobs train as on the driver's own workbench; to be closed when it is no longer needed.

    Args:
        spec: Which one.
        workbench: The driver's own; its data are those that every worker has to find.
        mode, score_mode: How cohorts train and are scored.

    Raises:
        CallerError: The model or the data cannot be had in a worker; or Ray's cluster is not there, or has not what a
            job takes up, which has to be GPUs just where trials train on them.
    """
    if isinstance(spec, InlineSpec):
        return InlineExecutor(workbench, mode, score_mode)
    setup = replace(workbench.setup, mode=mode, score_mode=score_mode)
    sizes = Sizes(len(workbench.yardstick.labels), workbench.steps_per_epoch)
    if isinstance(spec, ProcessesSpec):
        each = environments(spec, workbench)
        kit = make_kit(workbench, setup, setup.train.threads or max(1, cores() // len(each)))
        return ProcessesExecutor(kit, sizes, each, silent_seconds=spec.silent_seconds)
    kit = make_kit(workbench, setup, setup.train.threads or max(1, int(spec.cpus)))
    _refuse_other_devices(spec, workbench)
    _set_up_ray(spec)
    from noise_search.execute.ray_cluster import RayExecutor

    return RayExecutor(kit, sizes, spec)


def refuse_unready(spec: ExecutorSpec) -> None:
    """Refuse an executor whose library or cluster is not there, within seconds: before anything is made for it.

    Raises:
        CallerError: So it is.
    """
    refuse_not_installed(spec)
    if isinstance(spec, RaySpec) and spec.address is not None:
        _set_up_ray(spec)
        from noise_search.execute.ray_connections import head_at

        head_at(spec.address)


def refuse_not_installed(spec: ExecutorSpec) -> None:
    """Refuse an executor whose library is not there, before anything is done for it."""
    if isinstance(spec, RaySpec) and importlib.util.find_spec("ray") is None:
        raise CallerError(f"executor.name: ray is not installed; {installs('ray')}")


def environments(spec: ProcessesSpec, workbench: Workbench) -> list[dict[str, str]]:
    """Variables of each worker's process: on a GPU the one that it sees, in turn."""
    device, threads = workbench.device, workbench.setup.train.threads or 1
    if device.type != "cuda":
        usual = max(1, cores() // threads) if device.type == "cpu" else 1
        return [{} for _ in range(spec.processes or usual)]
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    seen = named.split(",") if named else [str(index) for index in range(torch.cuda.device_count())]
    ours = seen if device.index is None else [seen[device.index]]
    return [{"CUDA_VISIBLE_DEVICES": ours[place % len(ours)]} for place in range(spec.processes or len(ours))]


def _refuse_other_devices(spec: RaySpec, workbench: Workbench) -> None:
    """A job that takes up no GPU must not train on one, which Ray may have given to another."""
    device = workbench.device.type
    if (device == "cuda") != (spec.gpus > 0):
        expected = "more than 0" if device == "cuda" else "0"
        raise CallerError(f"executor.gpus: expected {expected} where trials train on {device}, got {spec.gpus:g}")


def _set_up_ray(spec: RaySpec) -> None:
    """Set what Ray reads from the environment when it is imported, where the caller has not set it.

    Left alone, a cluster started here would listen to the whole network.
    """
    variables = {"RAY_USAGE_STATS_ENABLED": "0"}
    if spec.address is None:
        variables |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}  # which is how Ray says: on this machine alone
        if "RAY_AUTH_MODE" not in os.environ:
            variables |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    for name, value in variables.items():
        os.environ.setdefault(name, value)
