"""From a composed dictionary to a `SweepSpec`: types and ranges checked, every mistake reported at once."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from noise_search.config.addresses import checkpoint_mistakes, tracking_mistakes
from noise_search.config.executors import EXECUTORS, cluster_mistakes, keys_of_others
from noise_search.config.spaces import parse_space
from noise_search.corruptions.suites import ANY_DATA, TUNE_KINDS, is_held_out, suite_from_mapping
from noise_search.data import DATASETS, load
from noise_search.errors import CallerError, expected_one_of, raise_if_any
from noise_search.executor_specs import ExecutorSpec, InlineSpec, RaySpec
from noise_search.models import MODELS, argument_mistakes
from noise_search.optimizers import OPTIMIZERS
from noise_search.spec import (
    LARGEST,
    BudgetSpec,
    ControlsSpec,
    DataSpec,
    DriverSpec,
    LogSpec,
    ModelSpec,
    ObjectiveSpec,
    OptimizerSpec,
    Positive,
    SamplerSpec,
    Seed,
    StoppingSpec,
    StoreSpec,
    SweepSpec,
    TrackingSpec,
    TrainSpec,
)
from noise_search.targets import resolve
from noise_search.urls import without_password

T = TypeVar("T")
_NODES: dict[str, type[Any]] = {
    "objective": ObjectiveSpec,
    "sampler": SamplerSpec,
    "stopping": StoppingSpec,
    "budget": BudgetSpec,
    "train": TrainSpec,
    "driver": DriverSpec,
    "controls": ControlsSpec,
    "tracking": TrackingSpec,
    "store": StoreSpec,
}
_OTHERS = (
    "name",
    "seed",
    "data",
    "model",
    "optimizer",
    "space",
    "suite",
    "executor",
    "experiment",
    "log",
)
# Keys of their own, or such as mean nothing in this loop.
_NO_OPTIONS = {"params", "lr", "weight_decay", "capturable", "differentiable"}
_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")


def check(config: Mapping[str, Any]) -> list[str]:
    """Every mistake in a composed configuration; an empty list for a sound one."""
    try:
        build(config)
    except CallerError as error:
        return list(error.mistakes)
    return []


def build(config: Mapping[str, Any]) -> SweepSpec:
    """Spec of a sweep from a composed configuration; `name` is still empty where the configuration has none.

    Raises:
        CallerError: With every mistake, each naming its key, the value and what is allowed.
    """
    mistakes = [expected_one_of("configuration", [*_NODES, *_OTHERS], key) for key in config if key not in _known()]
    parts: dict[str, Any] = {
        name: _collect(mistakes, partial(_typed, kind, config.get(name), name)) for name, kind in _NODES.items()
    }
    data = _collect(mistakes, partial(_data, config.get("data")))
    modality, epochs = load(data).modality if data else None, parts["train"].epochs if parts["train"] else None
    parts |= {
        "name": _collect(mistakes, partial(_name, config.get("name"), "name")),
        "experiment": _collect(mistakes, partial(_name, config.get("experiment", "sweep"), "experiment")),
        "seed": _collect(mistakes, partial(_whole, config.get("seed"), "seed")),
        "data": data,
        "model": _collect(mistakes, partial(_model, config.get("model"), data)),
        "optimizer": _collect(mistakes, partial(_optimizer, config.get("optimizer"))),
        "space": _collect(mistakes, partial(parse_space, config.get("space"), modality=modality, epochs=epochs)),
        "suite": _collect(mistakes, partial(_suite, config.get("suite"), data)),
        "executor": _collect(mistakes, partial(_executor, config.get("executor"))),
        "log": _collect(mistakes, partial(_typed, LogSpec, config.get("log", {}), "log")),  # earlier versions had none
    }
    if parts["stopping"] and parts["stopping"].name != "none" and epochs == 1:
        mistakes.append(f"train.epochs: expected at least 2 for stopping={parts['stopping'].name}, got 1")
    mistakes += tracking_mistakes(parts["tracking"]) if parts["tracking"] else []
    if parts["store"]:
        mistakes += checkpoint_mistakes(parts["store"], trains_here=isinstance(parts["executor"], InlineSpec))
    raise_if_any(mistakes)
    return SweepSpec(**parts, raw=_without_password(config))


def _without_password(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration as it may be stored and shown."""
    store = {**config["store"], "url": without_password(config["store"]["url"])}
    return {**config, "store": store}


def _known() -> set[str]:
    return {*_NODES, *_OTHERS}


def _collect(mistakes: list[str], make: Callable[[], T]) -> T | None:
    try:
        return make()
    except CallerError as error:
        mistakes.extend(error.mistakes)
        return None


def _typed(kind: type[T], node: object, where: str) -> T:
    """Validate a mapping against a dataclass: unknown keys, types and ranges."""
    if not isinstance(node, Mapping):
        raise CallerError(f"{where}: expected a mapping, got {node!r}")
    assert is_dataclass(kind)
    names = [field.name for field in fields(kind)]
    mistakes = [expected_one_of(where, names, key) for key in node if key not in names]
    known = {key: value for key, value in node.items() if key in names}
    not_finite = dict(_not_finite(known, where))
    mistakes += [_finite_message(path, value) for path, value in not_finite.items()]
    try:
        # Through JSON, because only there does strict mode take a list for a tuple and an int for a float.
        value: T = TypeAdapter(kind).validate_json(json.dumps(known), strict=True)
    except ValidationError as error:
        found = [(".".join([where, *map(str, detail["loc"])]), detail) for detail in error.errors()]
        mistakes += [_message(path, detail) for path, detail in found if path not in not_finite]
        raise CallerError(*mistakes) from error
    raise_if_any(mistakes)
    return value


def _message(path: str, detail: Any) -> str:
    if detail["type"] == "missing":
        return f"{path}: expected a value, got none"
    limits = detail.get("ctx", {})
    if detail["type"] in ("too_short", "too_long"):
        least = detail["type"] == "too_short"
        amount = f"at least {limits['min_length']}" if least else f"at most {limits['max_length']}"
        return f"{path}: expected {amount} entries, got {detail['input']!r}"
    expected = detail["msg"].removeprefix("Input should be ").removeprefix("a valid ")
    return f"{path}: expected {'list' if expected == 'array' else expected}, got {detail['input']!r}"


def _finite_message(path: str, value: float) -> str:
    return f"{path}: expected a finite number, got {value!r}"


@dataclass(frozen=True, slots=True)
class _ShippedData:
    """Keys of every shipped data set."""

    name: str
    split_seed: Seed = 0
    limit: Positive | None = None


@dataclass(frozen=True, slots=True)
class _DataOfFiles(_ShippedData):
    """Keys of a shipped data set that is read from files."""

    root: str | None = None


@dataclass(frozen=True, slots=True)
class _OwnData:
    """Keys that mean the same for all data of one's own; any other is the function's."""

    name: str | None = None
    split_seed: Seed = 0
    limit: Positive | None = None


def _data(node: object) -> DataSpec:
    """Which data; they are loaded here, so that what is wrong with them is told with everything else."""
    spec = _own_data(node) if isinstance(node, Mapping) and "_target_" in node else _shipped_data(node)
    data = load(spec)
    if data.modality not in TUNE_KINDS:
        raise CallerError(expected_one_of("data.modality", TUNE_KINDS, data.modality))
    return spec if spec.target is None else replace(spec, name=_own_name(spec.name or data.name))


def _shipped_data(node: object) -> DataSpec:
    name = node.get("name") if isinstance(node, Mapping) else None
    source = DATASETS.get(name) if isinstance(name, str) else None
    spec = _typed(_DataOfFiles if source is None or source.files else _ShippedData, node, "data")
    if source is None:
        raise CallerError(expected_one_of("data.name", DATASETS, name))
    root = spec.root if isinstance(spec, _DataOfFiles) else None
    absolute = None if root is None else str(Path(root).expanduser().absolute())
    return DataSpec(spec.name, spec.split_seed, absolute, spec.limit)


def _own_data(node: Mapping[str, Any]) -> DataSpec:
    ours = {key: node[key] for key in ("name", "split_seed", "limit") if key in node}
    theirs = {key: value for key, value in node.items() if key not in (*ours, "_target_")}
    mistakes = [
        f"data: expected keys that an argument can have, got {key!r}"
        for key in theirs
        if not isinstance(key, str) or not key.isidentifier() or key.startswith("_")
    ]
    spec = _collect(mistakes, partial(_typed, _OwnData, ours, "data"))
    if not isinstance(node["_target_"], str):
        mistakes.append(
            f"data._target_: expected a dotted path such as my_package.my_module.build, got {node['_target_']!r}"
        )
    raise_if_any(mistakes)
    assert spec is not None
    return DataSpec(spec.name or "", spec.split_seed, limit=spec.limit, target=node["_target_"], parameters=theirs)


def _own_name(name: str) -> str:
    if name in DATASETS or name == ANY_DATA:
        raise CallerError(f"data.name: {name!r} is taken; give data of your own another name")
    return _name(name, "data.name")


def _model(node: object, data: DataSpec | None) -> ModelSpec:
    if isinstance(node, Mapping) and "_target_" in node:
        return _own_model(node)
    name = node.get("name") if isinstance(node, Mapping) else node
    if not isinstance(node, Mapping) or not isinstance(name, str) or name not in MODELS:
        raise CallerError(expected_one_of("model.name", MODELS, name))
    entry = MODELS[node["name"]]
    parameters = _typed(entry.parameters, {key: value for key, value in node.items() if key != "name"}, "model")
    raise_if_any(entry.check(parameters))
    dimensions = load(data).train.inputs.dim() - 1 if data else None
    if entry.dimensions is not None and dimensions is not None and dimensions not in entry.dimensions:
        raise CallerError(
            f"model.name: {node['name']} takes samples of {list(entry.dimensions)} dimensions, "
            f"got data of {dimensions}; choose another model"
        )
    return ModelSpec(node["name"], parameters)


def _own_model(node: Mapping[str, Any]) -> ModelSpec:
    """A model of the caller's; whether it suits the data is found out when the workbench is built."""
    target, normalise = node["_target_"], node.get("normalise", True)
    arguments = {key: value for key, value in node.items() if key not in ("_target_", "normalise")}
    mistakes = [] if isinstance(normalise, bool) else [f"model.normalise: expected true or false, got {normalise!r}"]
    mistakes += [_finite_message(path, value) for path, value in _not_finite(arguments, "model")]
    make = _collect(mistakes, partial(resolve, target, "model._target_"))
    if make is not None:
        mistakes += argument_mistakes(make, arguments)
    raise_if_any(mistakes)
    return ModelSpec(target.rpartition(".")[2], arguments, target, normalise)


def _optimizer(node: object) -> OptimizerSpec:
    if not isinstance(node, Mapping):
        raise CallerError(f"optimizer: expected a mapping, got {node!r}")
    name, options = node.get("name"), node.get("options", {})
    if not isinstance(name, str) or name not in OPTIMIZERS:
        raise CallerError(expected_one_of("optimizer.name", OPTIMIZERS, name))
    if not isinstance(options, Mapping):
        raise CallerError(f"optimizer.options: expected a mapping, got {options!r}")
    # Names only: torch checks the values when the workbench is built, and trying it here would cost a second.
    known = inspect.signature(OPTIMIZERS[name]).parameters.keys()
    allowed = known - _NO_OPTIONS
    mistakes = [expected_one_of("optimizer.options", allowed, key) for key in options if key not in allowed]
    mistakes += [_finite_message(path, value) for path, value in _not_finite(options, "optimizer.options")]
    if "weight_decay" not in known and node.get("weight_decay"):
        mistakes.append(f"optimizer.weight_decay: expected 0 for {name}, which has none, got {node['weight_decay']!r}")
    spec = _collect(mistakes, partial(_typed, OptimizerSpec, {**node, "options": []}, "optimizer"))
    raise_if_any(mistakes)
    assert spec is not None
    pairs = tuple((str(key), tuple(v) if isinstance(v, list) else v) for key, v in sorted(options.items()))
    return OptimizerSpec(
        spec.name,
        spec.lr,
        spec.weight_decay,
        pairs,
        spec.lr_schedule,
        spec.warmup_fraction,
        spec.final_fraction,
    )


def _suite(node: object, data: DataSpec | None) -> Any:
    if not isinstance(node, Mapping):
        raise CallerError(f"suite: expected a mapping, got {node!r}")
    suite = suite_from_mapping(node, "suite")
    if is_held_out(suite):
        steers = "literature" if suite.data == ANY_DATA else suite.data
        raise CallerError(
            f"suite: expected one that may steer a search, got {suite.name}, which is held out for measuring what a "
            f"search found; take suite={steers}"
        )
    if data is None or (suite.data in (data.name, ANY_DATA) and suite.modality == load(data).modality):
        return suite
    raise CallerError(
        f"suite: expected one made on {data.name}, got {suite.name} for {suite.modality} of {suite.data}; make one "
        "with scripts/calibrate_suite, or take suite=literature: published strengths, uncalibrated"
    )


def _name(node: object, where: str) -> str:
    if node is None:
        return ""
    if isinstance(node, str) and 0 < len(node) <= 100 and set(node) <= _NAME_CHARACTERS and node[0] not in "-.":
        return node
    allowed = "up to 100 letters, digits, '-', '_' and '.', the first no '-' or '.'"
    raise CallerError(f"{where}: expected {allowed}, got {node!r}")


def _whole(node: object, where: str) -> int:
    if isinstance(node, int) and not isinstance(node, bool) and 0 <= node <= LARGEST:
        return node
    amount = "at most 2**63 - 1" if isinstance(node, int) and node > LARGEST else "at least 0"
    raise CallerError(f"{where}: expected a whole number of {amount}, got {node!r}")


def _executor(node: object) -> ExecutorSpec:
    """Of each kind its own keys; a mere name stands for all that is usual."""
    keys = node if isinstance(node, Mapping) else {"name": node}
    name = keys.get("name")
    if not isinstance(name, str) or name not in EXECUTORS:
        raise CallerError(expected_one_of("executor.name", EXECUTORS, name))
    others = keys_of_others(name, keys)
    mistakes = list(others.values())
    own = {key: value for key, value in keys.items() if key not in others}
    spec: ExecutorSpec | None = _collect(mistakes, partial(_typed, EXECUTORS[name], own, "executor"))
    raise_if_any(mistakes)
    assert spec is not None
    if isinstance(spec, RaySpec):
        raise_if_any(cluster_mistakes(spec))
    return spec


def _not_finite(node: object, path: str) -> Iterator[tuple[str, float]]:
    if isinstance(node, float) and not math.isfinite(node):
        yield path, node
    entries = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list) else ()
    for key, value in entries:
        yield from _not_finite(value, f"{path}.{key}")
