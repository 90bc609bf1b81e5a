"""What a flag that comes late does to trials at earlier rungs: nothing."""

from __future__ import annotations

from pathlib import Path

from simulations import NAME, run

from noise_search.execute.simulated import Point
from noise_search.policy import Policy
from noise_search.store import MemberRecord, locate, open_store


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
