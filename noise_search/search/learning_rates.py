"""Whether noise only took the place of tuning the learning rate.

The winner and no noise train at half and at double the learning rate too, scored on validation, with the seeds of stage
1: none of it reads test. If no noise came up to the winner at another rate, its gain would be one of the rate's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import cast

from noise_search.policy import Policy, policy_from_list
from noise_search.search.confirming import Confirmation, stage_seeds, train_missing
from noise_search.search.evidence import NO_NOISE, WINNER, Yard, item_scores
from noise_search.statistics import PairedDifference, paired_difference
from noise_search.store import CHOOSE, ConfirmationRecord, Confirmed

MULTIPLES = (0.5, 1.0, 2.0)  # of the sweep's learning rate
_MARK = ", lr x"


@dataclass(frozen=True, slots=True)
class RateCheck:
    """How the winner and no noise do at other learning rates, on validation.

    Args:
        means: Arm and multiple of the learning rate, as in `no noise, lr x0.5` -> clean and robust, means over seeds.
        best: Arm without noise that is the most robust.
        difference: The winner at its own rate minus that arm, robust accuracy above chance.
        holds: Whether the winner is more robust for certain, at 95 %.
    """

    means: Mapping[str, Mapping[str, float]]
    best: str
    difference: PairedDifference
    holds: bool


def at_rate(arm: str, multiple: float) -> str:
    """Name of an arm at a multiple of the learning rate.

    >>> at_rate("no noise", 0.5)
    'no noise, lr x0.5'
    """
    return f"{arm}{_MARK}{multiple:g}"


def is_at_rate(arm: str) -> bool:
    """Whether a name is that of an arm of this check."""
    return _MARK in arm


def checked_arms() -> list[tuple[str, float]]:
    """Arms that the check trains, with their multiples; the winner at its own rate is there from stage 1."""
    return [(arm, multiple) for arm in (WINNER, NO_NOISE) for multiple in MULTIPLES if (arm, multiple) != (WINNER, 1.0)]


def run_rate_check(confirmation: Confirmation) -> None:
    """Train what is missing of the check."""
    policies = {WINNER: policy_from_list(_choice(confirmation.record)["policies"][WINNER]), NO_NOISE: Policy()}
    for multiple in MULTIPLES:
        arms = [arm for arm, own in checked_arms() if own == multiple]
        for seed in stage_seeds(confirmation, CHOOSE):
            wanted = [(at_rate(arm, multiple), policies[arm], seed) for arm in arms]
            train_missing(confirmation, CHOOSE, wanted, multiple=multiple)


def rate_check(record: ConfirmationRecord, trainings: Sequence[Confirmed], yard: Yard) -> RateCheck | None:
    """What the check found; None where it has not come to its end.

    Args:
        record: Of a confirmation whose stage 1 has chosen.
        trainings: All that are stored of it.
        yard: What stage 1 is scored on.
    """
    found = {
        at_rate(arm, multiple): _trained(record, trainings, arm, multiple)
        for arm in (WINNER, NO_NOISE)
        for multiple in MULTIPLES
    }
    if any(len(own) < cast(int, record.settings["seeds"]) for own in found.values()):
        return None
    means = {
        name: {key: fmean(one.scores[key] for one in own) for key in ("clean", "robust")} for name, own in found.items()
    }
    best = max((at_rate(NO_NOISE, multiple) for multiple in MULTIPLES), key=lambda name: means[name]["robust"])
    one, other = (item_scores(found[name], yard).over_families() for name in (at_rate(WINNER, 1.0), best))
    difference = paired_difference(one - other)
    return RateCheck(means, best, difference, difference.low > 0)


def _trained(record: ConfirmationRecord, trainings: Sequence[Confirmed], arm: str, multiple: float) -> list[Confirmed]:
    """By seed; the winner at its own rate is there from the race, by the name that it had there."""
    raced = (arm, multiple) == (WINNER, 1.0)
    name = str(_choice(record)["chosen"][WINNER]) if raced else at_rate(arm, multiple)
    own = [one for one in trainings if (one.stage, one.arm) == (CHOOSE, name)]
    return sorted(own, key=lambda one: one.seed)


def _choice(record: ConfirmationRecord) -> Mapping[str, Mapping[str, object]]:
    assert record.choice is not None
    return cast(Mapping[str, Mapping[str, object]], record.choice)
