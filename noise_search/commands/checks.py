"""What `doctor` finds, one thing at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

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
