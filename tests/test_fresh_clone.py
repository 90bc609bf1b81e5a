"""The command that a newcomer types first. What scripts/test does is what CI runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from requirements import needs

CHECKOUT = Path(__file__).resolve().parent.parent
SMALL = ("budget.trials=2", "train.epochs=1", "controls.constants=0", "controls.random=0")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The commit at hand, cloned: nothing that was built or installed is there."""
    needs((CHECKOUT / ".git").exists(), "a checkout with its history")
    command = ["git", "clone", "--quiet", str(CHECKOUT), str(tmp_path / "clone")]
    subprocess.run(command, check=True, capture_output=True)
    return tmp_path / "clone"


def quickstart(clone: Path) -> str:
    """Standard output of scripts/quickstart with a small sweep."""
    hidden = ("VIRTUAL_ENV", "PYTHONPATH", "NOISE_SEARCH_STORE")
    environment = {key: value for key, value in os.environ.items() if key not in hidden}
    environment["PYTHON"] = sys.executable
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)  # where the program is on it, its bare name is said
    environment["PATH"] = os.pathsep.join(one for one in folders if not (Path(one) / "noise-search").exists())
    command = ["scripts/quickstart", *SMALL]
    finished = subprocess.run(command, cwd=clone, env=environment, check=False, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


@pytest.mark.slow
def test_quickstart_in_a_fresh_clone_installs_and_runs_a_sweep(clone: Path) -> None:
    said = quickstart(clone)
    for file in ("card.yaml", "report/report.html"):
        (found,) = (clone / "noise_search_runs" / "sweeps").glob(f"*/{file}")
        assert str(found) in said
    assert ".venv/bin/noise-search confirm " in said
    assert "nothing to do" in quickstart(clone)
    unknown = subprocess.run(["git", "status", "--porcelain"], cwd=clone, check=True, capture_output=True, text=True)
    assert unknown.stdout == ""
