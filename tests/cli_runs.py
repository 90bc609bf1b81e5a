"""Commands run in this process, as tests see them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sweep_examples import contents

from noise_search import cli

Run = Callable[..., tuple[int, str, list[str]]]
Refused = Callable[..., list[str]]


def runner(capsys: pytest.CaptureFixture[str]) -> Run:
    """Function that runs a command: exit code, standard output, lines of standard error."""

    def call(*arguments: str) -> tuple[int, str, list[str]]:
        capsys.readouterr()
        code = cli.main(arguments)
        said = capsys.readouterr()
        return code, said.out, said.err.splitlines()

    return call


def everything(folder: Path) -> dict[str, Any]:
    """Files with their contents, and folders."""
    return {**contents(folder), **{str(path): None for path in folder.rglob("*") if path.is_dir()}}


def here() -> list[str]:
    """What lies in the working folder."""
    return [path.name for path in Path.cwd().iterdir()]


@pytest.fixture
def ns(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in an empty working folder: exit code, standard output, lines of standard error."""
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    monkeypatch.delenv("NOISE_SEARCH_STORE", raising=False)
    return runner(capsys)


@pytest.fixture
def refused(ns: Run, tmp_path: Path) -> Refused:
    """Run a command that must be refused: exit 2, the mistakes on standard error, and nothing else anywhere."""

    def call(*arguments: str) -> list[str]:
        before = everything(tmp_path)
        code, out, mistakes = ns(*arguments)
        assert (code, out) == (2, ""), mistakes
        assert mistakes
        assert not any("Traceback" in line or line.startswith(" ") for line in mistakes)
        assert everything(tmp_path) == before
        return mistakes

    return call
