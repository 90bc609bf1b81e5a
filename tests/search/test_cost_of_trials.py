"""What databases do for a trial does not grow with the number of trials; counted, because times vary."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from simulations import EPOCHS, NAME, simulated_spec
from sqlalchemy import Engine, event

from noise_search.execute import SimulatedPlaces
from noise_search.execute.simulated import noisy_curves
from noise_search.search.simulating import simulate
from noise_search.store import locate, open_store

ONE_BY_ONE = ("sampler.name=random", "sampler.batch=1", "driver.cohort=1", "stopping=none")
PLACES = 20
STEPS = 10  # instructions of SQLite that are counted together


@contextmanager
def counted_instructions() -> Iterator[list[int]]:
    """Instructions that SQLite carries out on connections made in the block, in units of `STEPS`."""
    count = [0]

    def one() -> int:
        count[0] += 1
        return 0

    def listen(connection: Any, _record: object) -> None:
        connection.set_progress_handler(one, STEPS)

    event.listen(Engine, "connect", listen)
    try:
        yield count
    finally:
        event.remove(Engine, "connect", listen)


def instructions(folder: Path, trials: int) -> int:
    """Instructions of SQLite that a simulated sweep with so many trials takes."""
    spec = simulated_spec(*ONE_BY_ONE, f"budget.trials={trials}")
    kinds = {kind.name: len(kind.strengths) for kind in spec.suite.kinds}
    executor = SimulatedPlaces(noisy_curves(0, epochs=EPOCHS), kinds, places=PLACES)
    with counted_instructions() as count, open_store(locate(folder), create=True) as store:
        simulate(spec, NAME, store, executor)
        assert len(store.jobs(store.sweep(NAME).id)) > trials
    return STEPS * count[0]


def test_a_trial_costs_databases_no_more_in_a_long_sweep_than_in_a_short_one(tmp_path: Path) -> None:
    short, middle, long = (instructions(tmp_path / str(trials), trials) for trials in (50, 100, 300))
    early, late = (middle - short) / 50, (long - middle) / 200
    assert late < 1.05 * early
