"""Small real sweeps for the tests of searching, reporting and the command line, and the means to compare them."""

from __future__ import annotations

import atexit
import hashlib
import itertools
import json
import math
import multiprocessing
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import asdict, replace
from functools import cache
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # before anything imports MLflow
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")

import optuna
import torch

from noise_search.commands import SweepOutcome, run_sweep
from noise_search.config import build, compose
from noise_search.execute import InlineExecutor
from noise_search.search.mirroring import member_name
from noise_search.search.opening import Plan, make_plan
from noise_search.spec import SweepSpec
from noise_search.store import Location, ResultRecord, Store, SweepRecord, create_schema, is_current, locate, open_store
from noise_search.tracking.mlflow_sink import create_schema as create_tracking_schema
from noise_search.training import Job, Result, load_dataset
from noise_search.training.loop import WORST

torch.set_num_threads(1)

NAME = "tiny"
BUDGET, BATCH, CONTROLS = 6, 2, 3
# From the third trial on TPE proposes, so that what it makes of the first ones is under test too.
TINY = (
    f"name={NAME}",
    "model=mlp",
    "model.hidden=[8]",
    "optimizer.lr=0.02",
    "train.epochs=2",
    "train.batch_size=256",
    "train.device=cpu",
    f"budget.trials={BUDGET}",
    f"sampler.batch={BATCH}",
    "sampler.startup_trials=2",
    "driver.cohort=2",
    "controls.constants=1",
    "controls.random=1",
    "tracking.enabled=false",
)
JOBS = 2 + BUDGET // BATCH  # three controls in cohorts of two, then a job a batch
DIED = 9
# What a sweep imports, most of it only when first used.
_IMPORTED = ["noise_search.commands", "alembic.command", "sklearn.datasets", "torch._dynamo", "plotly.graph_objects"]
ENTRY = "from noise_search.cli import entry_point; entry_point()"


@cache
def config(*overrides: str) -> dict[str, Any]:
    """Configuration of the tiny sweep with more overrides."""
    return compose([*TINY, *overrides])


def spec(*overrides: str) -> SweepSpec:
    """The tiny sweep, typed."""
    return build(config(*overrides))


def plan(*overrides: str) -> Plan:
    """The tiny sweep with its data and identity."""
    typed = spec(*overrides)
    return make_plan(typed, load_dataset(typed.data))


def drive(folder: Path | Location, *overrides: str, reporter: Any = None) -> SweepOutcome:
    """Run or continue the tiny sweep in a store at `folder`."""
    return run_sweep(config(*overrides), store=folder, reporter=reporter)


@cache
def finished_store() -> Path:
    """Store with the tiny sweep, run at one go; to be read only."""
    folder = temporary_folder()
    assert drive(folder).state == "complete"
    return folder


@cache
def picking_store() -> Path:
    """Store with the tiny sweep, for tests that pick from it, which registers cards there and changes nothing else."""
    folder = temporary_folder()
    shutil.copytree(finished_store(), folder, dirs_exist_ok=True)
    return folder


@cache
def tracked_store() -> Path:
    """Store with the tiny sweep and its MLflow mirror; to be read only."""
    folder = temporary_folder()
    put_tracking_database(folder)
    assert drive(folder, "tracking.enabled=true").state == "complete"
    return folder


def put_tracking_database(folder: Path) -> None:
    """Make an MLflow database at `folder` by copying one: MLflow takes seconds to make it."""
    shutil.copyfile(_tracking_database(), folder / "mlflow.db")


@cache
def _empty_store() -> Path:
    folder = temporary_folder()
    create_schema(locate(folder))
    return folder


@cache
def _tracking_database() -> Path:
    path = temporary_folder() / "mlflow.db"
    create_tracking_schema(f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


def temporary_folder() -> Path:
    """A new folder that goes when the tests end."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def location(folder: Path) -> Location:
    """Location of a store."""
    return locate(folder)


def record(folder: Path, name: str = NAME) -> SweepRecord:
    """A sweep as its store has it."""
    with open_store(locate(folder), create=False) as store:
        return store.sweep(name)


def last_results(store: Store, sweep_id: int) -> dict[int, ResultRecord]:
    """Result of every member at the last epoch it was scored at, by member id, in a sweep of one seed."""
    return {found.member_id: found for found in sorted(store.results(sweep_id), key=lambda found: found.epoch)}


def findings(folder: Path | Location, name: str = NAME) -> dict[str, str]:
    """All numbers of every member as text, by its name; equal texts mean equal bits."""
    with open_store(locate(folder), create=False) as store:
        sweep_id = store.sweep(name).id
        members, results = store.members(sweep_id), last_results(store, sweep_id)
    return {
        member_name(member): json.dumps(
            {
                "parameters": member.parameters,
                "policy": member.policy,
                "state": member.state,
                "reason": member.reason,
                "told": member.told,
                **_numbers(asdict(results[member.id])),
            },
            sort_keys=True,
        )
        for member in members
        if member.id in results
    }


def _numbers(result: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in result.items() if key not in ("id", "member_id", "seconds", "created_at")}


def trials(found: Mapping[str, str]) -> dict[str, str]:
    """Trials among `findings`, without the controls."""
    return {name: text for name, text in found.items() if name.startswith("trial")}


def asked(folder: Path | Location, name: str = NAME) -> list[optuna.trial.FrozenTrial]:
    """Trials of a sweep as Optuna has them."""
    with open_store(locate(folder), create=False) as store:
        study = optuna.load_study(
            study_name=name, storage=store.optuna_storage(), sampler=optuna.samplers.RandomSampler(seed=0)
        )
        return study.get_trials(deepcopy=True)


def assert_sound(folder: Path, budget: int = BUDGET) -> None:
    """Exactly `budget` trials, each asked once, trained once and told its own score."""
    with open_store(locate(folder), create=False) as store:
        sweep = store.sweep(NAME)
        members, results = store.members(sweep.id), store.results(sweep.id)
        jobs = store.jobs(sweep.id)
        scores = {m.number: last_results(store, sweep.id)[m.id].scores["score"] for m in members if not m.control}
    assert [member.number for member in members if not member.control] == list(range(budget))
    assert all(member.told for member in members if not member.control)
    assert sorted(result.member_id for result in results) == sorted(member.id for member in members)
    assert {job.state for job in jobs} <= {"done", "abandoned"}
    assert sweep.state == "complete"
    told = asked(folder)
    assert [trial.state for trial in told] == [optuna.trial.TrialState.COMPLETE] * budget
    assert {trial.number: trial.value for trial in told} == scores
    parameters = {trial.number: trial.params for trial in told}
    assert {m.number: m.parameters for m in members if not m.control} == parameters


def diverging(run: Callable[..., list[Result]], members: Iterable[int]) -> Callable[..., list[Result]]:
    """The executor's `run`, but members of these ids diverge: those of controls come before those of trials."""
    gone = {str(member) for member in members}

    def diverge(self: InlineExecutor, job: Job, on_epoch: Callable[[int], None]) -> list[Result]:
        return [
            replace(result, scores={**result.scores, **WORST}, diverged=True) if result.member in gone else result
            for result in run(self, job, on_epoch)
        ]

    return diverge


class Quitter:
    """Reporter that interrupts, as Ctrl-C would, after so many jobs or so many epochs of members."""

    def __init__(self, *, jobs: float = math.inf, epochs: float = math.inf) -> None:
        self._jobs, self._epochs = jobs, epochs

    def begin(self, total: int, done: int) -> None:
        """Nothing."""

    def advance(self, epochs: int) -> None:
        """Count epochs."""
        self._epochs -= epochs
        if self._epochs <= 0:
            raise KeyboardInterrupt

    def message(self, text: str) -> None:  # noqa: ARG002  # as reporters have it
        """Count jobs."""
        self._jobs -= 1
        if self._jobs <= 0:
            raise KeyboardInterrupt


def start(folder: Path, *overrides: str) -> BaseProcess:
    """Started process that runs the tiny sweep."""
    return forked(run_sweep, config(*overrides), store=folder)


def forked(target: Callable[..., object], *arguments: object, **options: object) -> BaseProcess:
    """Started process that runs `target`."""
    process: BaseProcess = _forking().Process(target=target, args=arguments, kwargs=options, daemon=True)
    process.start()
    return process


def die_after(folder: Path, kind: type, method: str, calls: int, *overrides: str) -> None:
    """Run the tiny sweep in a process that ends, with nothing closed, when `method` has been called so often."""
    if not is_current(locate(folder)):
        shutil.copytree(_empty_store(), folder, dirs_exist_ok=True)
    process = forked(_drive_and_die, folder, kind, method, calls, config(*overrides))
    process.join(60)
    assert process.exitcode == DIED, f"expected a death in call {calls} of {method}, got exit code {process.exitcode}"


def _drive_and_die(folder: Path, kind: type, method: str, calls: int, configuration: dict[str, Any]) -> None:
    original, count = getattr(kind, method), itertools.count(1)

    def call_and_die(self: object, *arguments: object, **options: object) -> Any:
        returned = original(self, *arguments, **options)
        if next(count) == calls:
            os._exit(DIED)
        return returned

    setattr(kind, method, call_and_die)
    run_sweep(configuration, store=folder)


@cache
def _forking() -> Any:
    """Processes forked from one that has imported everything: they start at once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED)
    return context


def command(*arguments: str) -> list[str]:
    """Command line that runs `noise-search` in a new interpreter."""
    # A shell that starts tests in the background has them ignore Ctrl-C, nohup a hangup, and they their children.
    restored = "signal.signal(signal.SIGINT, signal.default_int_handler); signal.signal(signal.SIGHUP, signal.SIG_DFL)"
    return [sys.executable, "-c", f"import signal; {restored}; {ENTRY}", *arguments]


def environment(**more: str) -> dict[str, str]:
    """Environment of a new interpreter that finds the package as this one does."""
    own = {key: value for key, value in os.environ.items() if key != "NOISE_SEARCH_STORE"}
    return {**own, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1", **more}


def run(*arguments: str, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """`noise-search` in a new interpreter, run to its end."""
    return subprocess.run(
        command(*arguments), cwd=cwd, env=environment(**more), capture_output=True, text=True, check=False
    )


def contents(folder: Path) -> dict[str, tuple[int, str]]:
    """Time of change and hash of every file below `folder`, by its path; but not where readers of SQLite have marks."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith("-shm")
    }
