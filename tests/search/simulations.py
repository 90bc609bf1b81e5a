"""Simulated sweeps for tests: the real driver, store and study on learning curves."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path

import optuna
from optuna.storages import InMemoryStorage
from sweep_examples import config

from noise_search.config import build
from noise_search.execute import SimulatedExecutor
from noise_search.execute.simulated import Curve, noisy_curves
from noise_search.search.driver import Reporter
from noise_search.search.simulating import simulate
from noise_search.spec import SweepSpec
from noise_search.store import JobRecord, Location, MemberRecord, Store, SweepRecord, locate, open_store
from noise_search.training import Job

EPOCHS = 9
SIMULATED = (f"train.epochs={EPOCHS}", "sampler.batch=4", "driver.cohort=4", "budget.trials=24")
NAME = "simulated"


class Counting:
    """Reporter that adds up."""

    def __init__(self) -> None:
        self.total = self.done = 0

    def begin(self, total: int, done: int) -> None:
        self.total, self.done = total, done

    def advance(self, epochs: int) -> None:
        self.done += epochs

    def message(self, text: str) -> None:
        """Not kept."""


@cache
def simulated_spec(*overrides: str) -> SweepSpec:
    """Spec of a simulated sweep of 24 trials of 9 epochs."""
    return build(config(*SIMULATED, *overrides))


def executor(
    spec: SweepSpec,
    *,
    curve: Curve | None = None,
    before_job: Callable[[int, Job], None] = lambda _number, _job: None,
) -> SimulatedExecutor:
    """Executor whose learning curves are those of `noisy_curves` unless others are given."""
    kinds = {kind.name: len(kind.strengths) for kind in spec.suite.kinds}
    return SimulatedExecutor(curve or noisy_curves(spec.seed, epochs=spec.train.epochs), kinds, before_job=before_job)


def run(
    folder: Path | Location,
    *overrides: str,
    curve: Curve | None = None,
    before_job: Callable[[int, Job], None] = lambda _number, _job: None,
    storage: InMemoryStorage | None = None,
    name: str = NAME,
    reporter: Reporter | None = None,
) -> SweepRecord:
    """Run or continue a simulated sweep in a store at `folder`."""
    spec = simulated_spec(*overrides)
    with open_store(locate(folder), create=True) as store:
        made = executor(spec, curve=curve, before_job=before_job)
        return simulate(spec, name, store, made, storage=storage, reporter=reporter)


def findings(store: Store, name: str = NAME) -> dict[str, str]:
    """What is known of every member, as text by its name, without times and keys."""
    sweep_id = store.sweep(name).id
    members = store.members(sweep_id)
    results = store.results(sweep_id)
    left_out = {"id", "member_id", "created_at", "seconds", "correct", "checkpoint"}
    return {
        str(member.number if member.control is None else member.control): json.dumps(
            {
                "parameters": member.parameters,
                "state": member.state,
                "reason": member.reason,
                "told": member.told,
                "results": [
                    {key: value for key, value in asdict(row).items() if key not in left_out}
                    for row in sorted(results, key=lambda row: (row.epoch, row.seed))
                    if row.member_id == member.id
                ],
            },
            sort_keys=True,
        )
        for member in members
    }


def findings_in(folder: Path | Location) -> dict[str, str]:
    """`findings` of the sweep in a store at `folder`."""
    with open_store(locate(folder), create=False) as store:
        return findings(store)


def trials_in(folder: Path) -> dict[int, MemberRecord]:
    """Trials of the sweep in a store at `folder`, by number and in that order."""
    with open_store(locate(folder), create=False) as store:
        members = store.members(store.sweep(NAME).id)
    return {member.number: member for member in members if member.number is not None}


def jobs_in(folder: Path) -> list[JobRecord]:
    """Jobs of the sweep in a store at `folder`, oldest first."""
    with open_store(locate(folder), create=False) as store:
        return store.jobs(store.sweep(NAME).id)


def told(store: Store, storage: InMemoryStorage | None = None, name: str = NAME) -> list[optuna.trial.FrozenTrial]:
    """Trials as Optuna has them."""
    study = optuna.load_study(
        study_name=name,
        storage=storage or store.optuna_storage(),
        sampler=optuna.samplers.RandomSampler(seed=0),
    )
    return study.get_trials(deepcopy=True)
