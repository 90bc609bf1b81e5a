"""Hydra: from command-line overrides to plain dictionaries."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import hydra
import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException

from noise_search.config.executors import choices_of
from noise_search.corruptions.suites import HELD_OUT
from noise_search.errors import CallerError, expected_one_of
from noise_search.schedules import bare_on_read

CONFIG_NAME = "sweep"
# Hydra raises ValueError for model=3, and a file of the caller's may be no YAML.
_REFUSED = (HydraException, OmegaConfBaseException, ValueError, yaml.YAMLError)
_FREE_NODES = ("space.", "optimizer.options.")  # what they hold is for the checks to judge
_WHOLE_NODES = ("model", "executor.resources")  # given as {...} these stand in place of what was there
_NO_SUITE = "; make one with scripts/calibrate_suite, or take suite=literature: published strengths, uncalibrated"
_GLOBAL_HYDRA = threading.Lock()  # Hydra's compose API is one global object


def config_folder() -> Path:
    """Folder of the shipped configuration: inside an installed package, beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    return next(folder for folder in (package / "conf", package.parent / "conf") if folder.is_dir())


def compose(
    overrides: Sequence[str],
    *,
    config_dir: str | Path | None = None,
    primary: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """One configuration from Hydra overrides, as a plain dictionary with interpolations resolved.

    Args:
        overrides: As on the command line, such as `model=mlp` or `budget.trials=64`.
        config_dir: Folder searched before the shipped one for groups and experiments of your own.
        primary: Content of a configuration in place of the shipped `sweep`; see `cards`.

    Raises:
        CallerError: For a missing folder, and every override that names an unknown group, choice or key.
    """
    if config_dir is not None and not Path(config_dir).is_dir():
        raise CallerError(f"config_dir: expected a folder, got {str(config_dir)!r}")
    overrides = _replaced_nodes(overrides)
    shipped = [] if primary is None else [f"file://{config_folder()}"]
    places = ",".join([f"file://{Path(config_dir).resolve()}", *shipped]) if config_dir is not None else ""
    search = [f"hydra.searchpath=[{places}]"] if places else []

    def make(chosen: Sequence[str], *, whole: bool = True) -> dict[str, Any]:
        return _plain(hydra.compose(CONFIG_NAME, [*search, *chosen]), whole=whole)

    with _GLOBAL_HYDRA, _primary_folder(primary) as folder:
        GlobalHydra.instance().clear()
        with hydra.initialize_config_dir(str(folder), version_base="1.3"):
            try:
                return make(overrides)
            except _REFUSED as error:
                mistakes = _mistakes_of_each(partial(make, whole=False), overrides)
                raise CallerError(*(mistakes or [_in_one_line(error)])) from error


@dataclass(frozen=True, slots=True)
class Collected:
    """One configuration of a command line.

    Args:
        config: As a plain dictionary.
        overrides: Those that not all configurations of the command line are made with: what tells it from the others.
    """

    config: dict[str, Any]
    overrides: tuple[str, ...]


def collect(arguments: Sequence[str], program: str, *, primary: Mapping[str, Any] | None = None) -> list[Collected]:
    """Configurations that a Hydra command line asks for: none for `--cfg` or `--info`, several for `-m`.

    Args:
        arguments: What follows the subcommand: overrides and Hydra's own options.
        program: How usage messages name the command.
        primary: Content of a configuration in place of the shipped `sweep`; see `cards`.
    """
    arguments = _replaced_nodes(arguments)
    made: list[tuple[list[str], DictConfig]] = []

    def note(config: DictConfig) -> None:
        made.append((list(HydraConfig.get().overrides.task), config))

    try:
        with _GLOBAL_HYDRA, _command_line([program, *arguments]), _primary_folder(primary) as folder:
            GlobalHydra.instance().clear()
            task = hydra.main(version_base="1.3", config_path=str(folder), config_name=CONFIG_NAME)
            task(note)()
            return _told_apart(made)
    except _REFUSED as error:
        _raise_every_mistake(arguments, primary)
        raise CallerError(_in_one_line(error)) from error


def _told_apart(made: Sequence[tuple[Sequence[str], DictConfig]]) -> list[Collected]:
    shared = set.intersection(*(set(overrides) for overrides, _ in made)) if made else set()
    return [
        Collected(_plain(config), tuple(one for one in overrides if one not in shared)) for overrides, config in made
    ]


def _replaced_nodes(arguments: Sequence[str]) -> list[str]:
    """Let `model={_target_: ...}` stand in place of the model there is; Hydra would merge the two.

    >>> _replaced_nodes(["seed=1", "model={_target_: net.Net, width: 8}"])
    ['seed=1', '~model', '+model={_target_: net.Net, width: 8}']
    """
    parts = []
    for argument in arguments:
        key, _, value = argument.partition("=")
        is_whole = key in _WHOLE_NODES and value.startswith("{")
        parts += [f"~{key}", f"+{argument}"] if is_whole else [argument]
    return parts


def _raise_every_mistake(arguments: Sequence[str], primary: Mapping[str, Any] | None) -> None:
    """Compose a single run's overrides for the sake of the error; Hydra's own stops at the first mistake."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config-dir", "-cd")
    parser.add_argument("--multirun", "-m", action="store_true")
    options, rest = parser.parse_known_args(arguments)
    if not options.multirun:
        overrides = [argument for argument in rest if not argument.startswith("-")]
        compose(overrides, config_dir=options.config_dir, primary=primary)


def _mistakes_of_each(make: Callable[[Sequence[str]], object], overrides: Sequence[str]) -> list[str]:
    """What is wrong with each override beside the sound ones; choices of groups first, as keys depend on them."""
    sound: list[str] = []
    mistakes: list[str] = []
    for override in sorted(overrides, key=lambda override: "." in override.partition("=")[0]):
        try:
            make([*sound, override])
            sound.append(override)
        except _REFUSED as error:
            mistakes.append(_in_one_line(error, override))
    return mistakes


def _plain(config: DictConfig, *, whole: bool = True) -> dict[str, Any]:
    """Plain content, in which only what is not `whole` may lack a mandatory value."""
    content = OmegaConf.to_container(config, resolve=True, throw_on_missing=whole)
    return cast(dict[str, Any], _with_gates_read(content))


def _with_gates_read(node: Any) -> Any:
    """The same content with `on` as the key of gates, also where a file has it without quotes."""
    if isinstance(node, list):
        return [_with_gates_read(entry) for entry in node]
    if not isinstance(node, dict):
        return node
    return {key: _with_gates_read(bare_on_read(child) if key == "every" else child) for key, child in node.items()}


def _in_one_line(error: Exception, override: str = "configuration") -> str:
    """What is wrong, in our words where Hydra's need several lines."""
    if isinstance(error, MissingConfigException) and error.options is not None:
        group, _, choice = str(error.missing_cfg_file).rpartition("/")
        offered = [option for option in error.options if group != "suite" or not option.endswith(HELD_OUT)]
        return expected_one_of(group, offered, choice) + (_NO_SUITE if group == "suite" else "")
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    if isinstance(cause, ConfigKeyError | ConfigAttributeError) and isinstance(cause.parent_node, DictConfig):
        return _unknown_key(str(cause.full_key), cause.parent_node)
    if isinstance(cause, MissingMandatoryValue):
        return f"{cause.full_key}: expected a value, got none"
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    kept = [line for line in dict.fromkeys(lines) if not line.startswith(("full_key:", "object_type="))]
    return f"{override}: {'; '.join(kept)}"


def _unknown_key(path: str, node: DictConfig) -> str:
    if path.startswith(_FREE_NODES):
        return f"{path}: no such key; to add it, write +{path}=..."
    where, _, key = path.rpartition(".")
    if where == "executor" and (choices := choices_of(key)):
        return f"{path}: expected {choices} with it, got none of these choices"
    return expected_one_of(where or "configuration", [str(name) for name in node if name != "hydra"], key)


@contextmanager
def _primary_folder(content: Mapping[str, Any] | None) -> Iterator[Path]:
    """Folder that holds the primary configuration: the shipped one, or one for as long as it is needed."""
    if content is None:
        yield config_folder()
        return
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / f"{CONFIG_NAME}.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
        yield Path(folder)


@contextmanager
def _command_line(argv: list[str]) -> Iterator[None]:
    """Let Hydra see `argv`, and raise its errors instead of printing them and exiting."""
    before, full_error = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv, os.environ["HYDRA_FULL_ERROR"] = argv, "1"
    try:
        yield
    finally:
        sys.argv = before
        os.environ.pop("HYDRA_FULL_ERROR")
        if full_error is not None:
            os.environ["HYDRA_FULL_ERROR"] = full_error
