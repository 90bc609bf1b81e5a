"""`noise-search status --watch`, and logs as JSON lines."""

from __future__ import annotations

import itertools
import json
import os
import pty
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from cli_runs import Refused, Run
from sweep_examples import BUDGET, NAME, TINY, command, config, environment, finished_store, forked

from noise_search.cli.watching import _blocks
from noise_search.commands import Silent, run_sweep, status, statuses
from noise_search.store import locate, open_store


class _Held(Silent):
    """Reporter that holds a sweep after its first job until there is a file `go` in the store."""

    def __init__(self, store: Path) -> None:
        self._store = store

    def message(self, text: str) -> None:  # noqa: ARG002  # as reporters have it
        while not (self._store / "go").exists():
            time.sleep(0.05)


@contextmanager
def _running(store: Path) -> Iterator[None]:
    """A sweep in a process of its own, which has trained its first job and waits for `go`."""
    process = forked(run_sweep, config(), store=store, reporter=_Held(store))
    try:
        end = time.monotonic() + 90
        while not _has_trained(store):
            assert process.is_alive(), "the sweep did not begin to train"
            assert time.monotonic() < end, "the sweep did not begin to train"
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.join(30)


def _has_trained(folder: Path) -> bool:
    with suppress(Exception), open_store(locate(folder), create=False) as store:  # half made still
        return any(job.state == "done" for job in store.jobs(store.sweep(NAME).id))
    return False


def _read(descriptor: int, *parts: bytes) -> str:
    """Everything that comes yet, after what has come."""
    found = list(parts)
    with suppress(OSError):  # on Linux the end of a terminal is an error
        while part := os.read(descriptor, 65536):
            found.append(part)
    return b"".join(found).decode()


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """Store of a sweep that was watched while it ran, and what was shown as JSON and on a terminal."""
    store = tmp_path_factory.mktemp("watched")
    arguments = command("status", NAME, "--watch", "0.1", "--store", str(store))
    main, terminal = pty.openpty()
    with (
        _running(store),
        subprocess.Popen(
            [*arguments, "--json"], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as piped,
        subprocess.Popen(
            arguments, env=environment(TERM="xterm"), stdin=terminal, stdout=terminal, stderr=terminal
        ) as drawn,
    ):
        os.close(terminal)
        assert piped.stdout is not None
        first, seen = piped.stdout.readline(), os.read(main, 65536)
        (store / "go").touch()
        on_screen = _read(main, seen)
        os.close(main)
        lines = piped.stdout.read()
        assert (piped.wait(30), drawn.wait(30)) == (0, 0), lines + on_screen
    return store, first + lines, on_screen


def test_a_sweep_that_runs_is_watched_to_its_end_in_one_line_of_json_a_change(watched: tuple[Path, str, str]) -> None:
    store, lines, _ = watched
    seen: list[dict[str, Any]] = [json.loads(line) for line in lines.splitlines()]
    assert len(seen) > 1
    assert all(before != after for before, after in itertools.pairwise(seen))
    assert {one["state"] for one in seen[:-1]} == {"running"}
    complete = [one["trials"]["complete"] for one in seen]
    assert complete == sorted(complete)
    assert complete[-1] == BUDGET
    assert seen[-1] == json.loads(json.dumps(status(NAME, store=store)))


def test_on_a_terminal_a_change_is_drawn_in_place_of_what_was_there(watched: tuple[Path, str, str]) -> None:
    *_, drawn = watched
    blocks = re.findall(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", drawn)
    assert len(blocks) > 1
    assert drawn.count("\x1b[1A") >= len(blocks) - 1  # the cursor goes up before a block is drawn again
    assert f"{BUDGET} of {BUDGET}" in drawn


def test_ctrl_c_ends_watching_with_130_and_not_the_sweep(tmp_path: Path) -> None:
    store = tmp_path / "store"
    with _running(store):
        arguments = command("status", "--watch", "0.1", "--store", str(store))
        with subprocess.Popen(
            arguments, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            first = process.stdout.readline()  # of a block, which begins with the time
            process.send_signal(signal.SIGINT)
            out, errors = process.stdout.read(), process.stderr.read()
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\n", first)
        assert (process.wait(30), errors) == (130, "interrupted\n")
        assert NAME in out
        assert status(NAME, store=store)["state"] == "running"


def test_a_block_that_says_what_the_last_one_said_is_not_printed_again(capsys: pytest.CaptureFixture[str]) -> None:
    with _blocks(lambda found: print(found[0]["shown"])) as draw:
        for shown, unseen in (("a", 1), ("a", 2), ("b", 3), ("a", 4)):
            draw([{"shown": shown, "unseen": unseen}])
    assert re.sub(r"(?m)^\d{4}-\S+ \S+\n", "", capsys.readouterr().out) == "a\n\nb\n\na\n\n"


def test_what_does_not_run_is_shown_once_as_without_watching(ns: Run) -> None:
    store = str(finished_store())
    shown = ns("status", NAME, "--store", store)[1]
    code, watched, errors = ns("status", NAME, "--watch", "--store", store)
    assert (code, errors) == (0, [])
    assert watched.partition("\n")[2] == shown + "\n"
    code, listed, _ = ns("status", "--watch", "--json", "--store", store)
    assert (code, json.loads(listed)) == (0, json.loads(json.dumps(statuses(store=store))))
    assert listed.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "mistake"),
    [
        (["nobody", "--watch"], "sweep: expected one of ['tiny'], got 'nobody'"),
        (["--watch", "0"], "watch: expected 0.1 to 86400 seconds between looks, got 0"),
        ([NAME, "--watch", "nan"], "watch: expected 0.1 to 86400 seconds between looks, got nan"),
        (
            ["--watch", NAME],
            "noise-search status: argument --watch: expected seconds, got 'tiny'; NAME stands before --watch; "
            "noise-search status --help shows how",
        ),
    ],
)
def test_what_cannot_be_watched_is_refused(arguments: list[str], mistake: str, refused: Refused) -> None:
    assert refused("status", *arguments, "--store", str(finished_store())) == [mistake]


def test_logs_as_json_lines_are_the_lines_of_the_file_and_there_is_no_progress(ns: Run, tmp_path: Path) -> None:
    small = (*TINY, "budget.trials=1", "controls.constants=0", "controls.random=0", "--json")
    code, out, errors = ns("sweep", *small, "--store", str(tmp_path / "one"), "--log-json")
    assert (code, json.loads(out)["state"]) == (0, "complete")
    file = tmp_path / "one" / "sweeps" / NAME / "log.jsonl"
    assert [json.loads(line) for line in errors] == [json.loads(line) for line in file.read_text().splitlines()]
    code, _, errors = ns("sweep", *small, "--store", str(tmp_path / "two"))
    assert code == 0
    assert not any(line.startswith("{") for line in errors)
