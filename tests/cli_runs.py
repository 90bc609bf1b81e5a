"""Commands run in this process, as tests see them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from noise_search import cli

Run = Callable[..., tuple[int, str, list[str]]]


def runner(capsys: pytest.CaptureFixture[str]) -> Run:
    """Function that runs a command: exit code, standard output, lines of standard error."""

    def call(*arguments: str) -> tuple[int, str, list[str]]:
        capsys.readouterr()
        code = cli.main(arguments)
        said = capsys.readouterr()
        return code, said.out, said.err.splitlines()

    return call
