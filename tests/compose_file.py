"""docker-compose.yml as Compose reads it: variables put in, what services share merged."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

CHECKOUT = Path(__file__).resolve().parent.parent
COMPOSE = CHECKOUT / "docker-compose.yml"
REFERENCE = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<name>\w+)(?P<kind>:[-?])(?P<text>[^}]*)\})")


@cache
def raw() -> dict[str, Any]:
    """The file as it stands, with references to variables."""
    loaded: dict[str, Any] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
    return loaded


def texts(part: object) -> list[str]:
    """Every text in a part of the file, keys of mappings left out."""
    if isinstance(part, Mapping):
        return [text for value in part.values() for text in texts(value)]
    if isinstance(part, list):
        return [text for value in part for text in texts(value)]
    return [part] if isinstance(part, str) else []


def required() -> set[str]:
    """Variables without which Compose refuses the file."""
    found = [match for text in texts(raw()) for match in REFERENCE.finditer(text)]
    return {match["name"] for match in found if match["kind"] == ":?"}


def services(variables: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Services by name, for an environment; raises KeyError for a required variable that is not there."""
    found: dict[str, dict[str, Any]] = _filled(raw()["services"], variables)
    return found


def content(config: str) -> str:
    """What a config has, which refers to no variable."""
    found: str = raw()["configs"][config]["content"]
    return found


def words(command: str | list[str]) -> list[str]:
    """A command as a list; Compose splits a text as a shell would."""
    return shlex.split(command) if isinstance(command, str) else command


def _filled(part: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(part, Mapping):
        return {key: _filled(value, variables) for key, value in part.items()}
    if isinstance(part, list):
        return [_filled(value, variables) for value in part]
    return REFERENCE.sub(lambda match: _value(match, variables), part) if isinstance(part, str) else part


def _value(match: re.Match[str], variables: Mapping[str, str]) -> str:
    if match["dollar"]:
        return "$"
    if match["kind"] == ":?":
        return variables[match["name"]]
    return variables.get(match["name"]) or match["text"]
