"""What a configuration may say of executors, beyond the types of their keys."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from noise_search.executor_specs import InlineSpec, ProcessesSpec, RaySpec

EXECUTORS: dict[str, type[Any]] = {"inline": InlineSpec, "processes": ProcessesSpec, "ray": RaySpec}


def keys_of_others(name: str, keys: Iterable[str]) -> dict[str, str]:
    """Keys that an executor has not but others have, with what to say: whoever gives them wants one of those.

    >>> keys_of_others("inline", ["processes", "no_such_key"])
    {'processes': 'executor.processes: expected executor=processes with it, got executor=inline'}
    """
    known = {kind: {field.name for field in fields(spec)} for kind, spec in EXECUTORS.items()}
    owners = {key: [kind for kind in known if key in known[kind]] for key in keys if key not in known[name]}
    return {
        key: f"executor.{key}: expected executor={' or executor='.join(kinds)} with it, got executor={name}"
        for key, kinds in owners.items()
        if kinds
    }


def cluster_mistakes(spec: RaySpec) -> list[str]:
    """What is wrong with the address and the resources of a Ray cluster."""
    return [*_address_mistakes(spec), *_resource_mistakes(spec)]


def _address_mistakes(spec: RaySpec) -> list[str]:
    if spec.address is None or "://" not in spec.address:
        return []
    return [
        f"executor.address: expected auto or HOST:PORT of a cluster that this machine is a node of, got "
        f"{spec.address!r}; run the sweep on one of its nodes"
    ]


def _resource_mistakes(spec: RaySpec) -> list[str]:
    amounts = {"executor.cpus": spec.cpus, "executor.gpus": spec.gpus}
    amounts |= {f"executor.resources.{name}": amount for name, amount in spec.resources.items()}
    return [
        f"executor.resources.{name}: expected no {name}, which has a key of its own: executor.{name.lower()}s"
        for name in spec.resources
        if name in ("CPU", "GPU")
    ] + [
        f"{key}: expected a part of 1, or a whole number, which is all that Ray gives, got {amount!r}"
        for key, amount in amounts.items()
        if amount > 1 and not amount.is_integer()
    ]
