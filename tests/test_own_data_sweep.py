"""Sweeps on data of one's own and on Fashion-MNIST, from the command line to the card."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from sweep_examples import contents

import noise_search
from noise_search.cli import main
from noise_search.data import forget_loaded

# A square in one of four corners, on grey noise: a task that two epochs learn.
MODULE = """
import numpy as np
from noise_search.data import cut_dataset

def load(contrast, samples=200, split_seed=0):
    rng = np.random.default_rng(7)
    labels = np.arange(samples) % 4
    images = rng.uniform(0, 0.5, (samples, 1, 8, 8))
    for image, label in zip(images, labels):
        image[0, 4 * (label // 2) :, 4 * (label % 2) :][:4, :4] += contrast
    return cut_dataset(
        name="corners", modality="images", samples=(images, labels), input_range=(0, 1), split_seed=split_seed
    )
"""
DATA = "_target_: own_corners.load\nsplit_seed: 0\ncontrast: 0.5\n"
TINY = (
    "model=mlp",
    "model.hidden=[8]",
    "optimizer.lr=0.02",
    "train.epochs=2",
    "train.batch_size=16",
    "budget.trials=2",
    "controls.constants=0",
    "controls.random=0",
    "tracking.enabled=false",
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Working folder with a module and a configuration of one's own."""
    (tmp_path / "own_corners.py").write_text(MODULE)
    (tmp_path / "my_conf" / "data").mkdir(parents=True)
    (tmp_path / "my_conf" / "data" / "mine.yaml").write_text(DATA)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NOISE_SEARCH_STORE", raising=False)
    yield tmp_path
    forget_loaded()
    sys.modules.pop("own_corners", None)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, list[str]]:
    """Exit code, standard output, and lines of standard error without the progress bar."""
    code = main(["sweep", "--store", "store", *arguments])
    said = capsys.readouterr()
    return code, said.out, [line for line in said.err.splitlines() if ": " in line]


MINE = ("--config-dir", "my_conf", "data=mine", "suite=literature", *TINY)


def test_a_sweep_runs_on_data_of_ones_own_and_says_that_the_suite_is_uncalibrated(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, out, _ = run(capsys, *MINE)
    assert code == 0
    assert "suite:  uncalibrated: published strengths\n" in out
    sweep = next(line.split()[1] for line in out.splitlines() if line.startswith("sweep:"))
    assert sweep.startswith("default-corners-mlp-")
    context = yaml.safe_load(Path("store", "sweeps", sweep, "card.yaml").read_text())["context"]
    assert (context["data"]["name"], context["suite_note"]) == ("corners", "uncalibrated: published strengths")
    assert "_target_" not in json.dumps(context)
    rows = noise_search.front(sweep, store="store")
    assert all(row.clean > 0.8 for row in rows if row.control == "no_noise")
    code, out, _ = run(capsys, *MINE)
    assert (code, "the total was reached before" in out) == (0, True)


def test_a_calibrated_suite_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "data.limit=200", *TINY)
    assert (code, "uncalibrated" in out) == (0, False)


def test_data_of_ones_own_may_stand_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    own = ("+data._target_=own_corners.load", "+data.contrast=0.5", "data.name=corners", "suite=literature")
    code, out, _ = run(capsys, "--json", *own, *TINY)
    assert code == 0
    by_file = noise_search.sweep(MINE[2:], store="store", config_dir="my_conf")
    assert (by_file.name, by_file.changed) == (json.loads(out)["name"], False)


def test_the_same_data_of_another_module_are_the_same_search_and_other_data_are_not(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    assert run(capsys, *MINE, "name=mine")[0] == 0
    (folder / "own_renamed.py").write_text(MODULE.replace("def load", "def again"))
    try:
        code, out, _ = run(capsys, *MINE, "name=mine", "data._target_=own_renamed.again")
    finally:
        sys.modules.pop("own_renamed", None)
    assert (code, "the total was reached before" in out) == (0, True)
    code, _, errors = run(capsys, *MINE, "name=mine", "data.contrast=0.4")
    assert code == 2
    assert errors[0].startswith("data.digest: sweep mine has ")


def test_the_python_call_sees_that_a_file_has_changed(folder: Path) -> None:
    (folder / "own_corners.py").write_text(MODULE.replace("0.5, (", "float(np.loadtxt('noise.txt')), ("))
    names = []
    for noise in ("0.5", "0.25", "0.5"):
        (folder / "noise.txt").write_text(noise)
        names.append(noise_search.sweep(MINE[2:], store="store", config_dir="my_conf").name)
    assert names[0] == names[2] != names[1]


WRONG: dict[str, tuple[tuple[str, ...], list[str]]] = {
    "no suite of that name": (
        ("--config-dir", "my_conf", "data=mine", *TINY),
        [
            "suite: expected one of ['digits', 'fashion_mnist', 'literature'], got 'mine'; make one with "
            "scripts/calibrate_suite, or take suite=literature: published strengths, uncalibrated"
        ],
    ),
    "an unknown function, and more": (
        (*MINE, "data._target_=own_corners.laod", "train.epochs=0"),
        [
            "data._target_: own_corners has no 'laod', got 'own_corners.laod'",
            "train.epochs: expected greater than or equal to 1, got 0",
        ],
    ),
    "a wrong value of the function's": (
        (*MINE, "data.contrast=2"),
        [f"data.{part} inputs: expected values in [0.0, 1.0], got " for part in ("train", "validation", "test")],
    ),
    "missing files": (
        ("data=fashion_mnist", "data.root=nowhere", "data.limit=2000", *TINY),
        ["data.root: expected a folder with the files train-images-idx3-ubyte.gz, "],
    ),
}


@pytest.mark.parametrize(("arguments", "expected"), WRONG.values(), ids=WRONG)
def test_wrong_data_end_with_2_and_leave_nothing_behind(
    capsys: pytest.CaptureFixture[str], folder: Path, arguments: tuple[str, ...], expected: list[str]
) -> None:
    before = {path for path in contents(folder) if "__pycache__" not in path}
    code, out, errors = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert len(errors) == len(expected)
    for line, start in zip(sorted(errors), sorted(expected), strict=True):
        assert line.startswith(start)
    assert {path for path in contents(folder) if "__pycache__" not in path} == before


def test_fashion_mnist_is_searched_on_a_subset_and_learnt(
    capsys: pytest.CaptureFixture[str], real_data: Path, folder: Path
) -> None:
    root = os.path.relpath(real_data / "fashion-mnist", folder)
    small: tuple[Any, ...] = ("train.epochs=3", "train.threads=1", "budget.trials=1", "controls.constants=0")
    arguments = ["experiment=fashion_mnist", f"data.root={root}", "data.limit=600", *small, "controls.random=0"]
    code, out, errors = run(capsys, "--json", *arguments, "tracking.enabled=false", "train.batch_size=32")
    assert code == 0, errors
    found = json.loads(out)
    assert found["suite_note"] == ""
    assert found["name"].startswith("fashion_mnist-fashion_mnist-cnn-")
    control = next(row for row in found["front"] if row["control"] == "no_noise")
    assert control["clean"] > 0.5
    context = yaml.safe_load(Path(found["files"]["card"]).read_text())["context"]
    assert (context["data"]["name"], context["input_range"]) == ("fashion_mnist", [0.0, 1.0])
    # Elsewhere they are the same files, and this the same search.
    (folder / "linked").symlink_to(real_data / "fashion-mnist")
    arguments[1] = "data.root=linked"
    code, out, _ = run(capsys, "--json", *arguments, "tracking.enabled=false", "train.batch_size=32")
    assert (code, json.loads(out)["changed"], json.loads(out)["name"]) == (0, False, found["name"])
