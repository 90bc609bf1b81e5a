"""Every example in a docstring runs and prints what it says."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import noise_search


def modules_with_examples() -> list[str]:
    """Names found by reading files, so that collecting imports nothing."""
    found = []
    for module in pkgutil.walk_packages(noise_search.__path__, "noise_search.", onerror=lambda name: None):  # noqa: ARG005
        spec = module.module_finder.find_spec(module.name, None)
        if spec and spec.origin and ">>>" in Path(spec.origin).read_text(encoding="utf-8"):
            found.append(module.name)
    return found


@pytest.mark.parametrize("name", modules_with_examples())
def test_the_examples_of_a_module_print_what_they_say(name: str) -> None:
    module = importlib.import_module(name)
    assert any(found.examples for found in doctest.DocTestFinder().find(module)), "doctest sees no example here"
    assert doctest.testmod(module).failed == 0
