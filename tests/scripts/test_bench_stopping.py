"""What the benchmark of stopping rules makes of recorded searches."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from script_modules import script
from sweep_examples import TINY, spec

pytestmark = pytest.mark.usefixtures("as_scripts_are_run")
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
