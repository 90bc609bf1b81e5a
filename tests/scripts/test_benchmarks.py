"""What benchmarks make of their measurements."""

from __future__ import annotations

import doctest
import json
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from script_modules import script
from sweep_examples import TINY, spec

from noise_search.execute import InlineExecutor
from noise_search.execute.simulated import noisy_curves
from noise_search.policy import Policy, Term
from noise_search.training import Job, Member, Setup, make_workbench

pytestmark = pytest.mark.usefixtures("as_scripts_are_run")


def cell(looped_over_fused: float, chosen: str, width: int = 8) -> dict[str, Any]:
    """A cell in which both ways were timed and one was chosen."""
    over = 1 / looped_over_fused if chosen == "fused" else looped_over_fused
    return {
        "width": width,
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
def test_on_a_gpu_the_median_gain_of_the_widest_cohorts_is_judged_too(gains: tuple[float, ...], met: bool) -> None:
    narrow = cell(5.0, "fused", width=8)
    summary = script("bench_training").summary([narrow, *(cell(gain, "fused", width=64) for gain in gains)], gpu=True)
    assert [aim["met"] for aim in summary["aims"].values()] == [True, True, met]
    assert {width: found["n"] for width, found in summary["looped_over_fused_by_width"].items()} == {
        8: 1,
        64: len(gains),
    }


def test_the_grid_of_a_gpu_has_wide_cohorts_and_one_thread() -> None:
    cells = list(script("bench_training").cells(quick=False, gpu=True))
    assert {one.model for one in cells if one.width == 64} == {one.model for one in cells}
    assert {one.threads for one in cells} == {1}


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


def ended(*trials: tuple[float, str, float]) -> dict[str, Any]:
    """A run of 100 seconds whose trials ended after so many, in which state, and with which score."""
    names = ("ended", "state", "score")
    return {"seconds": 100.0, "trials": [dict(zip(names, trial, strict=True)) for trial in trials]}


def test_a_score_is_reached_by_the_first_trial_that_trained_to_the_end_and_has_it() -> None:
    bench = script("bench_answer")
    run = ended((10, "PRUNED", 0.9), (20, "COMPLETE", 0.6), (40, "COMPLETE", 0.8), (30, "COMPLETE", 0.7))
    assert [bench.answer(run, score) for score in (0.6, 0.7, 0.75)] == [(20, True), (30, True), (40, True)]
    assert bench.best(run) == 0.8


def test_a_score_that_is_never_reached_costs_the_whole_run_at_least() -> None:
    bench = script("bench_answer")
    assert bench.answer(ended((10, "STOPPED", 0.9), (20, "COMPLETE", 0.6)), 0.7) == (100.0, False)
    assert bench.best(ended((10, "STOPPED", 0.9))) == 0.0


def test_ratios_to_runs_that_never_got_there_are_bounds_and_show_nothing_where_ours_did_not() -> None:
    bench = script("bench_answer")
    theirs, ours = [(60, True), (90, False), (80, True), (90, False)], [(20, True), (10, True), (40, False), (9, False)]
    found = bench.compared(theirs, ours)
    assert found["values"] == [3, 9, 2, 10]
    assert found["bounds"] == ["exact", "at least", "at most", "unknown"]
    assert bench.shown(found) == 1.5  # the median of 3, 9, 0 and 0


def test_the_total_of_trials_is_raised_until_the_score_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    until = import_module("search_until")
    own = ["--totals", "2", "4", "6", "--overrides", *TINY]
    for score, trials in (("0.0", 2), ("1.0", 6)):
        until.main(["--store", str(tmp_path / score), "--until", score, *own])
        found = json.loads(capsys.readouterr().out)["trials"]
        assert [trial["state"] for trial in found] == ["COMPLETE"] * trials


def test_what_befalls_simulated_sweeps_is_counted() -> None:
    faults = script("faults")
    found = faults.simulated([1], in_memory=True)
    assert faults.wrong(found, faults.WRONG) == dict.fromkeys(faults.WRONG, 0)
    assert found[0]["faults"]["killed"] > 0
    assert faults.wrong([{"lost": 2}, {"lost": True}], ["lost"]) == {"lost": 3}


# --- confirming ---


@pytest.mark.slow
def test_how_often_confirmations_call_a_difference_is_counted_in_every_cell_for_every_effect(tmp_path: Path) -> None:
    bench, output = script("bench_confirm_null"), tmp_path / "null.json"
    code = bench.main(["--quick", "--output", str(output)])
    found = json.loads(output.read_text())
    assert found["quick"]
    assert found["cells"].keys() == bench.CELLS.keys()
    for cell in found["cells"].values():
        counted = {name: effect["sweeps"] for name, effect in cell.items() if name != "sizes"}
        assert counted == dict.fromkeys((*bench.EFFECTS, bench.REUSE), bench.QUICK)
    assert (code == 0) is all(aim["met"] for aim in found["aims"].values())


@pytest.mark.slow
def test_the_way_from_a_sweep_to_a_card_is_walked_once_and_both_examples_are_scored_beside_what_was_confirmed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    bench, output = script("bench_evidence"), tmp_path / "evidence.json"
    assert bench.main(["digits", "--quick", "--output", str(output)]) == 0
    found = json.loads(output.read_text())
    assert list(found["seconds"]) == ["sweep", "confirm", "pick", "report"]
    means = found["confirmed"]["evidence"]["means"]["winner"]
    for title in bench.EXAMPLES:
        for key, one in found["examples"][title].items():
            assert one["example"]["n"] == bench.QUICK_SEEDS
            assert one["confirmed"]["mean"] == pytest.approx(means[key], abs=1e-4)
    way = bench.Way(output.with_suffix(".parts"))
    assert bench.walked(way, bench.QUICK, bench.QUICK_CONFIRM)["confirm"] == found["confirmed"]
    assert [len(step["starts"]) for step in way.steps.values()] == [1] * 4


def test_a_part_of_another_commit_is_taken_where_that_is_asked_for(tmp_path: Path) -> None:
    parts = import_module("measuring").Parts(tmp_path)
    old = {"key": {"commit": "an older one", "settings": ["a"]}, "run": {"found": 1}}
    (tmp_path / "part.json").write_text(json.dumps(old))
    assert parts.get("part", ["a"], lambda: {"found": 2}, any_commit=True) == {"found": 1}
    assert parts.commit_of("part") == "an older one"
    assert parts.get("part", ["b"], lambda: {"found": 2}, any_commit=True) == {"found": 2}
    assert parts.commit_of("part") != "an older one"


def test_a_part_of_another_commit_is_made_again_otherwise(tmp_path: Path) -> None:
    parts = import_module("measuring").Parts(tmp_path)
    old = {"key": {"commit": "an older one", "settings": ["a"]}, "run": {"found": 1}}
    (tmp_path / "part.json").write_text(json.dumps(old))
    assert parts.get("part", ["a"], lambda: {"found": 2}) == {"found": 2}


def test_executors_are_compared_with_inline_and_two_processes_with_one() -> None:
    by_executor = {name: {"milliseconds_a_job": {"median": ms}} for name, ms in (("inline", 4.0), ("ray", 9.5))}
    rates = {"inline, 2 threads": 5.0, "1 process": 4.0, "2 processes": 6.0}
    found = script("bench_executors").summary(by_executor, {name: {"median": rate} for name, rate in rates.items()})
    assert found == {
        "milliseconds_more_than_inline": {"ray": 5.5},
        "two_processes_over_one": 1.5,
        "two_processes_over_two_threads": 1.2,
    }
