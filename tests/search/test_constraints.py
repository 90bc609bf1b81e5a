"""Limits on what a trial may lose against the no-noise control."""

from __future__ import annotations

from pathlib import Path

import pytest
from optuna.trial import TrialState
from simulations import NAME, run, told

from noise_search.commands import pick, status
from noise_search.errors import CallerError
from noise_search.execute.simulated import CLASSES, Point, noisy_curves
from noise_search.metrics import above_chance
from noise_search.policy import Policy, policy_from_list
from noise_search.search.fronts import complete_rows, front_rows
from noise_search.search.results import constraints_of
from noise_search.spec import ObjectiveSpec
from noise_search.store import MemberRecord, locate, open_store

EPOCHS = 9
LIMITS = ("objective.clean_drop=0.02", "objective.family_drop=0.0")


def _curve(policy: Policy, _seed: int, _epoch: int) -> Point:
    """Noise costs a tenth of its strength in clean accuracy and gives as much robustness, up to a point."""
    strength = min(sum(term.magnitude for term in policy.terms), 1.0)
    return Point(0.9 - 0.1 * strength, 0.5 + 0.1 * strength - 0.2 * max(strength - 0.5, 0.0))


def _trials(folder: Path) -> list[MemberRecord]:
    with open_store(locate(folder), create=False) as store:
        return [member for member in store.members(store.sweep(NAME).id) if member.number is not None]


def _strength(member: MemberRecord) -> float:
    return min(sum(term.magnitude for term in policy_from_list(member.policy).terms), 1.0)


def _drops(member: MemberRecord) -> dict[str, float]:
    """Loss against no noise by the formula of the curve, in accuracy above chance."""
    strength = _strength(member)
    lost = {"clean_drop": 0.1 * strength, "family_drop": -(0.1 * strength - 0.2 * max(strength - 0.5, 0.0))}
    return {name: value / (1.0 - 1.0 / CLASSES) for name, value in lost.items()}


def _keeps_to_limits(drops: dict[str, float]) -> bool:
    return drops["clean_drop"] <= 0.02 and drops["family_drop"] <= 0.0


def test_a_limit_that_is_not_set_gives_no_constraint() -> None:
    scores, control = {"clean": 0.25, "worst_family": 0.125}, {"clean": 0.75, "worst_family": 0.5}
    found = constraints_of(ObjectiveSpec(), scores, control, diverged=False)
    assert found == {"diverged": 0.0}
    found = constraints_of(ObjectiveSpec(clean_drop=0.25), scores, control, diverged=False)
    assert found == {"diverged": 0.0, "clean_drop": 0.25}


def test_a_constraint_is_the_drop_against_the_control_less_the_limit(tmp_path: Path) -> None:
    run(tmp_path, *LIMITS, curve=_curve)
    for trial in _trials(tmp_path):
        drops = _drops(trial)
        assert trial.constraints["clean_drop"] == pytest.approx(drops["clean_drop"] - 0.02)
        assert trial.constraints["family_drop"] == pytest.approx(drops["family_drop"])


def test_a_trial_over_a_limit_is_complete_with_its_true_values_and_a_positive_constraint(tmp_path: Path) -> None:
    run(tmp_path, *LIMITS, "objective=pareto", curve=_curve)
    over = {trial.number for trial in _trials(tmp_path) if _drops(trial)["clean_drop"] > 0.02}
    assert 0 < len(over) < 24
    by_number = {trial.number: trial for trial in _trials(tmp_path)}
    with open_store(locate(tmp_path), create=False) as store:
        found = told(store)
    assert {trial.state for trial in found} == {TrialState.COMPLETE}
    assert {trial.number for trial in found if trial.constraints["clean_drop"] > 0} == over
    for trial in found:
        clean = above_chance(0.9, CLASSES) - _drops(by_number[trial.number])["clean_drop"]
        assert trial.values[0] == pytest.approx(clean)


def test_a_trial_over_a_limit_is_not_on_the_front_and_not_picked(tmp_path: Path) -> None:
    run(tmp_path, *LIMITS, curve=_curve)
    within = [trial for trial in _trials(tmp_path) if _keeps_to_limits(_drops(trial))]
    with open_store(locate(tmp_path), create=False) as store:
        rows = front_rows(store, store.sweep(NAME).id)
        everything = complete_rows(store, store.sweep(NAME).id)
    assert {row.trial for row in rows if row.on_front} <= {trial.number for trial in within}
    over = [row for row in everything if row.over_constraint]
    assert len([row for row in over if row.control is None]) == 24 - len(within)
    assert all("_drop by 0." in row.over_constraint for row in over)
    assert status(NAME, store=tmp_path)["over_a_constraint"] == 24 - len(within)
    assert status(NAME, store=tmp_path)["best"]["trial"] in {trial.number for trial in within}


def test_where_every_trial_is_over_a_limit_nothing_is_picked(tmp_path: Path) -> None:
    def worse(policy: Policy, _seed: int, _epoch: int) -> Point:
        return Point(0.8 if policy.terms else 0.9, 0.5)

    run(tmp_path, "objective.clean_drop=0.02", "controls.constants=0", "budget.trials=4", curve=worse)
    if any(not trial.policy for trial in _trials(tmp_path)):
        pytest.fail("a trial without noise is as good as the control: choose another seed")
    assert status(NAME, store=tmp_path)["best"] is None
    with pytest.raises(CallerError, match=r"objective\.clean_drop"):
        pick(NAME, store=tmp_path)


def test_the_drop_is_that_at_the_epoch_at_which_the_trial_ended(tmp_path: Path) -> None:
    """The control rises with the epochs; a trial that rises likewise loses nothing at any of them."""

    def rising(policy: Policy, _seed: int, epoch: int) -> Point:
        return Point(0.5 + 0.04 * epoch, 0.4 + 0.01 * len(policy.terms))

    run(tmp_path, "stopping=halving", "objective.clean_drop=0.0", curve=rising)
    ended = [trial for trial in _trials(tmp_path) if trial.state == "complete"]
    assert ended
    assert {trial.constraints["clean_drop"] for trial in ended} == {0.0}


@pytest.mark.parametrize("objective", ["combined", "pareto"])
def test_at_a_rung_trials_within_the_limits_go_on_before_better_ones_over_them(objective: str, tmp_path: Path) -> None:
    """Noise raises the score and costs clean accuracy, so that by score alone those over the limit go on."""

    def curve(policy: Policy, _seed: int, _epoch: int) -> Point:
        strength = min(sum(term.magnitude for term in policy.terms), 1.0)
        return Point(0.9 - 0.009 * strength, 0.5 + 0.2 * strength)

    stopping = f"stopping={'halving' if objective == 'combined' else 'pareto_halving'}"
    few = ("sampler.name=random", "stopping.protect=false", "objective.clean_drop=0.005")
    run(tmp_path, stopping, f"objective={objective}", *few, curve=curve)
    within = {trial.number for trial in _trials(tmp_path) if 0.009 * _strength(trial) / (1 - 1 / CLASSES) <= 0.005}
    assert 0 < len(within) < 24
    complete = [trial for trial in _trials(tmp_path) if trial.state == "complete"]
    assert {trial.number for trial in complete} & within
    best = max((trial for trial in _trials(tmp_path) if trial.number in within), key=_strength)
    assert best.state == "complete"
    stopped = [trial for trial in _trials(tmp_path) if trial.state == "stopped" and trial.number not in within]
    assert stopped
    assert all((trial.reason or "").startswith("constraint: over by ") for trial in stopped)
    assert status(NAME, store=tmp_path)["ended_because"]["over_a_constraint"] == len(stopped)


def test_a_diverged_trial_is_told_the_finite_worst_and_every_constraint_as_violated(tmp_path: Path) -> None:
    curve = noisy_curves(0, epochs=EPOCHS, diverging=0.3)
    run(tmp_path, "objective=pareto", "objective.clean_drop=0.5", curve=curve)
    gone = {trial.number for trial in _trials(tmp_path) if trial.state == "infeasible"}
    assert 0 < len(gone) < 24
    with open_store(locate(tmp_path), create=False) as store:
        for trial in told(store):
            assert trial.state is TrialState.COMPLETE
            if trial.number in gone:
                assert (trial.values, trial.constraints) == ([0.0, 0.0], {"diverged": 1.0, "clean_drop": 0.5})
            else:
                assert trial.constraints.keys() == {"diverged", "clean_drop"}
                assert trial.constraints["diverged"] == 0.0


@pytest.mark.parametrize("objective", ["combined", "pareto"])
@pytest.mark.parametrize("sampler", ["tpe", "random", "nsga2", "qmc", "gp"])
def test_every_sampler_goes_on_after_trials_that_diverge(sampler: str, objective: str, tmp_path: Path) -> None:
    few = (f"sampler.name={sampler}", "+sampler.population=4", "budget.trials=12", f"objective={objective}")
    run(tmp_path, *few, "space=flat", *LIMITS, curve=noisy_curves(0, epochs=EPOCHS, diverging=0.3))
    states = [trial.state for trial in _trials(tmp_path)]
    assert len(states) == 12
    assert "infeasible" in states[:8]  # and others were asked after it
    assert "complete" in states[:8]
    with open_store(locate(tmp_path), create=False) as store:
        assert all(trial.constraints.keys() == {"diverged", "clean_drop", "family_drop"} for trial in told(store))


def test_a_gaussian_process_tells_limits_apart_in_a_sweep_that_was_continued_too(tmp_path: Path) -> None:
    few = ("sampler.name=gp", "space=flat", *LIMITS)
    curve = noisy_curves(0, epochs=EPOCHS, diverging=0.2)
    run(tmp_path / "whole", *few, "budget.trials=12", curve=curve)
    run(tmp_path / "two", *few, "budget.trials=8", curve=curve)
    run(tmp_path / "two", *few, "budget.trials=12", curve=curve)
    assert [trial.policy for trial in _trials(tmp_path / "two")] == [
        trial.policy for trial in _trials(tmp_path / "whole")
    ]


def test_samplers_see_of_who_waits_at_a_rung_what_it_is_over(tmp_path: Path) -> None:
    run(tmp_path, "stopping=halving", *LIMITS, curve=_curve)
    stopped = [trial for trial in _trials(tmp_path) if trial.state == "stopped"]
    assert any(trial.constraints["clean_drop"] > 0 for trial in stopped)
    with open_store(locate(tmp_path), create=False) as store:
        seen = {trial.number: trial.constraints for trial in told(store)}
    assert {trial.number: trial.constraints for trial in stopped} == {
        trial.number: seen[trial.number] for trial in stopped if trial.number is not None
    }
