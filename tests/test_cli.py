from __future__ import annotations

import json
import os
import shlex
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from cli_runs import Run, runner
from sweep_examples import (
    BUDGET,
    NAME,
    TINY,
    Quitter,
    assert_sound,
    command,
    contents,
    environment,
    findings,
    finished_store,
    record,
    run,
    tracked_store,
)

from noise_search import cli
from noise_search.cli import running
from noise_search.execute import InlineExecutor
from noise_search.listing import LISTINGS
from noise_search.policy import load_card
from noise_search.schedules import SCHEDULES
from noise_search.store import locate, open_store

SMALL = ("budget.trials=1", "controls.constants=0", "controls.random=0")


@pytest.fixture
def ns(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in an empty working folder: exit code, standard output, lines of standard error."""
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    monkeypatch.delenv("NOISE_SEARCH_STORE", raising=False)
    return runner(capsys)


@pytest.fixture
def refused(ns: Run, tmp_path: Path) -> Callable[..., list[str]]:
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


def everything(folder: Path) -> dict[str, Any]:
    """Files with their contents, and folders."""
    return {**contents(folder), **{str(path): None for path in folder.rglob("*") if path.is_dir()}}


def here() -> list[str]:
    """What lies in the working folder."""
    return [path.name for path in Path.cwd().iterdir()]


def test_a_sweep_prints_its_front_its_pick_and_where_to_look(ns: Run, tmp_path: Path) -> None:
    code, out, _ = ns("sweep", "--store", str(tmp_path / "a store"), *TINY)
    assert code == 0
    assert findings(tmp_path / "a store") == findings(finished_store())
    for text in ("no_noise", "constant_1", "random_1", "picked by score: trial", f"sweep:  {NAME}", "card.yaml"):
        assert text in out
    assert "mlflow" not in out  # this sweep is not tracked
    last = next(line for line in out.splitlines() if line.startswith("next: "))
    _, _, *following = shlex.split(last)
    code, _, _ = ns(*following)
    assert code == 0
    assert load_card("card.yaml").context["rule"] == "knee"
    assert here() == ["card.yaml"]


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
    assert set(found["files"]) == {"card", "figure"}
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


def test_pick_prints_the_card_or_writes_it(ns: Run) -> None:
    code, out, errors = ns("pick", NAME, "--store", str(finished_store()))
    assert (code, len(errors)) == (0, 1)
    assert "optimistic" in errors[0]
    printed = yaml.safe_load(out)
    assert set(printed) == {"version", "terms", "context"}
    code, out, _ = ns("pick", NAME, "--rule", "best", "-o", "card.yaml", "--store", str(finished_store()))
    assert (code, out) == (0, "wrote card.yaml\n")
    assert yaml.safe_load(Path("card.yaml").read_text()) == printed
    code, out, errors = ns("pick", NAME, "--json", "--store", str(finished_store()))
    assert (code, errors) == (0, [])
    found = json.loads(out)
    assert found["card"] == printed
    assert found["picked"]["trial"] == printed["context"]["trial"]


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
    names = [one["name"] for one in json.loads(out)]
    assert len(set(names)) == 2
    with open_store(locate(store), create=False) as opened:
        assert {(one.name, one.identity["seed"]) for one in opened.sweeps()} == set(zip(names, (0, 1), strict=True))
    assert here() == []
    assert {path.name for path in Path(store).iterdir()} == {".lock", "search.db", "optuna.db", "sweeps"}
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


def test_a_mistake_in_one_of_several_sweeps_is_found_before_the_first_runs(
    refused: Callable[..., list[str]], tmp_path: Path
) -> None:
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


# What is asked for, and how each line of the answer begins.
MISTAKES: dict[str, tuple[list[str], list[str]]] = {
    "no command": ([], ["noise-search: the following arguments are required: COMMAND"]),
    "an unknown command": (["swep"], ["noise-search: argument COMMAND: invalid choice: 'swep'"]),
    "an unknown option": (["front", NAME, "--jsno"], ["noise-search: unrecognized arguments: --jsno"]),
    "an unknown option of a sweep": (["sweep", "--trials", "4"], ["noise-search sweep: error: unrecognized arguments"]),
    "no name to show": (["front"], ["noise-search front: the following arguments are required: NAME"]),
    "no name to pick": (["pick"], ["noise-search pick: the following arguments are required: NAME"]),
    "an unknown list": (["list", "noise"], ["list: expected one of ['corruptions', "]),
    "a missing store": (["status"], ["store: expected a store, found none at"]),
    "an empty store": (["sweep", *TINY, "--store", ""], ["store: expected a folder, got an empty text"]),
    "a store on a server": (
        ["front", NAME, "--store", "postgresql://me:secret@h/d"],
        ["store: expected a folder, got a"],
    ),
    "an unknown group": (["sweep", "modell=mlp"], ["configuration: expected one of"]),
    "an unknown choice": (
        ["sweep", "model=cnnn"],
        ["model: expected one of ['cnn', 'cnn_bn', 'gru', 'mlp', 'resnet', 'resnet_bn', 'transformer'], got 'cnnn'"],
    ),
    "an unknown key": (["sweep", "train.epoch=3"], ["train: expected one of"]),
    "an unknown noise": (
        ["sweep", "space.terms.inputs.noise={choices:[gausian]}", "space.terms.inputs.magnitude=0.1"],
        ["space.terms.inputs.noise: expected one of"],
    ),
    "an unknown schedule": (
        ["sweep", "space.terms.targets.schedule=linaer"],
        [f"space.terms.targets.schedule.kind: expected one of {sorted(SCHEDULES)}, got 'linaer'"],
    ),
    "a word for a number": (["sweep", "train.epochs=many"], ["train.epochs: expected"]),
    "a number for a word": (["sweep", "optimizer.lr_schedule=3"], ["optimizer.lr_schedule: expected"]),
    "a negative budget": (["sweep", "budget.trials=-4"], ["budget.trials: expected"]),
    "no budget": (["sweep", "budget.trials=0"], ["budget.trials: expected"]),
    "half a trial": (["sweep", "budget.trials=2.5"], ["budget.trials: expected"]),
    "not an override": (["sweep", "garbage"], ["garbage: "]),
    "a name that is a path": (["sweep", "name=../up"], ["name: expected up to 100 letters"]),
    "a folder of one's own that is not there": (["sweep", "--config-dir", "none"], ["config_dir: expected a folder"]),
    "several values without -m": (["sweep", "seed=1,2"], ["seed=1,2: "]),
    "three mistakes at once": (
        ["sweep", "train.epochs=0", "budget.trials=-1", "seed=-1"],
        ["budget.trials: expected", "train.epochs: expected", "seed: expected"],
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_a_line_that_names_the_key_and_nothing_is_written(
    mistake: str, refused: Callable[..., list[str]]
) -> None:
    arguments, beginnings = MISTAKES[mistake]
    lines = refused(*arguments)
    assert len(lines) == len(beginnings), lines
    for line, beginning in zip(lines, beginnings, strict=True):
        assert line.startswith(beginning)
    assert here() == []


def test_a_password_in_a_store_is_not_repeated(refused: Callable[..., list[str]]) -> None:
    assert not any("secret" in line for line in refused("status", "--store", "postgresql://me:secret@host/db"))


@pytest.mark.parametrize("name", ["front", "pick", "status"])
def test_an_unknown_name_is_refused_with_the_nearest(name: str, refused: Callable[..., list[str]]) -> None:
    (line,) = refused(name, "tinny", "--store", str(finished_store()))
    assert line == "sweep: expected one of ['tiny'], got 'tinny'; did you mean 'tiny'?"


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("bset", "did you mean 'best'?"),
        ("min-clean=x", "expected a number in [0, 1], got 'x'"),
        ("min-clean=1", "best is"),
    ],
)
def test_a_bad_rule_is_refused(rule: str, message: str, refused: Callable[..., list[str]]) -> None:
    (line,) = refused("pick", NAME, "--rule", rule, "-o", "card.yaml", "--store", str(finished_store()))
    assert message in line


def test_a_card_for_a_missing_folder_is_refused(refused: Callable[..., list[str]]) -> None:
    (line,) = refused("pick", NAME, "-o", "none/card.yaml", "--store", str(finished_store()))
    assert line == "none/card.yaml: cannot write the card: No such file or directory"


@pytest.mark.parametrize(
    "arguments", [("status",), ("front", NAME), ("sweep", *TINY), ("sweep", *TINY, "-m", "seed=0,1")]
)
def test_a_store_that_is_a_file_or_below_one_is_refused(
    arguments: tuple[str, ...], refused: Callable[..., list[str]], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mine")
    (line,) = refused(*arguments, "--store", str(tmp_path / "file"))
    assert line == f"store: expected a folder, got the file {tmp_path / 'file'}"
    (line,) = refused(*arguments, "--store", str(tmp_path / "file" / "below"))
    assert line.startswith("store: expected a ")


@pytest.mark.parametrize("arguments", [("status",), ("front", NAME), ("pick", NAME), ("sweep", *TINY)])
def test_a_store_of_a_newer_version_is_refused_untouched(
    arguments: tuple[str, ...], refused: Callable[..., list[str]], tmp_path: Path
) -> None:
    store = _copied(tmp_path)
    with closing(sqlite3.connect(store / "search.db")) as connection, connection:
        connection.execute("UPDATE noise_search_version SET version_num = '9999'")
    (line,) = refused(*arguments, "--store", str(store))
    assert "made by a newer noise-search (schema 9999); upgrade noise-search" in line


@pytest.mark.parametrize("arguments", [("status",), ("front", NAME), ("sweep", *TINY)])
def test_a_store_whose_database_is_none_is_refused_untouched(
    arguments: tuple[str, ...], refused: Callable[..., list[str]], tmp_path: Path
) -> None:
    store = _copied(tmp_path)
    (store / "search.db").write_bytes(b"this is no database " * 500)
    (line,) = refused(*arguments, "--store", str(store))
    assert line.startswith("store: expected a sound database file")


def _copied(folder: Path) -> Path:
    """The finished store, copied file by file through SQLite, so that nothing stays in a log beside it."""
    store = folder / "store"
    store.mkdir()
    for name in ("search.db", "optuna.db"):
        source, target = sqlite3.connect(finished_store() / name), sqlite3.connect(store / name)
        with closing(source), closing(target):
            source.backup(target)
    (store / ".lock").touch()
    return store


def test_another_search_under_the_same_name_is_refused_key_by_key(refused: Callable[..., list[str]]) -> None:
    before = contents(finished_store())
    lines = refused("sweep", *TINY, "seed=1", "train.epochs=3", "--store", str(finished_store()))
    assert [line.partition(":")[0] for line in lines] == ["seed", "train.epochs", "name"]
    assert contents(finished_store()) == before


def test_a_card_that_would_run_code_is_refused(tmp_path: Path) -> None:
    from noise_search.errors import CallerError

    card = tmp_path / "card.yaml"
    card.write_text("version: 1\nterms: !!python/object/apply:os.mkdir [made]\n")
    with pytest.raises(CallerError, match=r"expected a YAML card, got the tag tag:yaml\.org,2002:python"):
        load_card(card)
    assert [path.name for path in tmp_path.iterdir()] == ["card.yaml"]


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
