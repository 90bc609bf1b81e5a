from __future__ import annotations

import json
import shlex
import signal
import sqlite3
import subprocess
import time
import weakref
from contextlib import closing
from pathlib import Path

import pytest
from cli_runs import Run
from sweep_examples import (
    NAME,
    TINY,
    Quitter,
    assert_sound,
    command,
    environment,
    record,
)

from noise_search import cli
from noise_search.cli import running
from noise_search.execute import InlineExecutor
from noise_search.store import locate, open_store

SMALL = ("budget.trials=1", "controls.constants=0", "controls.random=0")


def test_an_unexpected_failure_is_one_line_and_exit_1(ns: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(InlineExecutor, "run", _fail)
    store = str(tmp_path / "store")
    code, out, errors = ns("sweep", *TINY, "--json", "--store", store)
    assert (code, out) == (1, "")
    assert errors[-1] == "failed: RuntimeError: the device is gone; and so is hope; -v shows where"
    assert not any("Traceback" in line for line in errors)
    assert record(Path(store)).state == "failed"
    code, _, errors = ns("sweep", *TINY, "-v", "--store", store)
    assert code == 1
    assert any("Traceback" in line for line in errors)
    assert errors[-1] == "failed: RuntimeError: the device is gone; and so is hope"


def _fail(_executor: object, _job: object, _on_epoch: object) -> None:
    raise RuntimeError("the device is gone\n  and so is hope")


def test_an_interrupted_sweep_exits_130_with_the_command_that_continues(
    ns: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = str(tmp_path / "a store")
    arguments = ["--store", store, *TINY, "space.terms.targets.magnitude={low: 0.1, high: 0.2}"]
    with monkeypatch.context() as patch:
        patch.setattr(running, "Bar", _QuittingBar)
        code, out, errors = ns("sweep", "--json", *arguments)
    assert (code, json.loads(out)["state"]) == (130, "interrupted")
    start, _, continuing = errors[-1].partition(": ")
    assert start == "interrupted; continue with"
    program, *following = shlex.split(continuing)
    assert (program, following) == ("noise-search", ["sweep", *arguments])
    code, _, _ = ns(*following)
    assert code == 0
    assert_sound(Path(store))


class _QuittingBar(Quitter):
    def __init__(self) -> None:
        super().__init__(jobs=2)

    def stop(self) -> None:
        """Nothing to clear."""


def test_an_interruption_ends_a_run_of_several_sweeps(ns: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "Bar", _QuittingBar)
    store = str(tmp_path / "store")
    assert ns("sweep", "--store", store, *TINY[1:], "-m", "seed=0,1")[0] == 130
    with open_store(locate(store), create=False) as opened:
        assert [one.state for one in opened.sweeps()] == ["interrupted"]


def test_an_interruption_before_the_sweep_is_open_continues_alike(ns: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "_sweep_one", _interrupt)
    code, out, errors = ns("sweep", "seed=3")
    assert (code, out, errors) == (130, "", ["interrupted; continue with: noise-search sweep seed=3"])


def _interrupt(*_arguments: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_the_middle_closes_the_sweep_so_that_it_can_be_continued(
    number: signal.Signals, tmp_path: Path
) -> None:
    store, long = tmp_path / "store", ("train.epochs=400", "driver.cohort=3")
    arguments = ("sweep", "--store", str(store), *TINY, *long)
    with subprocess.Popen(
        command(*arguments), cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        _wait_for_a_job(store / "search.db", process)
        time.sleep(0.2)
        process.send_signal(number)
        out, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in out + errors
    assert errors.splitlines()[-1] == f"interrupted; continue with: {shlex.join(['noise-search', *arguments])}"
    assert record(store).state == "interrupted"
    with open_store(locate(store), create=False) as opened:
        sweep_id = opened.sweep(NAME).id
        assert {member.state for member in opened.members(sweep_id)} == {"waiting"}
        opened.take_lease(sweep_id).release()
    for name in ("search.db", "optuna.db"):
        with closing(sqlite3.connect(store / name)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_signal_that_comes_where_nothing_can_be_raised_is_not_lost() -> None:
    class Thing:
        pass

    things = [Thing()]
    _ref = weakref.ref(things[0], lambda _: signal.raise_signal(signal.SIGTERM))

    def lose_one_and_wait() -> None:
        things.clear()
        time.sleep(10)

    with running.terminated_as_interrupted(), pytest.raises(KeyboardInterrupt):
        lose_one_and_wait()


def _wait_for_a_job(database: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if database.exists() and _running_jobs(database):
            return
        time.sleep(0.05)
    raise AssertionError(f"expected a job that runs, got exit code {process.returncode}")


def _running_jobs(database: Path) -> int:
    try:
        with closing(sqlite3.connect(database)) as connection:
            (count,) = connection.execute("SELECT count(*) FROM jobs WHERE state = 'running'").fetchone()
            return int(count)
    except sqlite3.OperationalError:  # its tables are being made
        return 0
