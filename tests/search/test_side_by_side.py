"""Sweeps with several jobs under way, simulated: what is applied when, and what that changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from simulations import EPOCHS, NAME, findings_in, jobs_in, run, simulated_spec, trials_in

from noise_search.execute import SimulatedPlaces
from noise_search.execute.simulated import noisy_curves
from noise_search.search.simulating import simulate
from noise_search.seeds import stable_hash
from noise_search.store import SweepRecord, locate, open_store
from noise_search.training import Job

HALVING = ("stopping=halving", "sampler.batch=2", "driver.cohort=2")
Seconds = Callable[[int, Job], float]


def of_any_length(salt: int) -> Seconds:
    """Jobs that take from 1 to 100 seconds, each always the same with one salt."""
    return lambda ticket, _job: 1.0 + stable_hash(salt, ticket) % 100


def run_with(folder: Path, places: int, seconds: Seconds, *overrides: str) -> tuple[SweepRecord, float]:
    """Run a simulated sweep with so many workers; with the seconds by the clock."""
    spec = simulated_spec(*overrides)
    kinds = {kind.name: len(kind.strengths) for kind in spec.suite.kinds}
    executor = SimulatedPlaces(noisy_curves(spec.seed, epochs=EPOCHS), kinds, places=places, seconds=seconds)
    with open_store(locate(folder), create=True) as store:
        return simulate(spec, NAME, store, executor), executor.now()


@pytest.mark.parametrize("window", [1, 3])
def test_in_order_a_sweep_depends_on_the_window_and_not_on_who_trains_and_how_long(window: int, tmp_path: Path) -> None:
    ordered = (*HALVING, "driver.ordered=true", f"driver.window={window}")
    run(tmp_path / "alone", *ordered)
    for places in (1, 2, 5):
        run_with(tmp_path / str(places), places, of_any_length(places), *ordered)
        assert findings_in(tmp_path / str(places)) == findings_in(tmp_path / "alone")


def test_a_larger_window_knows_less_when_it_asks(tmp_path: Path) -> None:
    for window in (1, 4):
        run(tmp_path / str(window), *HALVING, "driver.ordered=true", f"driver.window={window}")
    assert findings_in(tmp_path / "1") != findings_in(tmp_path / "4")


@pytest.mark.parametrize(("ordered", "before_the_slow_one"), [("false", 5), ("true", 0)])
def test_as_they_come_a_slow_job_holds_up_no_other(ordered: str, before_the_slow_one: int, tmp_path: Path) -> None:
    def one_is_slow(ticket: int, _job: Job) -> float:
        return 1000.0 if ticket == 2 else 10.0

    few = ("controls.constants=0", "controls.random=0", f"driver.ordered={ordered}")
    run_with(tmp_path, 2, one_is_slow, *few)
    control, slow, *others = jobs_in(tmp_path)
    ends = [one.finished_at for one in (control, slow, *others)]
    assert sum(end < ends[1] for end in ends[2:] if end and ends[1]) == before_the_slow_one


def test_workers_side_by_side_take_less_time_and_find_as_many_trials(tmp_path: Path) -> None:
    _, alone = run_with(tmp_path / "1", 1, of_any_length(0))
    _, four = run_with(tmp_path / "4", 4, of_any_length(0))
    assert len(trials_in(tmp_path / "4")) == len(trials_in(tmp_path / "1")) == 24
    assert all(trial.state == "complete" for trial in trials_in(tmp_path / "4").values())
    assert four < alone / 2


def test_seconds_of_jobs_side_by_side_count_once(tmp_path: Path) -> None:
    for places in (1, 4):
        record, clock = run_with(tmp_path / str(places), places, of_any_length(1))
        assert record.seconds == pytest.approx(clock)


def test_nobody_is_asked_for_before_the_controls_are_scored(tmp_path: Path) -> None:
    run_with(tmp_path, 4, of_any_length(2), "driver.cohort=1")
    controls = {job.id for job in jobs_in(tmp_path) if job.id <= 3}
    ended = max(job.finished_at for job in jobs_in(tmp_path) if job.id in controls and job.finished_at)
    assert all(job.started_at >= ended for job in jobs_in(tmp_path) if job.id not in controls)


def test_a_total_is_reached_exactly_however_many_are_under_way(tmp_path: Path) -> None:
    run_with(tmp_path, 50, of_any_length(3), *HALVING, "budget.trials=23")
    assert sorted(trials_in(tmp_path)) == list(range(23))
