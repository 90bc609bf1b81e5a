from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from noise_search import cli, load_card
from noise_search.listing import LISTINGS

CHECKOUT = Path(__file__).resolve().parent.parent
PAGES = {"noises.md", "schedules.md", "corruptions.md", "data.md", "models.md", "command-line.md"}


def docs(*arguments: str) -> subprocess.CompletedProcess[str]:
    """scripts/docs in a new interpreter that finds the package as this one does."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(CHECKOUT / "scripts" / "docs"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The committed pages, copied."""
    for name in PAGES:
        shutil.copy(CHECKOUT / "docs" / name, tmp_path / name)
    return tmp_path


def test_the_committed_pages_are_those_of_the_registries_and_the_parser() -> None:
    finished = docs("--check")
    assert (finished.stderr, finished.returncode) == ("", 0)


def test_a_page_that_was_edited_or_is_missing_is_named_and_written_anew(copied: Path) -> None:
    edited = copied / "noises.md"
    edited.write_text(edited.read_text(encoding="utf-8").replace("0.02", "0.03"), encoding="utf-8")
    (copied / "models.md").unlink()
    finished = docs("--check", "--folder", str(copied))
    assert finished.returncode == 1
    assert [Path(line.partition(":")[0]).name for line in finished.stderr.splitlines()] == ["noises.md", "models.md"]
    assert not (copied / "models.md").exists()
    assert docs("--folder", str(copied)).returncode == 0
    for name in PAGES:
        assert (copied / name).read_bytes() == (CHECKOUT / "docs" / name).read_bytes()


def rows(name: str) -> list[str]:
    """Names in the first column of a page's tables."""
    text = (CHECKOUT / "docs" / name).read_text(encoding="utf-8")
    return re.findall(r"^\| \[?`([^`]+)`", text, flags=re.MULTILINE)


@pytest.mark.parametrize("what", LISTINGS)
def test_every_entry_of_a_registry_has_a_row(what: str) -> None:
    column = {"noises": "noise", "schedules": "schedule", "corruptions": "corruption", "models": "model"}.get(
        what, what
    )
    assert rows(f"{what}.md") == [row[column] for row in LISTINGS[what]()]


def test_every_command_of_the_help_has_a_section(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    named = re.findall(r"^    ([a-z]+)  ", capsys.readouterr().out, flags=re.MULTILINE)
    assert "sweep" in named
    text = (CHECKOUT / "docs" / "command-line.md").read_text(encoding="utf-8")
    assert re.findall(r"^## ([a-z]+)$", text, flags=re.MULTILINE) == named


@pytest.mark.parametrize("name", sorted(PAGES))
def test_a_page_says_how_it_is_made_and_every_row_has_as_many_cells_as_its_head(name: str) -> None:
    lines = (CHECKOUT / "docs" / name).read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("<!-- Written by scripts/docs from ")
    width = 0
    for line in lines:
        cells = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0
        width = width if width and cells else cells  # a table ends at the first line that is no row
        assert cells == width, line


def test_the_card_that_the_docs_show_is_a_card(tmp_path: Path) -> None:
    text = (CHECKOUT / "docs" / "cards.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL)
    (tmp_path / "card.yaml").write_text(shown, encoding="utf-8")
    card = load_card(tmp_path / "card.yaml")
    (table,) = card.tabulate(100).values()
    assert (table[0], table[69:].min(), table[69:].max()) == pytest.approx((0.0, 0.2, 0.2), abs=0.005)
    assert (card.context["model"], card.context["epochs"]) == ("cnn", 30)
