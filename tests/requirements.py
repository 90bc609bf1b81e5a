"""What a test needs of the machine: without it the test is skipped, in CI it fails."""

from __future__ import annotations

import os

import pytest


def needs(condition: bool, what: str) -> None:
    """Go on if `condition` holds; else skip the test at hand, or with CI=true fail it.

    The one way of skipping that a test in promises.yaml may take.

    Args:
        condition: Whether the machine has what is needed.
        what: What is needed and how to get it, in words.
    """
    if condition:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"needed in CI: {what}")
    pytest.skip(f"needs {what}")
