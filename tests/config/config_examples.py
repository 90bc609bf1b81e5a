"""The shipped configuration, as it is and with keys set."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from functools import cache, reduce
from typing import Any

from noise_search.config import compose

Config = dict[str, Any]


@cache
def shipped(*overrides: str) -> Config:
    return compose(overrides)


def sound(*overrides: str) -> Config:
    """The shipped configuration with overrides, to be changed."""
    return deepcopy(shipped(*overrides))


def changed(changes: Mapping[str, Any], *overrides: str) -> Config:
    """The shipped configuration with dotted keys set."""
    config = sound(*overrides)
    for path, value in changes.items():
        *parents, last = path.split(".")
        reduce(lambda node, key: node[key], parents, config)[last] = value
    return config
