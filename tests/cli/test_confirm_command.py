"""`noise-search confirm`: its cost before it starts, what it prints, what it refuses."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from cli_runs import Refused, Run
from sweep_examples import NAME, TINY, contents, finished_store

from noise_search.execute.processes import ProcessesExecutor
from noise_search.training import Job

FEW = ("--top", "1", "--randoms", "1", "--seeds", "2", "--measure-seeds", "2", "--constant-trials", "2")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Store with the tiny sweep, of this test alone."""
    shutil.copytree(finished_store(), tmp_path / "store")
    return tmp_path / "store"


def test_a_preview_says_what_it_costs_and_shows_and_writes_nothing(ns: Run, store: Path) -> None:
    before = contents(store)
    code, out, said = ns("confirm", NAME, "--store", str(store), "--preview", *FEW)
    assert (code, said) == (0, [])
    parts = dict(line.split(":", 1) for line in out.splitlines())
    assert list(parts) == ["constants", "stage 1", "lr check", "stage 2", "shows", "time"]
    assert "2 other seeds on test, suite digits_held_out, at most 32 epochs" in parts["stage 2"]  # 8 arms
    assert parts["time"].endswith(" at the pace of the sweep")
    code, out, _ = ns("confirm", NAME, "--store", str(store), "--preview", "--json", *FEW)
    found = json.loads(out)
    assert found["epochs_at_most"] == {"constants": 6, "choose": 12, "learning_rates": 20, "measure": 32}
    assert (found["executor"], found["paced_on"]) == ("inline", "inline")
    assert contents(store) == before


def test_a_preview_says_where_its_pace_is_from_when_it_would_train_elsewhere(ns: Run, store: Path) -> None:
    code, out, _ = ns("confirm", NAME, "--store", str(store), "--preview", *FEW, "executor=processes")
    assert code == 0
    assert "at the pace of the sweep, which trained with executor=inline and not processes" in out


@pytest.mark.parametrize("command", [("confirm", NAME, "--preview"), ("sweep", "--preview"), ("sweep",)])
def test_an_executor_that_is_not_installed_is_named_with_what_installs_it(
    command: tuple[str, ...], refused: Refused, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    own = (*TINY, "budget.trials=9")  # of which there are 6
    (said,) = refused(*command, "--store", str(store), "executor=ray", *(own if command[0] == "sweep" else FEW))
    assert said.startswith("executor.name: ray is not installed; in a clone of the project: scripts/install ray, or ")


def test_without_the_check_of_learning_rates_it_costs_and_says_nothing(ns: Run, store: Path) -> None:
    _, out, _ = ns("confirm", NAME, "--store", str(store), "--preview", "--json", "--no-lr-check", *FEW)
    assert json.loads(out)["epochs_at_most"]["learning_rates"] == 0
    code, out, said = ns("confirm", NAME, "--store", str(store), "--no-lr-check", *FEW)
    assert code == 0
    assert "lr check" not in out + "".join(said)


def test_it_prints_every_arm_with_intervals_and_as_json_the_same(ns: Run, store: Path) -> None:
    code, out, said = ns("confirm", NAME, "--store", str(store), *FEW)
    assert code == 0
    (gain,) = [line for line in said if line.endswith("by the spread in stage 1")]
    assert gain in ns("confirm", NAME, "--store", str(store), "--preview", *FEW)[1].splitlines()
    assert "lr check:   no noise, lr x" in out
    for words in ("winner (trial ", "no noise", "best constant (constant ", "best random (random 1)", "unseen"):
        assert words in out
    assert f"suite digits_held_out, 2 seeds, confirmation 1 of {NAME}" in out
    code, out, _ = ns("confirm", NAME, "--store", str(store), "--json", *FEW)
    found = json.loads(out)
    assert code == 0
    assert not found["changed"]
    assert {one["arm"] for one in found["evidence"]["against"]} == found["evidence"]["means"].keys() - {"winner"}


def test_one_that_is_finished_is_shown_at_once_without_its_cost_and_nothing_is_written(ns: Run, store: Path) -> None:
    few = ("confirm", NAME, "--store", str(store), *FEW, "--no-lr-check")
    _, first, _ = ns(*few)
    before = contents(store)
    code, out, said = ns(*few)
    assert (code, said) == (0, [])
    assert out == f"sweep {NAME}: confirmed before, nothing to do\n{first}"
    assert ns(*few, "--preview")[1].splitlines()[-1].startswith("finished: ")
    assert json.loads(ns(*few, "--preview", "--json")[1])["finished"]
    assert contents(store) == before


def test_one_that_is_finished_is_shown_also_where_it_could_not_train(
    ns: Run, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = ("confirm", NAME, "--store", str(store), *FEW, "--no-lr-check")
    ns(*few)
    monkeypatch.setitem(sys.modules, "ray", None)
    for more in ((), ("--preview",)):
        code, out, said = ns(*few, *more, "executor=ray")
        assert (code, said) == (0, [])
        assert "done before" in out or "confirmed before" in out


def test_one_that_lacks_its_check_of_learning_rates_is_not_finished(ns: Run, store: Path) -> None:
    ns("confirm", NAME, "--store", str(store), *FEW, "--no-lr-check")
    _, out, said = ns("confirm", NAME, "--store", str(store), *FEW)
    assert said[0].startswith("constants: ")
    assert "lr check:" in out


def test_mistakes_are_named_at_once(refused: Refused, store: Path) -> None:
    mistakes = refused("confirm", NAME, "--store", str(store), "--seeds", "1", "--measure-seeds", "1")
    assert mistakes == [
        "confirm seeds: expected a whole number from 2 up, got 1",
        "confirm measure_seeds: expected a whole number from 2 up, got 1",
    ]
    (unknown,) = refused("confirm", "nothing", "--store", str(store))
    assert "nothing" in unknown
    (rule,) = refused("confirm", NAME, "--store", str(store), "--rule", "worst")
    assert rule.startswith("pick rule: expected one of")


def test_it_trains_on_the_executor_that_it_is_told(ns: Run, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    submitted: list[Job] = []
    submit = ProcessesExecutor.submit

    def noted(self: ProcessesExecutor, ticket: int, job: Job) -> None:
        submitted.append(job)
        submit(self, ticket, job)

    monkeypatch.setattr(ProcessesExecutor, "submit", noted)
    arguments = ("confirm", NAME, "--store", str(store), *FEW, "--no-lr-check")
    processes = ("executor=processes", "executor.processes=2")
    code, out, _ = ns(*arguments, *processes, "--json")
    assert code == 0
    assert {(job.hits, job.members[0].seed > 0) for job in submitted} >= {(True, True)}  # of stages
    assert not all(job.hits for job in submitted)  # of the search among constants
    inline = shutil.copytree(finished_store(), store.parent / "inline")
    _, same, _ = ns(*arguments[:3], str(inline), *FEW, "--no-lr-check", "--json")
    ours, theirs = json.loads(out), json.loads(same)
    assert ours["evidence"] == theirs["evidence"]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train.epochs=3", "confirm: expected executor=... or executor.KEY=..., got train.epochs=..."),
        ("executor=slurm", "executor: expected one of ['inline', 'processes', 'ray'], got 'slurm'"),
        ("executor.processes=2", "executor.processes: expected executor=processes with it, got none of these choices"),
        ("--epochs=3", "noise-search: unrecognized arguments: --epochs=3; noise-search --help shows how"),
    ],
)
def test_other_overrides_are_refused(override: str, said: str, ns: Run, store: Path) -> None:
    code, out, errors = ns("confirm", NAME, "--store", str(store), "--preview", override)
    assert (code, out, errors) == (2, "", [said])
