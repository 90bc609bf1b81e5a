"""From a `DataSpec` to a data set in memory."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from noise_search.data.dataset import Dataset
from noise_search.data.own import dataset_mistakes
from noise_search.data.registry import DATASETS
from noise_search.errors import CallerError, expected_one_of, raise_if_any
from noise_search.spec import DataSpec
from noise_search.targets import local_modules, resolve, told

_TARGET = "data._target_"


def load(spec: DataSpec) -> Dataset:
    """Data set that `spec` names, or that the caller's own function makes.

    The last one is kept, because a configuration is checked before it is run and loading may take long: the same
    `spec` gives the same object until another is loaded or `forget_loaded` is called.

    Raises:
        CallerError: For missing or wrong files, and everything wrong with a function of one's own or with what
            it returns.
    """
    own = None if spec.target is None else resolve(spec.target, _TARGET)
    # As text, because mappings have no hash. Relative paths mean another file in another working folder.
    data = _loaded(json.dumps({**asdict(spec), "name": spec.name if own is None else ""}), own, Path.cwd())
    return data if spec.name in ("", data.name) else replace(data, name=spec.name)


def forget_loaded() -> None:
    """Have the next `load` read everything anew."""
    _loaded.cache_clear()


@lru_cache(maxsize=1)
def _loaded(text: str, own: Callable[..., Any] | None, _folder: Path) -> Dataset:
    spec = DataSpec(**json.loads(text))
    if own is not None:
        return _made_by(own, spec)
    source = DATASETS[spec.name]
    files = {"root": spec.root} if source.files else {}
    return source.load(split_seed=spec.split_seed, limit=spec.limit, **files)


def _made_by(function: Callable[..., Any], spec: DataSpec) -> Dataset:
    arguments = _arguments(function, spec)
    try:
        with local_modules():
            made = function(**arguments)
    except CallerError:
        raise
    except (Exception, SystemExit) as error:
        raise CallerError(f"{_TARGET}: {spec.target} failed with {told(error)}") from error
    if not isinstance(made, Dataset):
        raise CallerError(
            f"{_TARGET}: expected {spec.target} to return a noise_search.data.Dataset, got "
            f"{type(made).__name__}; make one with noise_search.data.dataset_of"
        )
    raise_if_any(dataset_mistakes(made))
    return made


def _arguments(function: Callable[..., Any], spec: DataSpec) -> dict[str, Any]:
    """Keys of the configuration, and those of `split_seed` and `limit` that the function takes."""
    known = {
        name: parameter
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    }
    takes_any = any(p.kind is p.VAR_KEYWORD for p in inspect.signature(function).parameters.values())
    ours = {"split_seed": spec.split_seed, "limit": spec.limit}
    arguments = {**spec.parameters, **{key: value for key, value in ours.items() if key in known}}
    mistakes = [
        f"data.{key}: {spec.target} takes none, got {value}; leave it out, or let the function take it"
        for key, value in ours.items()
        if value and key not in known
    ]
    mistakes += [
        expected_one_of("data", {"name", "split_seed", "limit", *known}, key)
        for key in spec.parameters
        if key not in known and not takes_any
    ]
    mistakes += [
        f"data.{name}: expected a value, which {spec.target} needs, got none"
        for name, parameter in known.items()
        if parameter.default is parameter.empty and name not in arguments
    ]
    raise_if_any(mistakes)
    return arguments
