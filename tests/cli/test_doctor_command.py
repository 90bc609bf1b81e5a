from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import pytest
from sweep_examples import finished_store

from noise_search import cli
from noise_search.commands import doctor

COMMANDS = (
    "sweep",
    "status",
    "front",
    "confirm",
    "report",
    "pick",
    "cards",
    "train",
    "ui",
    "mirror",
    "stop",
    "rm",
    "migrate",
    "doctor",
    "list",
)


def test_doctor_as_json_is_every_check_and_exit_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--json", "--store", str(finished_store())]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in found] == [check.name for check in doctor(store=finished_store())]
    assert all(set(one) == {"name", "state", "found", "advice"} for one in found)


def test_doctor_prints_a_row_a_check_and_exits_1_if_one_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "search.db").write_bytes(b"this is no database " * 500)
    assert cli.main(["doctor", "--store", str(tmp_path)]) == 1
    said = capsys.readouterr()
    (line,) = (line for line in said.out.splitlines() if line.split()[:2] == ["store", "fail"])
    assert "expected a sound database file" in line
    assert all(name in said.out for name in [asdict(check)["name"] for check in doctor(store=tmp_path)])


def test_help_lists_every_command_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    for command in COMMANDS:
        (line,) = (words for words in lines if words[:1] == [command])
        assert len(line) > 3
    parser = cli._parser()
    (added,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    assert set(added.choices) == set(COMMANDS)
