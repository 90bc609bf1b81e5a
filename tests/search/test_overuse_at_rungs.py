"""Overuse at rungs: a late flag does nothing at earlier ones, and noise that has not acted is not overused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from simulations import NAME, SIMULATED, run
from sweep_examples import config

from noise_search.config import build
from noise_search.execute import SimulatedExecutor
from noise_search.execute.simulated import Point
from noise_search.policy import Policy
from noise_search.search.simulating import simulate
from noise_search.store import MemberRecord, locate, open_store
from noise_search.training import Job, Result


def _costly_later(policy: Policy, _seed: int, epoch: int) -> Point:
    """Any noise costs five points of clean accuracy after the first rung; the stronger it is, the more robust."""
    strength = sum(term.magnitude for term in policy.terms)
    return Point(0.80 if policy.terms and epoch > 1 else 0.85, 0.5 + 0.01 * strength)


def _trials(folder: Path) -> list[MemberRecord]:
    with open_store(locate(folder), create=False) as store:
        return [member for member in store.members(store.sweep(NAME).id) if member.number is not None]


def test_trials_flagged_after_a_rung_make_no_room_there_for_others(tmp_path: Path) -> None:
    run(tmp_path, "stopping=halving", "sampler.startup_trials=24", "stopping.protect=false", curve=_costly_later)
    trials = _trials(tmp_path)
    assert sum((trial.reason or "").startswith("overuse") for trial in trials) >= 3
    # A third of 24; without a barrier some go on that later arrivals outrank, but not a half.
    assert 8 <= sum(trial.target_epoch > 1 for trial in trials) < 12


class _RisingLoss(SimulatedExecutor):
    """Executor under which the loss on corrupted images rises at every scoring, with noise and without."""

    def run(self, job: Job, on_epoch: Callable[[int], None]) -> list[Result]:
        """Results with that loss in their histories."""
        return [
            replace(result, history=tuple({**row, "corrupted/nll": row["epoch"]} for row in result.history))
            for result in super().run(job, on_epoch)
        ]


LATE = {
    "noise": "gaussian",
    "schedule": {"choices": ["window", "constant"], "window": {"start": {"low": 0.55, "high": 0.9}, "stop": 1.0}},
}
RUNGS = (
    "train.epochs=16",
    "stopping=halving",
    "stopping.at=[]",
    "stopping.factor=2",
    "stopping.rungs=4",
    "stopping.protect=false",
)


def _outcomes(folder: Path, share: bool) -> list[tuple[str, str | None, str | None]]:
    """State, reason and flag of every trial; its noise, when it acts, changes nothing."""
    own = config(*SIMULATED, *RUNGS, f"driver.share_prefix={str(share).lower()}")
    spec = build({**own, "space": {"terms": {"inputs": LATE}}})
    kinds = {kind.name: len(kind.strengths) for kind in spec.suite.kinds}
    executor = _RisingLoss(lambda _policy, _seed, epoch: Point(0.8, 0.5 + 0.01 * epoch), kinds)
    with open_store(locate(folder), create=True) as store:
        simulate(spec, NAME, store, executor)
        assert (store.epochs_shared(store.sweep(NAME).id) > 0) is share
    return [(trial.state, trial.reason, trial.overuse) for trial in _trials(folder)]


def test_noise_that_has_not_acted_is_not_overused_so_that_sharing_the_prefix_changes_no_outcome(
    tmp_path: Path,
) -> None:
    alone = _outcomes(tmp_path / "alone", share=False)
    assert any(flag is not None for _, _, flag in alone)
    assert _outcomes(tmp_path / "shared", share=True) == alone


def test_where_nothing_is_stopped_a_policy_whose_noise_never_acts_is_not_overused_and_any_other_is(
    tmp_path: Path,
) -> None:
    own = config(*SIMULATED, "stopping=none")
    spec = build({**own, "space": {"terms": {"inputs": {"noise": "gaussian", "magnitude": {"choices": [0.0, 0.4]}}}}})
    kinds = {kind.name: len(kind.strengths) for kind in spec.suite.kinds}
    executor = _RisingLoss(lambda _policy, _seed, epoch: Point(0.8, 0.5 + 0.01 * epoch), kinds)
    with open_store(locate(tmp_path), create=True) as store:
        simulate(spec, NAME, store, executor)
    flagged = {(trial.policy[0]["magnitude"], trial.overuse is not None) for trial in _trials(tmp_path)}
    assert flagged == {(0.0, False), (0.4, True)}
