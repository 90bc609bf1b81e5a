"""Sweeps on learning curves in place of training, with the real driver, store and study; see `execute.simulated`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from optuna.storages import BaseStorage

from noise_search.execute import Executor
from noise_search.search.asking import Study
from noise_search.search.driver import Reporter, drive
from noise_search.search.observing import observer_of
from noise_search.search.opening import OpenSweep, checkpoint_folder
from noise_search.search.progress import STORED, state_reached
from noise_search.search.reporting import Silent
from noise_search.search.space import Picked
from noise_search.search.warm_start import warm_starts
from noise_search.spec import SweepSpec
from noise_search.store import Store, SweepRecord

_IDENTITY: dict[str, object] = {"simulated": True}


def simulate(
    spec: SweepSpec,
    name: str,
    store: Store,
    executor: Executor,
    *,
    storage: BaseStorage | None = None,
    asked: Sequence[Mapping[str, Picked]] = (),
    reporter: Reporter | None = None,
) -> SweepRecord:
    """Run a simulated sweep, or continue it, up to its total of trials.

    Args:
        spec: What to search, and how; nothing is trained and nothing goes to MLflow.
        name: Of the sweep.
        store: Open.
        executor: Whose learning curves to use.
        storage: Optuna's; None takes the store's own.
        asked: Parameters of the first trials, in place of what a sampler would propose: those of a recorded sweep.
        reporter: Told of progress.
    """
    with open_simulated(spec, name, store, executor, storage, asked) as opened:
        drive(opened, reporter or Silent())
        state = state_reached(store, store.sweep(name))
        opened.writer.finish_sweep(STORED.get(state, state), [])
        opened.observer.finished(state)
    return store.sweep(name)


@contextmanager
def open_simulated(
    spec: SweepSpec,
    name: str,
    store: Store,
    executor: Executor,
    storage: BaseStorage | None = None,
    asked: Sequence[Mapping[str, Picked]] = (),
) -> Iterator[OpenSweep]:
    """Create or continue a simulated sweep under a lease; see `simulate`."""
    sweep = store.find_sweep(name) or _create(spec, name, store)
    starts = [*asked, *warm_starts(spec.space, spec.sampler.warm_start)]
    with store.take_lease(sweep.id) as writer:
        writer.update_sweep(
            state="running",
            budget_trials=spec.budget.trials,
            stop_requested=False,
            train_mode="looped",
            score_mode="looped",
            bitwise=True,
        )
        databases = storage or store.optuna_storage()
        study = Study(databases, name, spec.space, spec.objective, spec.sampler, spec.seed, starts)
        sweep = store.sweep(name)
        folder = checkpoint_folder(store.location, sweep)
        with observer_of(store, sweep, store.location, spec.log, writer.generation) as observer:
            yield OpenSweep(spec, sweep, store, writer, study, executor, None, folder, observer)


def _create(spec: SweepSpec, name: str, store: Store) -> SweepRecord:
    return store.create_sweep(
        name=name,
        digest="simulated",
        identity=_IDENTITY,
        config=dict(spec.raw),
        budget_trials=spec.budget.trials,
    )
