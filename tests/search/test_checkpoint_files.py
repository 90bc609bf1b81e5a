from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from simulations import NAME, run

# A process that dies, as by `kill -9`, when the file is written and before it is moved to its place.
DYING = """
import os, pathlib, sys, torch
from noise_search.checkpoints import Position, write_checkpoint

pathlib.Path.replace = lambda *_: os._exit(9)
write_checkpoint(pathlib.Path(sys.argv[1]), "7-0-3", {"alive": torch.tensor(True)}, "here", Position(3, 10))
"""


@pytest.mark.parametrize("stopping", ["none", "halving"])
def test_what_a_kill_left_half_written_is_deleted_at_the_next_start(stopping: str, tmp_path: Path) -> None:
    folder = tmp_path / "sweeps" / NAME / "checkpoints"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", DYING, str(folder)], check=False, env=environment).returncode == 9
    assert len(list(folder.iterdir())) == 1
    (folder / "notes.txt").touch()
    run(tmp_path, f"stopping={stopping}", "budget.trials=4")
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
