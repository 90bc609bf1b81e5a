from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

from cli_runs import Refused, Run
from sweep_examples import NAME, TINY, command, environment, finished_store, record

from noise_search.store import locate, open_store


def test_a_sweep_in_another_terminal_is_stopped_and_can_be_continued(ns: Run, tmp_path: Path) -> None:
    store = tmp_path / "store"
    arguments = ("sweep", "--store", str(store), *TINY, "train.epochs=4000", "train.score_every=4000")
    with subprocess.Popen(
        command(*arguments), cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        _wait_until_it_trains(store, process)
        code, out, _ = ns("stop", NAME, "--store", str(store))
        _, errors = process.communicate(timeout=60)
    assert (code, out) == (0, f"{NAME}: stopped\n")
    assert process.returncode == 130
    assert errors.splitlines()[-1].startswith("interrupted; continue with: noise-search sweep")
    assert record(store).state == "interrupted"
    with open_store(locate(store), create=False) as opened:
        sweep = opened.sweep(NAME)
        assert {member.state for member in opened.members(sweep.id)} == {"waiting"}
        opened.take_lease(sweep.id).release()


def _wait_until_it_trains(store: Path, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 90
    while time.monotonic() < end and process.poll() is None:
        if (store / "search.db").is_file():
            try:
                with open_store(locate(store), create=False) as opened:
                    if opened.jobs(opened.sweep(NAME).id):
                        return
            except Exception:  # half made still
                pass
        time.sleep(0.2)
    raise AssertionError("the sweep did not begin to train")


def test_what_does_not_run_is_left_alone(ns: Run) -> None:
    code, out, _ = ns("stop", NAME, "--store", str(finished_store()), "--json")
    assert (code, json.loads(out)) == (0, {"name": NAME, "state": "not running"})


def test_a_stop_that_was_asked_for_does_not_stop_the_next_run(ns: Run, tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    assert ns("sweep", *TINY, "budget.trials=2", "--store", store)[0] == 0
    with open_store(locate(store), create=False) as opened:
        opened.request_stop(opened.sweep(NAME).id)
    assert ns("sweep", *TINY, "budget.trials=4", "--store", store)[0] == 0


def test_an_unknown_name_is_refused(refused: Refused) -> None:
    assert refused("stop", "nobody", "--store", str(finished_store())) == [
        "sweep: expected one of ['tiny'], got 'nobody'"
    ]
