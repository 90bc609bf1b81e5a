from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from simulations import EPOCHS, NAME, findings, run, simulated_spec

from noise_search.execute import SimulatedExecutor
from noise_search.execute.simulated import noisy_curves
from noise_search.search.simulating import simulate
from noise_search.store import JobRecord, locate, open_store
from noise_search.training import Job, Result

# A job takes a second an epoch by the clock of the simulation, however wide it is.
ONE_CONTROL = ("driver.cohort=1", "controls.constants=0", "controls.random=0")
STOPPINGS = [(), ("stopping=halving",), ("stopping=pareto_halving", "objective=pareto")]


def _minutes(seconds: float) -> str:
    return f"budget.minutes={seconds / 60}"


def _jobs(folder: Path) -> list[JobRecord]:
    with open_store(locate(folder), create=False) as store:
        return store.jobs(store.sweep(NAME).id)


def _findings(folder: Path) -> dict[str, str]:
    with open_store(locate(folder), create=False) as store:
        return findings(store)


def _states(folder: Path) -> Counter[str]:
    with open_store(locate(folder), create=False) as store:
        return Counter(one.state for one in store.members(store.sweep(NAME).id) if one.number is not None)


def test_time_that_runs_out_within_a_batch_starts_no_other_job_of_it(tmp_path: Path) -> None:
    record = run(tmp_path, *ONE_CONTROL, _minutes(12))
    # The control ends at 9 s and the first trial of four at 18 s.
    assert record.seconds == 2 * EPOCHS
    assert _states(tmp_path) == {"complete": 1, "waiting": 3}


def test_time_that_runs_out_within_the_controls_starts_no_other_of_them(tmp_path: Path) -> None:
    record = run(tmp_path, "driver.cohort=1", _minutes(10))
    assert record.seconds == 2 * EPOCHS
    assert _states(tmp_path) == {}


def test_a_start_after_the_time_is_used_up_trains_nothing(tmp_path: Path) -> None:
    run(tmp_path, *ONE_CONTROL, _minutes(12))
    before = _jobs(tmp_path)
    assert run(tmp_path, *ONE_CONTROL, _minutes(12)).seconds == 2 * EPOCHS
    assert _jobs(tmp_path) == before


def test_a_batch_whose_asking_was_cut_short_is_asked_to_its_end_only_while_there_is_time(tmp_path: Path) -> None:
    run(tmp_path, *ONE_CONTROL, "budget.trials=2", _minutes(9))
    assert _states(tmp_path) == {}
    run(tmp_path, *ONE_CONTROL, "budget.trials=2", _minutes(10))
    assert sum(_states(tmp_path).values()) == 2
    run(tmp_path, *ONE_CONTROL, _minutes(10))
    assert sum(_states(tmp_path).values()) == 2


def test_a_trial_that_fails_alone_is_not_tried_again_when_the_time_is_used_up(tmp_path: Path) -> None:
    spec = simulated_spec(*ONE_CONTROL, _minutes(12), "driver.retries.error=5")

    class LateFailure(SimulatedExecutor):
        """Trains a whole job and then fails, but for the first."""

        jobs = 0

        def run(self, job: Job, on_epoch: Callable[[int], None]) -> list[Result]:
            found = super().run(job, on_epoch)
            self.jobs += 1
            if self.jobs > 1:
                raise RuntimeError("late")
            return found

    with open_store(locate(tmp_path), create=True) as store:
        kinds = {kind.name: len(kind.strengths) for kind in spec.suite.kinds}
        simulate(spec, NAME, store, LateFailure(noisy_curves(spec.seed, epochs=EPOCHS), kinds))
    assert [job.state for job in _jobs(tmp_path)] == ["done", "failed"]


@pytest.mark.parametrize("stopping", STOPPINGS, ids=["none", "halving", "pareto_halving"])
def test_a_sweep_continued_minute_by_minute_is_the_sweep_without_a_limit(
    stopping: tuple[str, ...], tmp_path: Path
) -> None:
    small = (*stopping, "driver.cohort=2", "budget.trials=12")
    run(tmp_path / "whole", *small)
    seconds, starts = 0.5, 0
    while _unfinished(tmp_path / "parts"):
        seconds, starts = seconds + 7, starts + 1
        run(tmp_path / "parts", *small, _minutes(seconds))
    assert starts > 3
    assert _findings(tmp_path / "parts") == _findings(tmp_path / "whole")


def _unfinished(folder: Path) -> bool:
    if not folder.exists():
        return True
    states = _states(folder)
    return states["waiting"] > 0 or sum(states.values()) < 12
