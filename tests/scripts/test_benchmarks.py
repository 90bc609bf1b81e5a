"""What benchmarks make of their measurements."""

from __future__ import annotations

import doctest
import json
import math
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from sweep_examples import TINY, spec

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


# --- stopping ---

WORK = (
    "train.epochs=4",
    "train.score_every=1",
    "train.mode=looped",
    "train.score_mode=looped",
    "budget.trials=8",
    "sampler.startup_trials=8",
    "sampler.batch=4",
    "driver.cohort=4",
    "objective=pareto",
    "controls.constants=0",
    "controls.random=0",
)
RULE = ("stopping=pareto_halving", "stopping.at=[]", "stopping.factor=2")
SHAPES = {
    "level": {"kind": "constant"},
    "falling": {"kind": "linear", "a": 1.0, "b": 0.0, "start": 0.0, "stop": 1.0},
}


def member(number: int | None, clean: float, robust: float, *, shape: str = "level", **more: Any) -> dict[str, Any]:
    """A member of a recorded search of two epochs, number None being the no-noise control."""
    magnitude = 0.1 + 0.01 * (number or 0)
    terms = [{"site": "inputs", "noise": "gaussian", "magnitude": magnitude, "schedule": SHAPES[shape]}]
    return {
        "number": number,
        "control": "no_noise" if number is None else None,
        "state": "complete",
        "policy": [] if number is None else terms,
        "curve": {"1": [0.5, clean / 2, robust / 2], "2": [0.9, clean, robust]},
        **more,
    }


def searched(*members: dict[str, Any]) -> dict[str, Any]:
    return {"members": list(members), "status": {"epochs_trained": 2 * len(members)}}


FALLING, LEVEL = member(0, 0.8, 0.8, shape="falling"), member(1, 0.9, 0.7)
BEATEN, DIVERGED = member(2, 0.7, 0.6), member(3, 0.99, 0.99, state="infeasible")
WHOLE = searched(member(None, 0.8, 0.6), FALLING, LEVEL, BEATEN, DIVERGED)


def survival(states: Sequence[str], reasons: dict[int, str], epochs_trained: int) -> dict[str, Any]:
    replaying = import_module("replaying")
    found: dict[str, Any] = replaying.survival(
        WHOLE, replaying.Replayed(dict(enumerate(states)), reasons, epochs_trained), 2
    )
    return found


def test_what_a_rule_stops_of_the_front_is_counted_by_shape_and_reason() -> None:
    reasons = {0: "overuse: clean accuracy 2.0 points under no noise", 2: "place 3 of 3, of which 1 go on"}
    found = survival(["stopped", "complete", "stopped", "infeasible"], reasons, 7)
    assert (found["front"], found["front_stopped"]) == (2, 1)
    assert found["front_by_shape"] == {"falling": 1, "level": 1}
    assert (found["front_of_volume"], found["front_of_volume_stopped"]) == (2, 1)
    assert found["front_stopped_by_shape"] == {"falling": 1}
    assert found["front_stopped_because"] == {"overuse": 1}


def test_the_hypervolume_that_a_rule_keeps_is_that_of_the_trials_it_lets_complete() -> None:
    # Over (0.75, 0.6): (0.8, 0.8) adds 0.05 x 0.2, and (0.9, 0.7) what it has beyond that, 0.1 x 0.1.
    found = survival(["stopped", "complete", "stopped", "infeasible"], {0: "place 2", 2: "place 3"}, 7)
    assert found["hypervolume_kept"] == pytest.approx((0.15 * 0.1) / (0.05 * 0.2 + 0.1 * 0.1))
    assert survival(["complete"] * 3 + ["infeasible"], {}, 10)["hypervolume_kept"] == 1.0


def test_trials_of_the_front_that_have_no_hypervolume_are_counted_apart() -> None:
    costly = member(1, 0.74, 0.9)  # more than 0.05 of clean accuracy under the control
    replaying = import_module("replaying")
    run = searched(member(None, 0.8, 0.6), FALLING, costly)
    found = replaying.survival(run, replaying.Replayed({0: "complete", 1: "stopped"}, {1: "overuse: x"}, 5), 2)
    assert [found[key] for key in replaying.FRONTS] == [2, 1, 1, 0]
    assert found["hypervolume_kept"] == 1.0


def test_the_first_trials_are_as_many_as_the_epochs_of_a_search_that_stops_would_have_trained() -> None:
    replaying = import_module("replaying")
    stopped = {"members": WHOLE["members"][:1], "status": {"epochs_trained": 2 + 5}}  # of the control, and of trials
    found = replaying.first_trials(WHOLE, stopped, 2)
    assert found == {"trials": 2, "hypervolume": pytest.approx(1.0)}
    # Over (0.75, 0.6) the first alone has 0.05 x 0.2, half of what both have.
    fewer = replaying.first_trials(WHOLE, {**stopped, "status": {"epochs_trained": 2 + 3}}, 2)
    assert fewer == {"trials": 1, "hypervolume": pytest.approx(0.5)}


def test_ranks_that_turn_round_are_correlated_with_minus_one() -> None:
    scores = [(0.7, 0.4), (0.8, 0.5), (0.9, 0.6)]
    members = [member(number, clean, robust) for number, (clean, robust) in enumerate(scores)]
    for one, (clean, robust) in zip(members, scores, strict=True):
        one["curve"]["1"] = [0.5, 1 - clean, robust / 3]
    found = import_module("replaying").rank_correlations(searched(*members), 2)
    assert found == {"1": pytest.approx({"clean": -1.0, "robust": 1.0, "both": -1.0})}


def test_epochs_are_shared_out_with_controls_and_without() -> None:
    assert import_module("replaying").shares(7, WHOLE) == {"trials": 5 / 8, "all_members": 7 / 10}


def test_the_verdict_sums_the_fronts_of_several_searches() -> None:
    replaying = import_module("replaying")
    found = [
        survival(["stopped", "complete", "stopped", "infeasible"], {0: "overuse: x", 2: "place 3"}, 6),
        survival(["stopped", "stopped", "complete", "infeasible"], {0: "place 2", 1: "overuse: x"}, 8),
    ]
    summed = replaying.summary(found)
    assert summed["front_stopped_because"] == {"overuse": 2, "outranked": 1}
    assert replaying.verdict(summed, "with protection") == (
        "with protection, the rule stops 3 of 4 trials of the fronts of whole searches (falling 2 of 2, level 1 of 2), "
        "of those of any volume 3 of 4, and keeps 38 % of the hypervolume with 70 % of the epochs"
    )


def test_stopping_is_held_to_the_hypervolume_it_keeps_and_to_the_epochs_of_all_members() -> None:
    aims = script("bench_stopping").aims
    assert [aim["met"] for aim in aims(0.97, 0.45).values()] == [True, True]
    assert [aim["met"] for aim in aims(0.96996, 0.4501).values()] == [False, False]


def test_a_training_broke_down_at_its_first_loss_that_was_not_finite_or_at_its_end() -> None:
    diverged_from = script("bench_stopping").diverged_from
    losses = [{"epoch": float(epoch), "train/loss": loss} for epoch, loss in enumerate([1.0, math.nan, 2.0], start=1)]
    assert diverged_from(losses) == 2
    assert diverged_from([losses[0], losses[2]]) == 3


def test_searches_that_train_alike_differ_in_nothing_at_the_epochs_of_both() -> None:
    early = {**LEVEL, "number": 5, "curve": {"1": LEVEL["curve"]["1"]}, "state": "stopped"}
    assert script("bench_stopping").differences(WHOLE, searched(WHOLE["members"][0], FALLING, early), 1) == []


def test_searches_that_score_otherwise_before_the_end_are_compared_at_the_end_alone() -> None:
    off = {**LEVEL, "curve": {"1": [0.4, 0.1, 0.1], "2": LEVEL["curve"]["2"]}}
    differences = script("bench_stopping").differences
    assert differences(WHOLE, searched(FALLING, off), 1, only=2) == []
    assert differences(WHOLE, searched(FALLING, off), 1) != []


def test_another_score_of_the_same_policy_or_another_first_batch_is_told() -> None:
    off = {**LEVEL, "curve": {"1": LEVEL["curve"]["1"], "2": [0.9, 0.9, math.nextafter(0.7, 1)]}}
    other = {**FALLING, "policy": member(7, 0.8, 0.8)["policy"]}
    assert script("bench_stopping").differences(WHOLE, searched(other, off), 1) == [
        "trial 1: expected the scores of trial 1 of the whole search, got others after epoch 2",
        "trial 0: expected a trial of the whole search, got another policy",
    ]


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


def test_the_rule_replayed_on_a_whole_search_does_what_it_does_to_a_real_one(tmp_path: Path) -> None:
    bench, replaying = script("bench_stopping"), import_module("replaying")
    work = [*TINY, *WORK]
    whole, real = (
        json.loads(json.dumps(bench.run_arm(one))) for one in ([*work, *bench.ARMS["whole"]], [*work, *RULE])
    )
    assert bench.differences(whole, real, 4) == []
    found = replaying.replay(whole, spec(*WORK, *RULE), tmp_path)
    trials = replaying.trials_of(real)
    assert found.states == {trial["number"]: trial["state"] for trial in trials}
    assert found.reasons == {trial["number"]: trial["reason"] for trial in trials if trial["reason"]}
    assert found.epochs_trained == real["status"]["epochs_trained"]
    assert any(reason.startswith("overuse") for reason in found.reasons.values())
    assert any(reason.startswith("place") for reason in found.reasons.values())


def test_executors_are_compared_with_inline_and_two_processes_with_one() -> None:
    by_executor = {name: {"milliseconds_a_job": {"median": ms}} for name, ms in (("inline", 4.0), ("ray", 9.5))}
    rates = {"inline, 2 threads": 5.0, "1 process": 4.0, "2 processes": 6.0}
    found = script("bench_executors").summary(by_executor, {name: {"median": rate} for name, rate in rates.items()})
    assert found == {
        "milliseconds_more_than_inline": {"ray": 5.5},
        "two_processes_over_one": 1.5,
        "two_processes_over_two_threads": 1.2,
    }
