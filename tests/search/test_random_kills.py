"""Simulated sweeps whose drivers die and whose jobs misbehave at random are those that nothing befell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from random_faults import CHANCES, SMALL, STOPPINGS, TRIALS, Known, Stand, judged, reliable
from simulations import findings, simulated_spec

from noise_search.execute import SimulatedExecutor
from noise_search.search.simulating import simulate
from noise_search.store import locate, open_store
from noise_search.training import Job, Result

stoppings = pytest.mark.parametrize("stopping", STOPPINGS)
NOTHING_WRONG = (0, 0, 0, 0)


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    with open_store(locate(tmp_path_factory.mktemp("store")), create=True) as store:
        yield Stand(store)


@pytest.fixture(scope="module")
def on_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    with open_store(locate(tmp_path_factory.mktemp("store")), create=True) as store:
        yield Stand(store, in_memory=False)


@stoppings
@pytest.mark.parametrize("fault_seed", range(20))
def test_a_sweep_killed_at_random_moments_whose_jobs_misbehave_loses_no_trial_and_tells_none_twice(
    stopping: str, fault_seed: int, stand: Stand
) -> None:
    sampler = "random" if fault_seed % 5 else "tpe"  # TPE takes longer than all the rest
    overrides = (*STOPPINGS[stopping], f"sampler.name={sampler}")
    found = stand.with_faults(*overrides, fault_seed=fault_seed)
    assert found.faults.get("killed", 0) + found.faults.get("overtaken", 0) > 0
    assert (found.lost, found.told_twice, found.different, found.running) == NOTHING_WRONG, found


@stoppings
@pytest.mark.parametrize(("window", "batch"), [(2, 8), (3, 2)])
@pytest.mark.parametrize("fault_seed", range(8))
def test_with_jobs_side_by_side_applied_in_order_it_is_the_sweep_that_nothing_befell(
    stopping: str, window: int, batch: int, fault_seed: int, stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CHANCES, "failed", 0.3)  # a job that is split is applied in parts
    sampler = "random" if fault_seed % 5 else "tpe"
    # With 16 trials, what is decided depends on which jobs have been applied.
    side_by_side = (f"driver.window={window}", "driver.ordered=true", "budget.trials=16", f"sampler.batch={batch}")
    overrides = (*STOPPINGS[stopping], f"sampler.name={sampler}", *side_by_side, f"driver.cohort={batch}")
    found = stand.with_faults(*overrides, fault_seed=fault_seed)
    assert found.faults.get("killed", 0) + found.faults.get("overtaken", 0) > 0
    assert (found.lost, found.told_twice, found.different, found.running) == NOTHING_WRONG, found


@pytest.mark.parametrize("fault_seed", range(5))
def test_with_jobs_side_by_side_applied_as_they_come_no_trial_is_lost_or_told_twice(
    fault_seed: int, stand: Stand
) -> None:
    overrides = (*STOPPINGS["halving"], "sampler.name=random", "driver.window=3")
    found = stand.with_faults(*overrides, fault_seed=fault_seed)
    assert (found.lost, found.told_twice, found.running) == (0, 0, 0), found


def test_nor_does_one_whose_study_is_in_a_database(on_disk: Stand) -> None:
    found = on_disk.with_faults(*STOPPINGS["pareto_halving"], "sampler.name=random", fault_seed=1)
    assert found.faults["killed"] > 0
    assert (found.lost, found.told_twice, found.different, found.running) == NOTHING_WRONG, found


def test_with_two_seeds_a_trial_is_that_of_the_sweep_that_nothing_befell(stand: Stand) -> None:
    overrides = (*STOPPINGS["halving"], "sampler.name=random", "budget.seeds=2")
    found = stand.with_faults(*overrides, fault_seed=1)
    assert found.faults["killed"] > 0
    assert (found.lost, found.told_twice, found.different, found.running) == NOTHING_WRONG, found


class _Repeating(SimulatedExecutor):
    """Executor that gives with every job's results all earlier ones, once more and last."""

    def __init__(self, inner: SimulatedExecutor) -> None:
        self._all: list[Result] = []
        self.__dict__ |= inner.__dict__

    def run(self, job: Job, on_epoch: Callable[[int], None]) -> list[Result]:
        found = super().run(job, on_epoch)
        self._all = [*found, *self._all]
        return self._all


def test_results_of_earlier_rungs_that_come_late_are_not_taken_for_new_ones(stand: Stand) -> None:
    overrides = (*STOPPINGS["pareto_halving"], "sampler.name=random")
    spec = simulated_spec(*SMALL, *overrides)
    whole, _ = stand.whole(*overrides)
    simulate(spec, "repeating", stand.store, _Repeating(reliable(spec)))
    assert findings(stand.store, "repeating") == whole.members


# --- what watches can see what is wrong ---


def test_a_sweep_that_nothing_befell_has_every_trial_and_hundreds_of_moments(stand: Stand) -> None:
    whole, moments = stand.whole(*STOPPINGS["halving"], "sampler.name=random")
    assert sorted(whole.trials) == list(range(TRIALS))
    assert (whole.running, whole.untold) == (0, 0)
    assert moments > 100


def test_what_is_lost_told_twice_or_different_is_counted() -> None:
    whole = Known({"no_noise": "a", "0": "b", "1": "c"}, {0: "b", 1: "c"}, 27, 0, 0)
    once, none = Counter({10: 1, 11: 1}), Counter[str]()
    sound = judged(whole, whole, once, none)
    assert (sound.lost, sound.told_twice, sound.different, sound.running) == NOTHING_WRONG
    assert judged(replace(whole, trials={0: "b"}), whole, Counter({10: 1}), none).lost == 1
    assert judged(replace(whole, members={"no_noise": "a", "0": "b"}), whole, once, none).lost == 1
    assert judged(replace(whole, untold=1), whole, once, none).lost == 1
    assert judged(whole, whole, Counter({10: 2, 11: 1}), none).told_twice == 1
    assert judged(replace(whole, trials={0: "b", 1: "d"}), whole, once, none).different == 1
    assert judged(replace(whole, epochs_trained=28), whole, once, none).different == 1
    assert judged(replace(whole, running=1), whole, once, none).running == 1
