from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from sweep_examples import NAME, finished_store, tracked_store

CHECKOUT = Path(__file__).resolve().parent.parent.parent
LARGEST_BYTES = 300_000
PICTURES = ("mlflow-ui.png", "mlflow-magnitude.png", "report.png")


def screenshot_ui(*arguments: str) -> subprocess.CompletedProcess[str]:
    """scripts/screenshot_ui in a new interpreter that finds the package as this one does."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(CHECKOUT / "scripts" / "screenshot_ui"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def assert_pictures(folder: Path) -> None:
    """The pictures are there, small enough for a page, and show more than an empty frame."""
    for name in PICTURES:
        assert (folder / name).stat().st_size < LARGEST_BYTES
        with Image.open(folder / name) as image:
            assert image.width >= 1000
            assert len(image.convert("RGB").getcolors(maxcolors=image.width * image.height) or []) > 200


@pytest.mark.slow
def test_the_pictures_of_a_sweep_in_a_store_are_taken(tmp_path: Path) -> None:
    taken = screenshot_ui(NAME, "--store", str(tracked_store()), "-o", str(tmp_path / "images"))
    assert (taken.returncode, taken.stderr) == (0, "")
    assert taken.stdout.splitlines() == [f"wrote {tmp_path / 'images' / name}" for name in PICTURES]
    assert_pictures(tmp_path / "images")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        pytest.param("tyni", NAME, id="an unknown sweep"),
        pytest.param(NAME, "MLflow", id="a sweep that is not in MLflow"),
    ],
)
def test_a_mistake_is_one_line_and_takes_no_picture(name: str, words: str, tmp_path: Path) -> None:
    refused = screenshot_ui(name, "--store", str(finished_store()), "-o", str(tmp_path / "images"))
    assert refused.returncode == 2
    (line,) = refused.stderr.splitlines()
    assert words in line
    assert list(tmp_path.iterdir()) == []


def test_the_pictures_of_the_docs_are_there_and_small() -> None:
    assert_pictures(CHECKOUT / "docs" / "images")
