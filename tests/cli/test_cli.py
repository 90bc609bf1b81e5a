from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from cli_runs import Refused, Run, here
from sweep_examples import (
    BUDGET,
    NAME,
    TINY,
    command,
    contents,
    environment,
    findings,
    finished_store,
    run,
    tracked_store,
)

from noise_search import cli
from noise_search.listing import LISTINGS
from noise_search.store import locate, open_store

SMALL = ("budget.trials=1", "controls.constants=0", "controls.random=0")


def test_a_sweep_prints_its_front_its_pick_and_where_to_look(ns: Run, tmp_path: Path) -> None:
    code, out, _ = ns("sweep", "--store", str(tmp_path / "a store"), *TINY)
    assert code == 0
    assert findings(tmp_path / "a store") == findings(finished_store())
    for text in ("no_noise", "constant_1", "random_1", "picked by score: trial", f"sweep:  {NAME}", "card.yaml"):
        assert text in out
    assert "mlflow" not in out  # this sweep is not tracked
    last = next(line for line in out.splitlines() if line.startswith("next: "))
    _, _, *following = shlex.split(last)
    code, previewed, _ = ns(*following, "--preview")
    assert code == 0
    assert "\nstage 2:" in previewed
    assert here() == []


def test_a_tracked_sweep_prints_the_command_that_shows_its_runs(ns: Run) -> None:
    code, out, _ = ns("sweep", "--store", str(tracked_store()), *TINY, "tracking.enabled=true")
    assert code == 0
    shown = next(line for line in out.splitlines() if line.startswith("MLflow: "))
    assert shown.endswith(f"noise-search ui {NAME} --store {tracked_store()}")


def test_the_same_command_at_the_total_says_so_and_exits_0(ns: Run) -> None:
    before = contents(finished_store())
    code, out, errors = ns("sweep", "--store", str(finished_store()), *TINY)
    assert (code, errors) == (0, [])
    assert f"sweep {NAME}: the total was reached before, nothing to do" in out
    assert contents(finished_store()) == before


def test_a_sweep_as_json_is_json_alone(ns: Run) -> None:
    code, out, errors = ns("sweep", "--json", "--store", str(finished_store()), *TINY)
    assert (code, errors) == (0, [])
    found = json.loads(out)
    assert (found["name"], found["state"], found["changed"]) == (NAME, "complete", False)
    assert set(found["files"]) == {"card", "report"}
    assert found["picked"]["trial"] in {row["trial"] for row in found["front"]}


def test_status_as_json_has_the_documented_keys(ns: Run) -> None:
    code, out, errors = ns("status", NAME, "--json", "--store", str(finished_store()))
    assert (code, errors) == (0, [])
    found = json.loads(out)
    assert {"name", "state", "budget", "trials", "epochs_trained", "samples_scored", "seconds", "best"} <= set(found)
    assert set(found["trials"]) == {"complete", "stopped", "infeasible", "failed", "running", "waiting"}
    assert (found["state"], found["trials"]["complete"]) == ("complete", BUDGET)


def test_status_without_a_name_is_every_sweep(ns: Run) -> None:
    code, out, _ = ns("status", "--json", "--store", str(finished_store()))
    assert code == 0
    assert [one["name"] for one in json.loads(out)] == [NAME]
    code, out, _ = ns("status", "--store", str(finished_store()))
    assert code == 0
    assert f"{BUDGET} of {BUDGET}" in out


def test_front_as_json_is_rows_of_the_front_and_every_control(ns: Run) -> None:
    code, out, errors = ns("front", NAME, "--json", "--store", str(finished_store()))
    assert (code, errors) == (0, [])
    rows = json.loads(out)
    for row in rows:
        assert {"trial", "control", "clean", "robust", "worst_family", "score", "policy"} <= set(row)
        assert (row["trial"] is None) == (row["control"] is not None)
    assert [row["control"] for row in rows if row["control"]] == ["no_noise", "constant_1", "random_1"]
    code, out, errors = ns("front", NAME, "--store", str(finished_store()))
    assert (code, errors) == (0, [])
    assert "no noise" in out


@pytest.mark.parametrize("what", cli.LISTS)
def test_list_prints_what_there_is(what: str, ns: Run) -> None:
    code, out, errors = ns("list", what, "--json")
    assert (code, errors) == (0, [])
    assert json.loads(out) == LISTINGS[what]()
    code, out, errors = ns("list", what)
    assert (code, errors) == (0, [])
    assert all(str(row[next(iter(row))]) in out for row in LISTINGS[what]())


@pytest.mark.parametrize("arguments", [("--cfg", "job"), ("--info", "defaults"), ("--cfg", "job", "--resolve")])
def test_hydras_own_options_show_the_configuration_and_run_nothing(arguments: tuple[str, ...], ns: Run) -> None:
    code, out, _ = ns("sweep", *arguments, "model=mlp")
    assert code == 0
    assert "mlp" in out
    assert here() == []


def test_the_configuration_sees_the_store_that_is_named(ns: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    _, out, _ = ns("sweep", "--cfg", "job", "--resolve", "--store", "named")
    assert yaml.safe_load(out)["store"]["url"] == str(Path("named").absolute())
    assert "NOISE_SEARCH_STORE" not in os.environ
    monkeypatch.setenv("NOISE_SEARCH_STORE", "variable")
    _, out, _ = ns("sweep", "--cfg", "job", "--resolve")
    assert yaml.safe_load(out)["store"]["url"] == "variable"
    ns("sweep", "--cfg", "job", "--store", "named")
    assert os.environ["NOISE_SEARCH_STORE"] == "variable"


def test_the_variable_names_the_store_and_the_option_wins(ns: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOISE_SEARCH_STORE", "variable")
    assert ns("sweep", *TINY, *SMALL)[0] == 0
    assert here() == ["variable"]
    assert ns("status", NAME)[0] == 0
    assert ns("sweep", *TINY, *SMALL, "--store", "option")[0] == 0
    assert sorted(here()) == ["option", "variable"]
    assert ns("status", NAME, "--store", "nowhere")[0] == 2


def test_several_values_run_one_sweep_each(ns: Run, tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    arguments = [*TINY[1:], *SMALL, "-m", "seed=0,1"]
    code, out, _ = ns("sweep", "--json", "--store", store, *arguments)
    assert code == 0
    found = json.loads(out)
    assert [one["overrides"] for one in found] == [["seed=0"], ["seed=1"]]
    names = [one["name"] for one in found]
    assert len(set(names)) == 2
    with open_store(locate(store), create=False) as opened:
        assert {(one.name, one.identity["seed"]) for one in opened.sweeps()} == set(zip(names, (0, 1), strict=True))
    assert here() == []
    assert {path.name for path in Path(store).iterdir()} == {".lock", "search.db", "optuna.db", "sweeps"}
    _, out, _ = ns("sweep", "--store", store, *arguments)
    lines = [f"sweep:  {name} (seed={seed})" for seed, name in enumerate(names)]
    assert [line for line in out.splitlines() if line.startswith("sweep:  ")] == lines
    assert ns("status", "--store", store)[0] == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("model=mlp", "--cfg", "job", "seed=7"),
        ("--cfg", "job", "model=mlp", "seed=7"),
        ("model=mlp", "--cfg", "job", "seed=7", "~controls"),
        ("model=mlp", "seed=7", "--config-dir", ".", "--cfg=job"),
    ],
)
def test_hydras_options_may_stand_anywhere(arguments: tuple[str, ...], ns: Run) -> None:
    code, out, errors = ns("sweep", *arguments)
    assert (code, errors) == (0, [])
    shown = yaml.safe_load(out)
    assert (shown["model"]["name"], shown["seed"]) == ("mlp", 7)


def test_a_mistake_in_one_of_several_sweeps_is_found_before_the_first_runs(refused: Refused, tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    mistakes = refused("sweep", *TINY[1:], *SMALL, "-m", "train.epochs=1,0,-1", "--store", store)
    assert [mistake.partition(":")[0] for mistake in mistakes] == ["train.epochs", "train.epochs"]
    refused("sweep", "-m", "model=mlp,cnnn", "--store", store)


def test_ones_own_space_is_found_in_ones_own_folder(ns: Run, tmp_path: Path) -> None:
    (tmp_path / "mine" / "space").mkdir(parents=True)
    (tmp_path / "mine" / "space" / "steady.yaml").write_text("terms: {targets: {noise: label_smoothing}}\n")
    own = ("--config-dir", str(tmp_path / "mine"), "space=steady")
    code, out, _ = ns("sweep", "--json", "--store", str(tmp_path / "store"), *own, *TINY, *SMALL)
    assert code == 0
    (trial,) = (row for row in json.loads(out)["front"] if row["control"] is None)
    assert [(term["site"], term["noise"]) for term in trial["policy"]] == [("targets", "label_smoothing")]


@pytest.mark.parametrize("arguments", [("--help",), ("sweep", "--help"), ("--version",), ("front", "--help")])
def test_help_imports_nothing_heavy(arguments: tuple[str, ...], tmp_path: Path) -> None:
    heavy = "{'torch', 'optuna', 'mlflow', 'hydra', 'sqlalchemy', 'numpy'} & sys.modules.keys()"
    code = f"import sys; from noise_search.cli import main; sys.exit(main(sys.argv[1:]) or {heavy} or 0)"
    ran = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "noise-search" in ran.stdout


def test_help_comes_within_a_second(tmp_path: Path) -> None:
    taken = []
    for _ in range(3):  # other work on the machine only ever adds
        started = time.monotonic()
        assert run("--help", cwd=tmp_path).returncode == 0
        taken.append(time.monotonic() - started)
    assert min(taken) < 1.0


def test_the_program_ends_with_the_exit_code_and_keeps_standard_output_clean(tmp_path: Path) -> None:
    ran = run("status", "--json", cwd=tmp_path, NOISE_SEARCH_STORE=str(tmp_path / "none"))
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("store: expected a store, found none at")
    assert len(ran.stderr.splitlines()) == 1


def test_a_whole_sweep_in_a_new_interpreter_prints_json_alone_and_warns_of_nothing(tmp_path: Path) -> None:
    ran = run("sweep", "--json", *TINY, cwd=tmp_path, NOISE_SEARCH_STORE="runs")
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["state"] == "complete"
    assert "Warning" not in ran.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
    assert findings(tmp_path / "runs") == findings(finished_store())


@pytest.mark.parametrize(("more", "code"), [(("--json",), 141), ((), 1)], ids=["plain", "by rich"])
def test_output_that_nobody_reads_to_its_end_is_no_failure_to_report(
    more: tuple[str, ...], code: int, tmp_path: Path
) -> None:
    arguments = ("list", "noises", *more)
    with subprocess.Popen(
        command(*arguments), cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert (process.stderr.read(), process.wait(60)) == ("", code)
