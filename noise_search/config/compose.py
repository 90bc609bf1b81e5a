"""Hydra: from command-line overrides to plain dictionaries."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from noise_search.errors import CallerError, expected_one_of

CONFIG_NAME = "sweep"
_GLOBAL_HYDRA = threading.Lock()  # Hydra's compose API is one global object


def config_folder() -> Path:
    """Folder of the shipped configuration: inside an installed package, beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    return next(folder for folder in (package / "conf", package.parent / "conf") if folder.is_dir())


def compose(overrides: Sequence[str], *, config_dir: str | Path | None = None) -> dict[str, Any]:
    """One configuration from Hydra overrides, as a plain dictionary with interpolations resolved.

    Args:
        overrides: As on the command line, such as `model=mlp` or `budget.trials=64`.
        config_dir: Folder searched before the shipped one for groups and experiments of your own.

    Raises:
        CallerError: For unknown groups, choices and keys.
    """
    search = [] if config_dir is None else [f"hydra.searchpath=[file://{Path(config_dir).resolve()}]"]
    with _GLOBAL_HYDRA, _hydra_errors():
        GlobalHydra.instance().clear()
        with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
            return _plain(hydra.compose(CONFIG_NAME, [*search, *overrides]))


def collect(arguments: Sequence[str], program: str) -> list[dict[str, Any]]:
    """Configurations that a Hydra command line asks for: none for `--cfg` or `--info`, several for `-m`.

    Args:
        arguments: What follows the subcommand: overrides and Hydra's own options.
        program: How usage messages name the command.
    """
    configs: list[DictConfig] = []
    task = hydra.main(version_base="1.3", config_path=str(config_folder()), config_name=CONFIG_NAME)
    with _GLOBAL_HYDRA, _hydra_errors(), _command_line([program, *arguments]):
        GlobalHydra.instance().clear()
        task(configs.append)()
        return [_plain(config) for config in configs]


def _plain(config: DictConfig) -> dict[str, Any]:
    content = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    return cast(dict[str, Any], content)


@contextmanager
def _hydra_errors() -> Iterator[None]:
    """Turn Hydra's and OmegaConf's errors into one line each."""
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        raise CallerError(_in_one_line(error)) from error


def _in_one_line(error: Exception) -> str:
    """What is wrong, in our words where Hydra's need several lines."""
    if isinstance(error, MissingConfigException) and error.options is not None:
        group, _, choice = str(error.missing_cfg_file).rpartition("/")
        return expected_one_of(group, error.options, choice)
    if isinstance(error, ConfigCompositionException) and isinstance(
        error.__cause__, ConfigKeyError | ConfigAttributeError
    ):
        return f"{error.__cause__.full_key}: no such key; noise-search sweep --cfg job shows them all"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    kept = [line for line in dict.fromkeys(lines) if not line.startswith(("full_key:", "object_type="))]
    return f"configuration: {'; '.join(kept)}"


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
