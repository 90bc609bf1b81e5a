"""What benchmarks make of their measurements."""

from __future__ import annotations

import doctest
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from sweep_examples import spec

from noise_search.execute import InlineExecutor
from noise_search.execute.simulated import noisy_curves
from noise_search.policy import Policy, Term
from noise_search.training import Job, Member, Setup, make_workbench

SCRIPTS = Path(__file__).resolve().parent.parent.parent / "scripts"


@pytest.fixture(autouse=True)
def _as_scripts_are_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)


def script(name: str) -> ModuleType:
    """A script of the repository as a module."""
    loader = SourceFileLoader(name, str(SCRIPTS / name))
    spec = spec_from_loader(name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look themselves up there
    loader.exec_module(module)
    return module


def cell(looped_over_fused: float, chosen: str) -> dict[str, Any]:
    """A cell in which both ways were timed and one was chosen."""
    over = 1 / looped_over_fused if chosen == "fused" else looped_over_fused
    return {
        "looped_over_fused": {"median": looped_over_fused},
        "auto": chosen,
        "auto_over_other": over,
        "auto_is_right": over <= 1,
    }


def test_auto_is_judged_by_how_often_it_is_right_and_by_its_worst_cell() -> None:
    found = [cell(2.0, "fused"), cell(0.5, "looped"), cell(1.25, "looped"), cell(4.0, "fused")]
    summary = script("bench_training").summary(found, gpu=False)
    assert (summary["cells"], summary["fused_is_faster"]) == (4, 0.75)
    assert summary["aims"] == {
        "auto_is_right": {"aim": 0.9, "found": 0.75, "met": False},
        "auto_over_other": {"aim": 1.1, "found": 1.25, "met": False},
    }


@pytest.mark.parametrize(("gains", "met"), [((16.0, 14.5), True), ((40.0, 20.0, 2.0, 3.0), False)])
def test_on_a_gpu_the_median_gain_is_judged_too(gains: tuple[float, ...], met: bool) -> None:
    summary = script("bench_training").summary([cell(gain, "fused") for gain in gains], gpu=True)
    assert [aim["met"] for aim in summary["aims"].values()] == [True, True, met]


def test_what_noises_cost_can_be_timed() -> None:
    noises = script("bench_noises")
    bench = noises.workbench(side=8, steps=1)
    for timing in (noises.training(noises.COHORTS["none"], bench), noises.noises_alone(noises.COHORTS["none"], bench)):
        assert timing() > 0


def test_a_cell_of_training_can_be_timed() -> None:
    training = script("bench_training")
    found = training.measure(training.Cell("mlp", 8, 32, 2, 1), rounds=1, device="cpu")
    assert found["looped_over_fused"]["median"] > 0
    assert found["auto"] in ("fused", "looped")


def test_the_grid_of_training_has_every_model_both_sizes_and_both_numbers_of_threads() -> None:
    cells = list(script("bench_training").cells(quick=False))
    assert {one.model for one in cells} == {"mlp", "cnn", "cnn_bn", "resnet", "gru", "transformer"}
    assert {(one.side, one.batch_size, one.threads) for one in cells} == {
        (side, batch, threads) for side in (8, 28) for batch in (32, 128) for threads in (1, 2)
    }
    assert len({one.name for one in cells}) == len(cells)


def test_times_of_tests_are_read_as_the_examples_say() -> None:
    assert doctest.testmod(script("bench_tests")).failed == 0


def test_a_simulated_sweep_is_split_into_its_sampler_and_the_rest() -> None:
    driver = script("bench_driver")
    found = driver.run(driver.Size(4, "random", 1), "pareto_halving", 0)
    assert found["driver_and_store"] > 0
    assert found["sampler"] > 0


def test_simulated_jobs_of_the_driver_benchmark_find_what_real_ones_do() -> None:
    one = spec("train.score_every=1")
    bench = make_workbench(Setup(one.data, one.model, one.optimizer, one.train, one.suite, "looped", "looped"))
    job = Job((Member("1", Policy((Term("inputs", "gaussian", 0.3),)), 0), Member("2", Policy(), 0)), 0, 2)
    kinds = {kind.name: len(kind.strengths) for kind in one.suite.kinds}
    simulated = script("bench_driver").FullRows(noisy_curves(0, epochs=2), kinds)
    real = InlineExecutor(bench, "looped", "looped")
    for ours, theirs in zip(simulated.run(job, lambda _: None), real.run(job, lambda _: None), strict=True):
        assert [row.keys() for row in ours.history] == [row.keys() for row in theirs.history]
        assert (ours.scores.keys(), ours.cells.keys()) == (theirs.scores.keys(), theirs.cells.keys())
        assert ours.correct.keys() == theirs.correct.keys()


def test_a_proposal_by_tpe_can_be_timed() -> None:
    found = script("bench_driver").milliseconds_of_tpe(12, proposals=2)
    assert len(found) == 2
    assert min(found) > 0


def test_tpe_is_dearer_than_training_from_the_fewest_trials_at_which_it_is() -> None:
    dearer = script("bench_driver").dearer
    tpe = {"50": {"median": 20.0}, "100": {"median": 1500.0}, "500": {"median": 3000.0}}
    assert dearer(tpe, 1000.0) == 100
    assert dearer(tpe, 5000.0) is None


def test_driver_and_store_are_held_to_fifteen_milliseconds() -> None:
    costs = {
        stopping: {"random": {"driver_and_store": {"median": found}}}
        for stopping, found in (("none", 14.9), ("pareto_halving", 15.1))
    }
    assert [aim["met"] for aim in script("bench_driver").aims(costs).values()] == [True, False]


def test_samplers_are_compared_seed_by_seed() -> None:
    pairs = [
        {"tpe": {"hypervolume": 0.3, "best_score": 0.5}, "random": {"hypervolume": 0.1, "best_score": 0.5}},
        {"tpe": {"hypervolume": 0.2, "best_score": 0.4}, "random": {"hypervolume": 0.25, "best_score": 0.3}},
    ]
    found = script("bench_samplers").compared(pairs)
    assert found["hypervolume"]["tpe_minus_random"]["values"] == [0.2, -0.05]
    assert [found[measure]["tpe_ahead"] for measure in ("hypervolume", "best_score")] == [1, 1]


def test_a_simulated_pair_of_samplers_runs_on_the_same_control() -> None:
    samplers = script("bench_samplers")
    found = samplers.pair("simulated", ["budget.trials=4", "train.epochs=2", "objective=pareto"], 0)
    assert all(found[sampler][measure] >= 0 for sampler in ("tpe", "random") for measure in samplers.MEASURES)


def test_what_befalls_simulated_sweeps_is_counted() -> None:
    faults = script("faults")
    found = faults.simulated([1], in_memory=True)
    assert faults.wrong(found, faults.WRONG) == dict.fromkeys(faults.WRONG, 0)
    assert found[0]["faults"]["killed"] > 0
    assert faults.wrong([{"lost": 2}, {"lost": True}], ["lost"]) == {"lost": 3}
