"""What stage 2 of a confirmation says: differences between the winner and every arm, on test, with intervals.

Items are the samples of the test split. An item's robust score is the mean over families of its share of right answers
there, above chance; see `statistics` for how that relates to the published number.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from noise_search.corruptions.suites import Suite, families
from noise_search.metrics import counts_unpacked, unpacked
from noise_search.policy import Policy
from noise_search.search.arms import AT_MEAN, AT_RMS
from noise_search.statistics import NonInferiority, PairedDifference, holm, non_inferiority, paired_difference
from noise_search.store import Confirmed
from noise_search.training.batch_norm import REESTIMATED, score_reestimated

WINNER, NO_NOISE, BEST_CONSTANT, BEST_RANDOM = "winner", "no noise", "best constant", "best random"
RANDOM = "random"  # the mean of random 1, random 2, ...
CLEAN_MARGIN = 0.01
# Noises at inputs that are of a family of corruptions; mixing samples is of none.
_FAMILY_OF = dict.fromkeys(("gaussian", "speckle", "shot", "impulse", "uniform"), "noise") | {"erase": "occlusion"}
PUBLISHED = ("clean", "robust", "worst_family", "robust_weights")
Items = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Yard:
    """What stage 2 measured on.

    Args:
        classes: Of the data.
        samples: Of the test split.
        cells: Family of the held-out suite -> how many cells it has.
        seen: Families that a noise of the winner's training belongs to.
    """

    classes: int
    samples: int
    cells: Mapping[str, int]
    seen: frozenset[str]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The winner minus an arm, accuracy above chance on test.

    Args:
        arm: Name of the other.
        robust: On all families of the held-out suite.
        p_adjusted: Of `robust`, Holm's over all arms.
        seen, unseen: On families that were in the winner's training, and on the others; None where there is none.
        families: On each family.
        clean: On clean inputs.
    """

    arm: str
    robust: PairedDifference
    p_adjusted: float
    seen: PairedDifference | None
    unseen: PairedDifference | None
    families: Mapping[str, PairedDifference]
    clean: PairedDifference


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that is quoted of a confirmation.

    Args:
        means: Arm -> clean, robust, worst_family and robust_weights: means over seeds, as published; of models with
            batch norm also clean and robust with its statistics estimated anew on clean data, as `clean_reestimated`.
        against: The winner against each other arm.
        clean: The winner against no noise: whether it loses less than a point.
        scheduling: Gain of scheduling: the winner minus the best of the constant arms; None where it has no schedule.
        scheduling_against: Which of them that is.
    """

    means: Mapping[str, Mapping[str, float]]
    against: tuple[Comparison, ...]
    clean: NonInferiority
    scheduling: PairedDifference | None
    scheduling_against: str | None

    def over(self, arm: str) -> Comparison:
        """The winner against one arm."""
        return next(one for one in self.against if one.arm == arm)


@dataclass(frozen=True, slots=True)
class ItemScores:
    """Item scores of an arm: robust (seeds, families, items), clean (seeds, items)."""

    robust: Items
    clean: Items

    def over_families(self) -> Items:
        """Robust scores, (seeds, items): means over families."""
        scores: Items = self.robust.mean(axis=1)
        return scores


def yard_of(suite: Suite, *, classes: int, samples: int, winner: Policy) -> Yard:
    """What stage 2 measures on.

    Args:
        suite: Held-out.
        classes: Of the data.
        samples: Of the test split.
        winner: Whose noises make families seen.
    """
    cells: dict[str, int] = dict.fromkeys(families(suite), 0)
    for kind in suite.kinds:
        cells[kind.family] += len(kind.strengths)
    return Yard(classes, samples, cells, seen_families(winner))


def seen_families(policy: Policy) -> frozenset[str]:
    """Families of corruptions that a noise of a policy belongs to."""
    return frozenset(
        _FAMILY_OF[term.noise] for term in policy.terms if term.site == "inputs" and term.noise in _FAMILY_OF
    )


def evidence(trainings: Sequence[Confirmed], yard: Yard) -> Evidence:
    """Evaluate stage 2.

    Args:
        trainings: Of every arm, all with the same seeds, at least two.
        yard: What they were scored on.
    """
    arms = {name: item_scores(own, yard) for name, own in by_arm(trainings).items()}
    others = [name for name in arms if name != WINNER]
    robust = {name: _difference(arms, name, yard, yard.cells) for name in others}
    adjusted = dict(zip(others, holm([robust[name].p_value for name in others]), strict=True))
    against, best = _best_constant(arms)
    return Evidence(
        means={name: _means(own) for name, own in by_arm(trainings).items()},
        against=tuple(_comparison(arms, name, yard, robust[name], adjusted[name]) for name in others),
        clean=non_inferiority(arms[WINNER].clean - arms[NO_NOISE].clean, CLEAN_MARGIN),
        scheduling=None if best is None else paired_difference(arms[WINNER].over_families() - best.over_families()),
        scheduling_against=against,
    )


def by_arm(trainings: Sequence[Confirmed]) -> dict[str, list[Confirmed]]:
    """Trainings of each arm by seed; those of random policies are one arm."""
    return grouped(sorted(trainings, key=lambda one: one.seed), _arm_of)


def grouped(trainings: Iterable[Confirmed], named: Callable[[str], str] = str) -> dict[str, list[Confirmed]]:
    """Trainings of each arm, in their order; names may be changed."""
    found: dict[str, list[Confirmed]] = {}
    for one in trainings:
        found.setdefault(named(one.arm), []).append(one)
    return found


def _arm_of(name: str) -> str:
    return RANDOM if name.startswith(f"{RANDOM} ") else name


def item_scores(own: Sequence[Confirmed], yard: Yard) -> ItemScores:
    """Item scores of an arm by seed: of several trainings with one seed their mean."""
    seeds = sorted({one.seed for one in own})
    robust = [np.mean([_hits(one, yard) for one in own if one.seed == seed], axis=0) for seed in seeds]
    clean = [np.mean([_clean(one, yard) for one in own if one.seed == seed], axis=0) for seed in seeds]
    return ItemScores(np.stack(robust), np.stack(clean))


def _hits(one: Confirmed, yard: Yard) -> Items:
    """Above chance, (families, items); of a training that diverged nothing."""
    shares = [counts_unpacked(one.hits[family]) / cells for family, cells in yard.cells.items()]
    return _above_chance(np.stack(shares), yard, one)


def _clean(one: Confirmed, yard: Yard) -> Items:
    return _above_chance(unpacked(one.correct)[: yard.samples].astype(np.float64), yard, one)


def _above_chance(right: Items, yard: Yard, one: Confirmed) -> Items:
    chance = 1.0 / yard.classes
    return np.zeros_like(right) if one.diverged else (right - chance) / (1.0 - chance)


def _difference(arms: Mapping[str, ItemScores], other: str, yard: Yard, of: Collection[str]) -> PairedDifference:
    """The winner minus another arm on some families."""
    rows = [index for index, family in enumerate(yard.cells) if family in of]
    layout = arms[WINNER].robust[:, rows].mean(axis=1) - arms[other].robust[:, rows].mean(axis=1)
    return paired_difference(layout)


def _comparison(
    arms: Mapping[str, ItemScores], other: str, yard: Yard, robust: PairedDifference, p_adjusted: float
) -> Comparison:
    unseen = [family for family in yard.cells if family not in yard.seen]
    seen = [family for family in yard.cells if family in yard.seen]
    return Comparison(
        arm=other,
        robust=robust,
        p_adjusted=p_adjusted,
        seen=_difference(arms, other, yard, seen) if seen else None,
        unseen=_difference(arms, other, yard, unseen) if unseen else None,
        families={family: _difference(arms, other, yard, [family]) for family in yard.cells},
        clean=paired_difference(arms[WINNER].clean - arms[other].clean),
    )


def _best_constant(arms: Mapping[str, ItemScores]) -> tuple[str | None, ItemScores | None]:
    """The constant arm with the highest mean, where the winner has a schedule; the comparison is the harder for it."""
    if AT_MEAN not in arms:
        return None, None
    constant = [name for name in (BEST_CONSTANT, AT_MEAN, AT_RMS) if name in arms]
    best = max(constant, key=lambda name: float(arms[name].over_families().mean()))
    return best, arms[best]


def _means(own: Sequence[Confirmed]) -> dict[str, float]:
    more = [name for name in map(score_reestimated, REESTIMATED) if all(name in one.scores for one in own)]
    return {key: fmean(one.scores[key] for one in own) for key in (*PUBLISHED, *more)}
