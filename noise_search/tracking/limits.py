"""What MLflow takes: names, lengths and numbers. Every check returns the mistakes it found, as messages."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping

from noise_search.errors import expected_one_of

# MLflow 3.17 takes names of 250 characters, parameters of 6,000 and tags of 8,000.
# The 50 are room for the prefixes the mirror puts before a name.
NAME_CHARACTERS = 200
PARAMETER_CHARACTERS = 6_000
TAG_CHARACTERS = 8_000
EXPERIMENT_CHARACTERS = 500
STATUSES = ("FINISHED", "FAILED", "KILLED")

_NAME = re.compile(r"[/\w.\- :]+")
_MODEL = re.compile(r"[\w.\- ]+")
_LONGEST_INTEGER = 2**63 - 1


def entry_mistakes(where: str, entries: Mapping[str, str], longest: int) -> list[str]:
    """Mistakes in the names and texts of parameters or tags."""
    mistakes = []
    for key, value in entries.items():
        mistakes += name_mistakes(f"{where}[{key!r}]", key)
        if not isinstance(value, str):
            mistakes.append(f"{where}[{key!r}]: expected text, got {value!r}; convert it with str")
        elif len(value) > longest:
            mistakes.append(
                f"{where}[{key!r}]: expected at most {longest} characters, got {len(value)}; "
                "shorten it, or send it as an artifact"
            )
    return mistakes


def name_mistakes(where: str, name: str) -> list[str]:
    """Mistakes in the name of a metric, parameter or tag."""
    mistakes = []
    if not _NAME.fullmatch(name) or not stays_inside(name):
        mistakes.append(
            f"{where}: expected a name of letters, digits, spaces and _ - . : /, "
            f"without a '..', '//' or '/' at an end, got {name!r}"
        )
    if len(name) > NAME_CHARACTERS:
        mistakes.append(f"{where}: expected a name of at most {NAME_CHARACTERS} characters, got {len(name)}")
    return mistakes


def title_mistakes(where: str, title: str, longest: int) -> list[str]:
    """Mistakes in the name of an experiment, sweep or member, which may hold any printable character."""
    if 0 < len(title) <= longest and title.isprintable():
        return []
    return [f"{where}: expected 1 to {longest} printable characters, got {title!r}"]


def status_mistakes(where: str, status: str) -> list[str]:
    """Mistake in how a run ended."""
    return [] if status in STATUSES else [expected_one_of(where, STATUSES, status)]


def integer_mistakes(where: str, value: int, least: int) -> list[str]:
    """Mistake in a step or a time, which databases keep in 64 bits."""
    if isinstance(value, int) and not isinstance(value, bool) and least <= value <= _LONGEST_INTEGER:
        return []
    return [f"{where}: expected an integer from {least} to {_LONGEST_INTEGER}, got {value!r}"]


def number_mistakes(where: str, value: float) -> list[str]:
    """Mistake in a metric's value; NaN and infinities are numbers."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return []
    return [f"{where}: expected a Python number, got {value!r}; convert it with float"]


def stays_inside(path: str) -> bool:
    """Whether `path` is normalised, relative, and does not lead upwards."""
    return path == posixpath.normpath(path) and path != "." and not path.startswith(("..", "/"))


def model_mistakes(where: str, name: str) -> list[str]:
    """Mistake in the name of a registered model."""
    if len(name) <= NAME_CHARACTERS and _MODEL.fullmatch(name) and stays_inside(name):
        return []
    return [f"{where}: expected up to {NAME_CHARACTERS} letters, digits, spaces and _ - ., got {name!r}"]
