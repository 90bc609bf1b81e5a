"""Sweeps whose checkpoints lie on another file system, or on one that is full."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from functools import cache
from pathlib import Path

import pytest
from requirements import needs
from sweep_examples import NAME, Quitter, drive, findings, location, record, temporary_folder

from noise_search.commands import rm
from noise_search.folders import Folder
from noise_search.search.opening import checkpoint_folder

RUNGS = (
    "train.epochs=4",
    "stopping=halving",
    "stopping.at=[0.25, 0.5]",
    "stopping.factor=2",
    "stopping.protect=false",
    "train.mode=looped",
    "train.score_mode=looped",
    "sampler.name=random",
)


@cache
def undisturbed() -> Path:
    """Store of the sweep with its checkpoints where they are by default."""
    folder = temporary_folder()
    assert drive(folder, *RUNGS).state == "complete"
    return folder


def numbers(store: Path) -> dict[str, dict[str, object]]:
    """What was found, without where checkpoints lie."""
    found = {name: json.loads(text) for name, text in findings(store).items()}
    return {name: {key: value for key, value in one.items() if key != "checkpoint"} for name, one in found.items()}


def elsewhere(store: Path) -> Folder:
    return Folder(checkpoint_folder(location(store), record(store)))


@pytest.fixture(params=["memory", "s3", "folder"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    own = uuid.uuid4().hex
    if request.param == "folder":
        return str(tmp_path / own)
    return f"{request.getfixturevalue('bucket') if request.param == 's3' else 'memory://'}/{own}"


def test_a_sweep_keeps_its_checkpoints_where_it_is_told_and_no_longer_than_they_are_needed(
    url: str, tmp_path: Path
) -> None:
    assert drive(tmp_path / "store", *RUNGS, f"store.checkpoints={url}").state == "complete"
    assert numbers(tmp_path / "store") == numbers(undisturbed())
    folder = elsewhere(tmp_path / "store")
    assert folder.url.startswith(f"{url}/{NAME}-")
    own = undisturbed() / "sweeps" / NAME / "checkpoints"
    assert folder.names() == sorted(path.name for path in own.iterdir()) != []
    assert not (tmp_path / "store" / "sweeps" / NAME / "checkpoints").exists()
    rm(NAME, store=tmp_path / "store")
    assert folder.names() == []


def test_a_sweep_that_was_cut_short_goes_on_from_its_checkpoints_and_trains_what_is_lost_again(
    bucket: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    more = (*RUNGS, f"store.checkpoints={bucket}/{uuid.uuid4().hex}")
    assert drive(tmp_path, *more, reporter=Quitter(jobs=3)).state == "interrupted"
    folder = elsewhere(tmp_path)
    first, second, *_ = folder.names()
    folder.delete([first])
    folder.write(second, b"nothing")
    assert drive(tmp_path, *more).state == "complete"
    assert numbers(tmp_path) == numbers(undisturbed())
    assert "checkpoints of" not in caplog.text


def test_checkpoints_that_are_to_lie_elsewhere_from_now_on_cost_training_again_and_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert drive(tmp_path, *RUNGS, reporter=Quitter(jobs=3)).state == "interrupted"
    assert drive(tmp_path, *RUNGS, "store.checkpoints=memory://moved").state == "complete"
    assert numbers(tmp_path) == numbers(undisturbed())
    assert f"checkpoints of {NAME}: from now on in memory://moved, was None, where they stay" in caplog.text


# A disk that is full: a file system of its own on which one checkpoint has room, and the next has not.
FULL = """
mount -t tmpfs -o size=20k none "$1/small" || exit 77
exec "$2" -c 'import sys; from sweep_examples import drive; print(drive(*sys.argv[1:]).state)' "$1/store" "${@:3}"
"""


def test_a_full_disk_costs_checkpoints_and_neither_the_sweep_nor_a_number(tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    shell = ["unshare", "--user", "--map-root-user", "--mount", "bash", "-c", FULL, "full"]
    arguments = [str(tmp_path), sys.executable, *RUNGS, f"store.checkpoints={tmp_path / 'small'}"]
    ran = subprocess.run([*shell, *arguments], env=environment, capture_output=True, text=True, check=False)
    needs(ran.returncode != 77 and "unshare failed" not in ran.stderr, "mounts in a namespace of one's own (unshare)")
    assert (ran.returncode, ran.stdout) == (0, "complete\n"), ran.stderr
    assert "no checkpoint, so that the trial may have to be trained again: " in ran.stderr
    assert "No space left on device" in ran.stderr
    assert numbers(tmp_path / "store") == numbers(undisturbed())
