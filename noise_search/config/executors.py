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
    return {
        key: f"executor.{key}: expected {choices} with it, got executor={name}"
        for key in keys
        if (choices := choices_of(key)) and name not in _having(key)
    }


def choices_of(key: str) -> str:
    """Choices that have a key, as one makes them on the command line; empty where none has.

    >>> choices_of("silent_seconds"), choices_of("no_such_key")
    ('executor=processes or executor=ray', '')
    """
    return " or ".join(f"executor={kind}" for kind in _having(key))


def _having(key: str) -> list[str]:
    return [kind for kind, spec in EXECUTORS.items() if key in {field.name for field in fields(spec)}]


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
