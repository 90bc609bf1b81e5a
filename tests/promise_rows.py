"""promises.yaml: what each part of the project promised to show, and where it is shown. The form of a row, checked."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

CHECKOUT = Path(__file__).resolve().parent.parent
FILE = CHECKOUT / "tests" / "promises.yaml"
TOPICS = ("spine", "path", "search", "evidence", "cluster")
HEADER = ("commit", "suite", "seeds", "versions", "device", "command")
SPREAD, INTERVAL = ("n", "median", "iqr"), ("n_seeds", "mean", "low", "high")
SHARES = "standard_error_of_a_share"  # of results that are shares of very many simulations
Statistic = Literal["median", "mean", "value"]


class Form(BaseModel):
    """What the file says is taken as it is or refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Key(Form):
    """A place in a results JSON, and the limits that what stands there keeps.

    Args:
        path: Keys from the outermost inwards, dots between them.
        of: Statistic that is held to the limits; `value` where the place holds a plain number.
        at_least, at_most: Limits of it, in the unit of the JSON.
    """

    path: str
    of: Statistic = "median"
    at_least: float | None = None
    at_most: float | None = None


class Row(Form):
    """One promise.

    Args:
        id: `topic.words`, once in the file.
        promise: Its sentence.
        state: `kept`; `missed`: measured and not met; `open`: not shown yet.
        test: Ids of the tests that show it; with parameters, that case.
        result: JSON that shows it, with `key` in it and the `command` that makes it.
        scored: False for a result in which nothing was scored on a suite, so that none can be named.
        figure, bound_by: Of a row that is missed: what was found, and what bounds it.
    """

    id: str = Field(pattern=r"^[a-z]+\.[a-z0-9_]+$")
    topic: Literal["spine", "path", "search", "evidence", "cluster"]
    promise: str = Field(min_length=20)
    state: Literal["kept", "missed", "open"]
    test: tuple[str, ...] = ()
    result: str | None = None
    key: tuple[Key, ...] = ()
    command: str | None = None
    scored: bool = True
    figure: str | None = None
    bound_by: str | None = None

    @field_validator("test", mode="before")
    @classmethod
    def _one_or_several(cls, given: Any) -> Any:
        return (given,) if isinstance(given, str) else tuple(given or ())

    @field_validator("key", mode="before")
    @classmethod
    def _paths_alone(cls, given: Any) -> Any:
        listed = given if isinstance(given, list) else [given]
        return tuple({"path": one} if isinstance(one, str) else one for one in listed)

    @model_validator(mode="after")
    def _says_where(self) -> Row:
        wrong = [
            (self.id.partition(".")[0] != self.topic, "id: expected it to begin with its topic"),
            (self.state == "kept" and not (self.test or self.result), "kept: expected a test or a result"),
            (self.state == "open" and bool(self.test or self.result), "open: expected neither test nor result yet"),
            (bool(self.result) != bool(self.key), "result: expected key(s) into it, and no key without one"),
            (bool(self.result) != bool(self.command), "result: expected the command that makes it"),
            ((self.state == "missed") != bool(self.figure), "figure: expected of what is missed, and only there"),
            ((self.state == "missed") != bool(self.bound_by), "bound_by: expected of what is missed, and only there"),
        ]
        if said := [message for is_wrong, message in wrong if is_wrong]:
            raise ValueError("; ".join(said))
        return self


def rows(path: Path = FILE) -> list[Row]:
    """Every row of the file."""
    return [Row.model_validate(one) for one in yaml.safe_load(path.read_text(encoding="utf-8"))]


def result_mistakes(row: Row, checkout: Path = CHECKOUT) -> list[str]:
    """What is wrong with the JSON that a row names: what it lacks, and which limits it does not keep."""
    if row.result is None or row.command is None:
        return []
    file = checkout / row.result
    if not file.is_file():
        return [f"{row.result}: no such file"]
    content = json.loads(file.read_text(encoding="utf-8"))
    return [
        *_header_mistakes(content, row, checkout),
        *_key_mistakes(content, row),
    ]


def _header_mistakes(content: Mapping[str, Any], row: Row, checkout: Path) -> list[str]:
    assert row.command is not None
    script = row.command.split()[0]
    wrong = [
        *((key not in content, f"expected {key}") for key in HEADER),
        (row.scored and not _names_suites(content.get("suite")), "suite: expected the hash of the suite that scored"),
        (not content.get("seeds"), "seeds: expected every seed"),
        (content.get("quick", False), "quick: expected the whole measurement"),
        (not {"noise_search", "torch", "python"} <= set(content.get("versions", ())), "versions: expected three"),
        (not content.get("device"), "device: expected what it ran on"),
        (not script.startswith("scripts/") or not (checkout / script).is_file(), f"{script}: no such script"),
        (str(content.get("command", "")).split()[:1] != [script], f"command: expected {script}, as the row says"),
        (not is_part_of_history(str(content.get("commit")), checkout), "commit: expected one that HEAD comes from"),
    ]
    return [message for is_wrong, message in wrong if is_wrong]


def _names_suites(suite: object) -> bool:
    """Whether this is the hash of a suite, or several by name."""
    found = list(suite.values()) if isinstance(suite, Mapping) else [suite]
    return bool(found) and all(isinstance(one, str) and re.fullmatch(r"[0-9a-f]{64}", one) for one in found)


def _key_mistakes(content: Mapping[str, Any], row: Row) -> list[str]:
    places = {key.path: _at(content, key.path) for key in row.key}
    wrong = [f"{path}: no such key" for path, found in places.items() if found is None]
    if not any(_spreads(found) for found in places.values()) and SHARES not in places:
        wrong.append(f"{', '.join(places)}: expected {', '.join(SPREAD)}, or an interval, somewhere below")
    if wrong:
        return wrong
    limited = [key for key in row.key if key.at_least is not None or key.at_most is not None]
    if unreadable := [said for key in limited if (said := _unreadable(key, places[key.path]))]:
        return unreadable
    broken = [said for key in limited if (said := _broken_limit(key, places[key.path]))]
    if row.state == "missed":
        return ["missed: every limit is kept by now"] if limited and not broken else []
    return broken


def _unreadable(key: Key, found: Any) -> str | None:
    """Why what stands at a key is no number that can be held to its limits; None if it is one."""
    number = _number(key, found)
    if isinstance(number, bool) or not isinstance(number, int | float):
        return f"{key.path}: expected a {key.of}, got {number!r}"
    return None


def _broken_limit(key: Key, found: Any) -> str | None:
    """How a measured number misses the limits of its key; None if it keeps them."""
    number = _number(key, found)
    low = -float("inf") if key.at_least is None else key.at_least
    high = float("inf") if key.at_most is None else key.at_most
    return None if low <= number <= high else f"{key.path}: {key.of} {number} is not in [{low}, {high}]"


def _number(key: Key, found: Any) -> Any:
    return found if key.of == "value" else found.get(key.of) if isinstance(found, Mapping) else None


def _at(content: Any, path: str) -> Any:
    """What stands at a dotted path; None if nothing does."""
    for key in path.split("."):
        if not isinstance(content, Mapping) or key not in content:
            return None
        content = content[key]
    return content


def _spreads(content: Any) -> bool:
    return any(all(key in one for key in keys) for one in _mappings(content) for keys in (SPREAD, INTERVAL))


def _mappings(content: Any) -> Iterator[Mapping[str, Any]]:
    inner: Any = ()
    if isinstance(content, Mapping):
        yield content
        inner = content.values()
    elif isinstance(content, list):
        inner = content
    for one in inner:
        yield from _mappings(one)


@cache
def is_part_of_history(commit: str, checkout: Path) -> bool:
    """Whether HEAD comes from `commit`; where there is no git, whether it may: it is a full hash and nothing else."""
    if not re.fullmatch(r"[0-9a-f]{40}", commit):
        return False  # also one marked `+changes`: nobody can check that out
    if not (checkout / ".git").exists():
        return True
    asked = ["git", "merge-base", "--is-ancestor", commit, "HEAD"]
    finished = subprocess.run(asked, cwd=checkout, check=False, capture_output=True)
    # A shallow clone does not have the commit: nothing can be said there.
    return finished.returncode == 0 or (finished.returncode > 1 and _is_shallow(checkout))


def _is_shallow(checkout: Path) -> bool:
    asked = ["git", "rev-parse", "--is-shallow-repository"]
    return subprocess.run(asked, cwd=checkout, check=True, capture_output=True, text=True).stdout.strip() == "true"
