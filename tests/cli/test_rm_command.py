from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
from sweep_examples import BUDGET, CONTROLS, NAME, drive

from noise_search import cli
from noise_search.commands import statuses


class Terminal(io.StringIO):
    """Standard input with somebody at it."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def store(tmp_path: Path) -> Path:
    drive(tmp_path)
    return tmp_path


def names(store: Path) -> list[str]:
    return [one["name"] for one in statuses(store=store)]


@pytest.mark.parametrize(
    ("answer", "left"), [("y\n", []), ("yes\n", []), ("n\n", [NAME]), ("\n", [NAME]), ("", [NAME])]
)
def test_at_a_terminal_it_asks_and_takes_only_yes(
    answer: str, left: list[str], store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    assert cli.main(["rm", NAME, "--store", str(store)]) == 0
    said = capsys.readouterr()
    assert f"remove {NAME}, {BUDGET} complete trials, for good? [y/N]" in said.err
    assert names(store) == left
    assert (said.out == "") == (left == [NAME])


def test_without_a_terminal_it_wants_yes(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert cli.main(["rm", NAME, "--store", str(store)]) == 2
    assert capsys.readouterr().err == "rm: expected --yes, as there is no terminal to ask at\n"
    assert names(store) == [NAME]
    assert cli.main(["rm", NAME, "--yes", "--json", "--store", str(store)]) == 0
    assert json.loads(capsys.readouterr().out) == {"name": NAME, "members": BUDGET + CONTROLS, "runs": 0, "left": []}
    assert names(store) == []
