"""What `doctor` finds, one thing at a time."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass
from typing import Literal

from packaging.requirements import Requirement

DISTRIBUTION = "noise-search"
State = Literal["ok", "absent", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Args:
        name: What it is.
        state: ok; absent, what is not there and need not be; warn, which stops nothing; or fail.
        found: How it stands.
        advice: What to do about it; empty where there is nothing to do.
    """

    name: str
    state: State
    found: str
    advice: str = ""


def package_check(requirement: Requirement) -> Check:
    """Whether a package is installed in a version that `requirement` takes."""
    advice = f"pip install -c constraints.txt '{requirement.name}{requirement.specifier}'"
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return Check(requirement.name, "fail", f"not installed, expected {requirement.specifier}", advice)
    if not requirement.specifier.contains(version, prereleases=True):
        return Check(requirement.name, "fail", f"{version}, expected {requirement.specifier}", advice)
    return Check(requirement.name, "ok", version)
