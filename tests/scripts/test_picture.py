from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from PIL import Image
from sweep_examples import NAME, contents, finished_store

from noise_search.commands import cards

CHECKOUT = Path(__file__).resolve().parent.parent.parent
LARGEST_BYTES = 150_000  # of a picture that a README loads


def picture(*arguments: str) -> subprocess.CompletedProcess[str]:
    """scripts/picture in a new interpreter that finds the package as this one does."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(CHECKOUT / "scripts" / "picture"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_a_sweep_is_drawn_on_white_and_the_same_again_while_its_store_is_left_alone(tmp_path: Path) -> None:
    store, before, registered = finished_store(), contents(finished_store()), cards(store=finished_store())
    for name in ("one.png", "again.png"):
        drawn = picture(NAME, "--store", str(store), "-o", str(tmp_path / "images" / name))
        assert (drawn.returncode, drawn.stderr) == (0, "")
    one, again = (tmp_path / "images" / name for name in ("one.png", "again.png"))
    assert one.read_bytes() == again.read_bytes()
    assert one.stat().st_size < LARGEST_BYTES
    with Image.open(one) as image:
        pixels = image.convert("RGB")
        assert pixels.getpixel((0, 0)) == (255, 255, 255)
        assert len(pixels.getcolors(maxcolors=1 << 20) or []) > 50  # lines, marks and words in several colours
    assert contents(store) == before
    assert cards(store=store) == registered


def test_an_unknown_sweep_is_a_mistake_in_one_line_and_draws_nothing(tmp_path: Path) -> None:
    drawn = picture("tyni", "--store", str(finished_store()), "-o", str(tmp_path / "none.png"))
    assert drawn.returncode == 2
    (line,) = drawn.stderr.splitlines()
    assert NAME in line
    assert list(tmp_path.iterdir()) == []


def test_the_picture_of_the_readme_is_small() -> None:
    assert 0 < (CHECKOUT / "docs" / "images" / "digits.png").stat().st_size < LARGEST_BYTES
