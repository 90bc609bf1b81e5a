"""Simulated sweeps with faults drawn from a seed: at the end they are to be what they are without.

Drivers are killed at any moment: before or after whatever they write to the store or tell Optuna, and within jobs. Some
are overtaken: their lease ends in the middle of a job and another driver finishes the sweep. Jobs fail, run out of
memory, take long, and those side by side end in any order; results come in disorder, twice, with those of earlier jobs,
or not at all.
"""

from __future__ import annotations

import math
import random
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

from optuna.storages import BaseStorage, InMemoryStorage
from simulations import executor, findings, simulated_spec

from noise_search.execute import Finished, OneByOne, OnEpoch, SimulatedExecutor
from noise_search.execute.simulated import noisy_curves
from noise_search.search.asking import Study
from noise_search.search.simulating import simulate
from noise_search.spec import SweepSpec
from noise_search.store import FINAL_STATES, LeaseLost, Store, Writer
from noise_search.training import Job, Result

TRIALS = 8
SMALL = (
    f"budget.trials={TRIALS}",
    "driver.cohort=3",  # a batch of four is two jobs, so that kills come between them
    "driver.retries.error=100",  # what fails by chance is never given up
    "driver.retries.lost=100",
    "driver.retries.memory=100",
    "controls.constants=0",
    "controls.random=0",
)
STOPPINGS: dict[str, tuple[str, ...]] = {
    "none": (),
    "halving": ("stopping=halving",),
    "pareto_halving": ("stopping=pareto_halving", "objective=pareto", "objective.clean_drop=0.02"),
}
MOST_KILLS = 5
DIVERGING = 0.1  # share of trials
CHANCES = {"failed": 0.05, "no_memory": 0.02, "slow": 0.1, "dropped": 0.05, "doubled": 0.1, "late": 0.1}  # of a job
OVERTAKEN = 0.005  # of a job, too
_STUDY_CALLS = ("ask_batch", "pause", "resume", "tell_all")
_STORAGE_CALLS = (
    "create_new_study",
    "create_new_trial",
    "set_trial_system_attr",
    "set_trial_intermediate_value",
    "set_trial_state_values",
    "create_trials",  # of ours
    "end_trials",
)
_WRITER_CALLS = tuple(
    name
    for name, member in vars(Writer).items()
    if callable(member) and not name.startswith("_") and name not in ("renew", "release", "remove_sweep")
)


class Killed(BaseException):
    """As good as a kill: nobody catches it, and nothing is written on its way."""


class Moments:
    """Counts the moments at which a driver can be killed, and kills it at one of them."""

    def __init__(self) -> None:
        self.passed = 0
        self.tells: Counter[int] = Counter()
        self._deadly = math.inf

    def kill_after(self, moments: float) -> None:
        """Kill so many moments from now; infinitely many: never."""
        self._deadly = self.passed + moments

    def one(self) -> None:
        """It is such a moment now."""
        self.passed += 1
        if self.passed >= self._deadly:
            self._deadly = math.inf
            raise Killed


@dataclass(frozen=True, slots=True)
class Known:
    """All that is known of a sweep that is over: of its members by name, of Optuna's trials by number."""

    members: dict[str, str]
    trials: dict[int, str]
    epochs_trained: int
    running: int
    untold: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What faults befell a sweep, and what became of it."""

    faults: dict[str, int]
    lost: int
    told_twice: int
    different: int
    running: int


@dataclass(slots=True)
class Stand:
    """A store in which sweeps run with faults and without, Optuna's studies in memory or beside it.

    Args:
        store: Open, for any number of sweeps.
        in_memory: Where Optuna's studies are.
    """

    store: Store
    in_memory: bool = True
    _whole: dict[tuple[str, ...], tuple[Known, int]] = field(default_factory=dict)

    def whole(self, *overrides: str) -> tuple[Known, int]:
        """The sweep that nothing befalls, and how many moments it has; it runs once."""
        if overrides not in self._whole:
            spec, storage, moments = simulated_spec(*SMALL, *overrides), self._storage(), Moments()
            name = f"whole-{len(self._whole)}"
            with watched(moments, storage):
                simulate(spec, name, self.store, reliable(spec), storage=storage)
            self._whole[overrides] = known(self.store, storage, name), moments.passed
        return self._whole[overrides]

    def with_faults(self, *overrides: str, fault_seed: int) -> Outcome:
        """The same sweep with faults, against the one without."""
        spec, storage, moments = simulated_spec(*SMALL, *overrides), self._storage(), Moments()
        whole, most = self.whole(*overrides)
        name = f"{'-'.join(overrides)}-{fault_seed}".replace("=", "-")
        with watched(moments, storage):
            faults = run_with_faults(spec, name, self.store, storage, moments, most, random.Random(fault_seed))
        return judged(known(self.store, storage, name), whole, moments.tells, faults)

    def _storage(self) -> BaseStorage:
        return InMemoryStorage() if self.in_memory else self.store.optuna_storage()


def reliable(spec: SweepSpec) -> SimulatedExecutor:
    """Executor that nothing befalls; some trials diverge."""
    return executor(spec, curve=noisy_curves(spec.seed, epochs=spec.train.epochs, diverging=DIVERGING))


def run_with_faults(
    spec: SweepSpec, name: str, store: Store, storage: BaseStorage, moments: Moments, most: int, rng: random.Random
) -> Counter[str]:
    """Run a sweep to its end, however often its driver dies; returns how often what befell it."""
    kills, faults = rng.randint(1, MOST_KILLS), Counter[str]()

    def overtake() -> None:
        moments.kill_after(math.inf)
        _end_lease(store, name)
        simulate(spec, name, store, reliable(spec), storage=storage)

    while True:
        moments.kill_after(rng.randint(1, 2 * most // (kills + 1)) if faults["killed"] < kills else math.inf)
        unreliable = UnreliableExecutor(reliable(spec), moments, rng, faults, overtake)
        try:
            simulate(spec, name, store, unreliable, storage=storage)
        except Killed:
            faults["killed"] += 1
        except LeaseLost:
            faults["overtaken"] += 1
        else:
            return faults


def _end_lease(store: Store, name: str) -> None:
    """As if the driver had slept for long, and could not renew it."""
    with closing(sqlite3.connect(store.location.folder / "search.db", timeout=30)) as connection, connection:
        connection.execute("UPDATE sweeps SET lease_expires_at = '2000-01-01 00:00:00.000000' WHERE name = ?", (name,))


class UnreliableExecutor(OneByOne):
    """Executor whose jobs something befalls now and then; see `CHANCES`.

    Args:
        inner: That trains.
        moments: Of the driver that it works for.
        rng: What is drawn from.
        faults: Counted here.
        overtake: Called in the middle of a job in which another driver overtakes ours.
    """

    def __init__(
        self,
        inner: SimulatedExecutor,
        moments: Moments,
        rng: random.Random,
        faults: Counter[str],
        overtake: Callable[[], None],
    ) -> None:
        super().__init__()
        self._inner, self._moments, self._rng, self._faults = inner, moments, rng, faults
        self._overtake, self._late_seconds = overtake, 0.0
        self._earlier: list[Result] = []

    @property
    def validation_samples(self) -> int:
        return self._inner.validation_samples

    @property
    def steps_per_epoch(self) -> int:
        return self._inner.steps_per_epoch

    def now(self) -> float:
        return self._inner.now() + self._late_seconds

    def next(self, on_epoch: OnEpoch) -> Finished:
        """Of jobs side by side any may end first."""
        self._submitted.rotate(self._rng.randrange(len(self._submitted)))
        return super().next(on_epoch)

    def run(self, job: Job, on_epoch: Callable[[int], None]) -> list[Result]:
        def epoch(epochs: int) -> None:
            self._moments.one()
            on_epoch(epochs)

        self._moments.one()
        if self._happens("failed"):
            raise RuntimeError("bad luck")
        if self._happens("no_memory"):
            raise MemoryError
        if self._rng.random() < OVERTAKEN:
            self._overtake()
        if self._happens("slow"):
            self._late_seconds += self._rng.uniform(10, 10_000)
        found = self._as_they_come(self._inner.run(job, epoch))
        self._moments.one()
        return found

    def _as_they_come(self, results: list[Result]) -> list[Result]:
        """Results of a job in disorder, some twice or missing, and some of earlier jobs."""
        rng, found = self._rng, list(results)
        if self._happens("dropped"):
            del found[rng.randrange(len(found))]
        if self._happens("doubled"):
            found += rng.choices(results, k=2)
        if self._earlier and self._happens("late"):
            found += rng.choices(self._earlier, k=4)
        self._earlier += results
        rng.shuffle(found)
        return found

    def _happens(self, what: str) -> bool:
        happens = self._rng.random() < CHANCES[what]
        self._faults[what] += happens
        return happens


# --- watching a driver ---


@contextmanager
def watched(moments: Moments, storage: BaseStorage) -> Iterator[None]:
    """Count a moment before and after every call of the writer, the study and Optuna's storage, while in the block."""
    watching: tuple[tuple[type, tuple[str, ...], object], ...] = (
        (Writer, _WRITER_CALLS, None),
        (Study, _STUDY_CALLS, None),
        # Others are copies that samplers look at.
        (type(storage), tuple(name for name in _STORAGE_CALLS if hasattr(storage, name)), storage),
    )
    with ExitStack() as restored:
        for kind, names, only in watching:
            for name in names:
                original = getattr(kind, name)
                restored.callback(setattr, kind, name, original)
                setattr(kind, name, _counting(original, moments, only))
        yield


def _counting(method: Callable[..., Any], moments: Moments, only: object) -> Callable[..., Any]:
    def call(self: object, *arguments: Any, **options: Any) -> Any:
        if only is not None and self is not only:
            return method(self, *arguments, **options)
        moments.one()
        returned = method(self, *arguments, **options)
        if method.__name__ == "set_trial_state_values":
            moments.tells[arguments[0]] += 1
        if method.__name__ == "end_trials":
            moments.tells.update(ending.trial_id for ending in arguments[0])
        moments.one()
        return returned

    return call


# --- what is left ---


def known(store: Store, storage: BaseStorage, name: str) -> Known:
    """What the store and Optuna know of a sweep."""
    sweep_id = store.sweep(name).id
    members, jobs = store.members(sweep_id), store.jobs(sweep_id)
    trials = storage.get_all_trials(storage.get_study_id_from_name(name), deepcopy=False)
    running = [*(member.state for member in members), *(job.state for job in jobs)]
    return Known(
        findings(store, name),
        {
            one.number: repr((one.state, one.values, one.params, one.constraints, one.intermediate_values))
            for one in trials
        },
        sum(job.epochs_trained for job in jobs if job.state == "done"),
        running.count("running") + sum(not one.state.is_finished() for one in trials),
        sum(member.state not in FINAL_STATES or not (member.told or member.control) for member in members),
    )


def judged(found: Known, whole: Known, tells: Counter[int], faults: Counter[str]) -> Outcome:
    """What became of a sweep, against the one that nothing befell."""
    members = found.members.keys() | whole.members.keys()
    trials = found.trials.keys() | whole.trials.keys()
    different = [
        *(name for name in members if found.members.get(name) != whole.members.get(name)),
        *(number for number in trials if found.trials.get(number) != whole.trials.get(number)),
    ]
    return Outcome(
        faults=dict(faults),
        lost=len(whole.trials) - len(tells) + found.untold + len(whole.members.keys() - found.members.keys()),
        told_twice=sum(count > 1 for count in tells.values()),
        different=len(different) + (found.epochs_trained != whole.epochs_trained),
        running=found.running,
    )
