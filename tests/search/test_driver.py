from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from sweep_examples import (
    BUDGET,
    CONTROLS,
    NAME,
    asked,
    assert_sound,
    diverging,
    drive,
    findings,
    finished_store,
    last_results,
    record,
    spec,
    trials,
)

from noise_search.commands import front, status
from noise_search.corruptions.suites import Suite
from noise_search.execute import InlineExecutor
from noise_search.policy import policy_from_list, policy_to_list
from noise_search.search.asking import random_policies
from noise_search.search.space import constant_policies
from noise_search.store import JobRecord, MemberRecord, ResultRecord, locate, open_store


def _members(folder: Path) -> dict[str, MemberRecord]:
    with open_store(locate(folder), create=False) as store:
        found = store.members(store.sweep(NAME).id)
    return {member.control or f"trial {member.number}": member for member in found}


def _jobs(folder: Path) -> list[JobRecord]:
    with open_store(locate(folder), create=False) as store:
        return store.jobs(store.sweep(NAME).id)


def _results(folder: Path) -> dict[str, ResultRecord]:
    with open_store(locate(folder), create=False) as store:
        results = last_results(store, store.sweep(NAME).id)
    return {name: results[member.id] for name, member in _members(folder).items()}


def test_a_finished_sweep_has_exactly_its_budget_of_trials_each_told_its_score() -> None:
    assert_sound(finished_store())
    counts = status(NAME, store=finished_store())["trials"]
    assert counts == {"complete": BUDGET, "stopped": 0, "infeasible": 0, "failed": 0, "running": 0, "waiting": 0}


@pytest.mark.parametrize("cohort", [1, 3, 16])
def test_the_width_of_a_cohort_changes_no_number(cohort: int, tmp_path: Path) -> None:
    drive(tmp_path, f"driver.cohort={cohort}")
    assert max(len(job.members) for job in _jobs(tmp_path)) == min(cohort, CONTROLS)
    assert findings(tmp_path) == findings(finished_store())
    assert front(NAME, store=tmp_path) == front(NAME, store=finished_store())


def test_neither_the_name_nor_the_store_nor_other_controls_change_a_number(tmp_path: Path) -> None:
    drive(tmp_path, "name=other", "controls.constants=0", "controls.random=0", "train.threads=1")
    assert trials(findings(tmp_path, "other")) == trials(findings(finished_store()))


def test_another_seed_makes_another_sweep(tmp_path: Path) -> None:
    drive(tmp_path, "seed=1", "budget.trials=2")
    one, other = _members(tmp_path), _members(finished_store())
    for name in ("trial 0", "trial 1", "random_1"):
        assert one[name].policy != other[name].policy
    assert one["constant_1"].policy == other["constant_1"].policy
    assert _results(tmp_path)["no_noise"].history != _results(finished_store())["no_noise"].history


def test_a_looped_sweep_finds_the_same_policies_worth_within_rounding(tmp_path: Path) -> None:
    drive(tmp_path, "train.mode=looped", "budget.trials=2")
    looped, fused = _results(tmp_path), _results(finished_store())
    for name in looped:
        losses = [[row["train/loss"] for row in found[name].history] for found in (looped, fused)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_controls_are_no_noise_and_as_many_constants_and_random_policies_as_asked_for() -> None:
    members = _members(finished_store())
    space = spec().space
    assert [name for name, member in members.items() if member.control] == ["no_noise", "constant_1", "random_1"]
    assert members["no_noise"].policy == []
    assert members["constant_1"].policy == policy_to_list(constant_policies(space, 1)[0])
    assert members["random_1"].policy == policy_to_list(random_policies(space, 1, seed=0)[0])


def test_controls_are_no_trials_of_optuna_and_not_in_the_budget() -> None:
    assert len(asked(finished_store())) == BUDGET
    assert len(_members(finished_store())) == CONTROLS + BUDGET


def test_controls_train_before_any_trial() -> None:
    ids = {member.id: member.control for member in _members(finished_store()).values()}
    in_order = [ids[member_id] for job in _jobs(finished_store()) for member_id in job.members]
    assert in_order[:CONTROLS] == ["no_noise", "constant_1", "random_1"]
    assert in_order[CONTROLS:] == [None] * BUDGET


def test_no_noise_is_a_control_even_where_no_other_is_asked_for(tmp_path: Path) -> None:
    drive(tmp_path, "controls.constants=0", "controls.random=0", "budget.trials=1")
    assert list(_members(tmp_path)) == ["no_noise", "trial 0"]


def test_controls_asked_for_later_are_trained_when_the_sweep_is_continued(tmp_path: Path) -> None:
    drive(tmp_path, "budget.trials=2")
    before = findings(tmp_path)
    drive(tmp_path, "budget.trials=4", "controls.random=2")
    after = findings(tmp_path)
    assert {name: after[name] for name in before} == before
    assert _members(tmp_path)["random_2"].state == "complete"


def test_constants_go_round_the_noises_of_the_space(tmp_path: Path) -> None:
    drive(tmp_path, "controls.constants=5", "controls.random=0", "budget.trials=1")
    policies = [policy_from_list(member.policy) for name, member in _members(tmp_path).items() if "constant" in name]
    keys = [[term.key for term in policy.terms] for policy in policies]
    gaussian = ["inputs.gaussian"]
    assert keys == [gaussian, ["inputs.mixup"], ["weights.relative"], ["targets.label_smoothing"], gaussian]
    assert {term.schedule.kind for policy in policies for term in policy.terms} == {"constant"}


def test_the_score_is_the_weighted_mean_of_clean_and_robust() -> None:
    for result in _results(finished_store()).values():
        scores = result.scores
        assert scores["score"] == 0.5 * scores["clean"] + 0.5 * scores["robust"]


def test_the_weight_of_the_objective_is_the_share_of_clean(tmp_path: Path) -> None:
    drive(tmp_path, "objective.weight=1", "budget.trials=1", "controls.constants=0", "controls.random=0")
    scores = _results(tmp_path)["trial 0"].scores
    assert scores["score"] == scores["clean"]


def test_the_no_noise_control_is_the_measure_of_relative_corruption_error() -> None:
    results = _results(finished_store())
    suite: Suite = spec().suite
    control = results["no_noise"].cells
    for result in results.values():
        ratios = [
            sum(result.cells["clean"][0] - a for a in result.cells[kind.name])
            / sum(control["clean"][0] - a for a in control[kind.name])
            for kind in suite.kinds
        ]
        assert result.scores["relative_mce"] == pytest.approx(sum(ratios) / len(ratios), rel=1e-12)
    assert results["no_noise"].scores["relative_mce"] == pytest.approx(1.0, rel=1e-12)


def test_samples_scored_are_those_of_every_set_at_every_scoring() -> None:
    one = spec()
    validation, kinds = 359, one.suite.kinds
    sets = 1 + sum(len(kind.strengths) for kind in kinds)
    perturbed = len(one.suite.weight_strengths) * one.suite.weight_draws
    # Two epochs, scored at the last one only.
    expected = (CONTROLS + BUDGET) * (sets + perturbed) * validation
    assert status(NAME, store=finished_store())["samples_scored"] == expected


def test_trials_that_diverge_are_infeasible_and_told_the_finite_worst_with_a_violated_constraint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = range(CONTROLS + 1, CONTROLS + 5)
    monkeypatch.setattr(InlineExecutor, "run", diverging(InlineExecutor.run, every))
    outcome = drive(tmp_path, "budget.trials=4")
    assert (outcome.state, outcome.picked, outcome.files) == ("complete", None, {})
    assert [row.control for row in outcome.front] == ["no_noise", "constant_1", "random_1"]
    one = status(NAME, store=tmp_path)
    assert (one["trials"]["infeasible"], one["trials"]["complete"], one["best"]) == (4, 0, None)
    assert {m.state for m in _members(tmp_path).values() if m.control is None} == {"infeasible"}
    for trial in asked(tmp_path):
        assert (trial.state.name, trial.value) == ("COMPLETE", 0.0)
        assert trial.constraints == {"diverged": 1.0}


def test_one_diverging_trial_among_others_is_infeasible_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(InlineExecutor, "run", diverging(InlineExecutor.run, [CONTROLS + 2]))
    outcome = drive(tmp_path)
    members = _members(tmp_path)
    assert [name for name, member in members.items() if member.state == "infeasible"] == ["trial 1"]
    assert "diverged" in str(members["trial 1"].reason)
    assert 1 not in {row.trial for row in outcome.front}
    told = asked(tmp_path)
    assert [trial.constraints for trial in told] == [{"diverged": float(number == 1)} for number in range(BUDGET)]
    assert all(math.isfinite(trial.value or 0.0) for trial in told)
    assert status(NAME, store=tmp_path)["trials"]["infeasible"] == 1


def test_what_the_sweep_was_asked_to_do_is_stored_whole() -> None:
    stored = record(finished_store())
    assert json.loads(json.dumps(stored.config)) == json.loads(json.dumps(dict(spec().raw)))
    assert (stored.train_mode, stored.score_mode, stored.bitwise) == ("fused", "looped", True)
    assert stored.budget_trials == BUDGET
    assert stored.finished_at is not None
