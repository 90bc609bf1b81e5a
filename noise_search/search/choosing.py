"""Stage 1 of a confirmation: which policies are worth measuring, chosen on validation with fresh seeds.

Three groups race, each for itself: the best of the front, constant policies tuned as hard, and random policies. The
number of seeds is fixed; who is behind the leader of its group for certain trains no more of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np
from numpy.typing import NDArray
from scipy import special

from noise_search.errors import CallerError
from noise_search.policy import Policy, policy_from_list
from noise_search.search.asking import random_policies
from noise_search.search.fronts import FrontRow, pareto
from noise_search.search.pick import pick_row
from noise_search.spec import Space
from noise_search.store import Confirmed

FRONT, CONSTANT, RANDOM = "trial", "constant", "random"
RACING_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Candidate:
    """A policy that stage 1 may choose.

    Args:
        group: `trial`, `constant` or `random`.
        name: As the store and people know it: `trial 3`, or `control constant_1` where a rule names it.
        policy: What it trains with.
    """

    group: str
    name: str
    policy: Policy


def candidates(
    front: Sequence[FrontRow], constants: Sequence[FrontRow], space: Space, *, top: int, randoms: int, seed: int
) -> list[Candidate]:
    """Who races: the best of two fronts by score, and policies drawn at random.

    Args:
        front: Rows of the sweep.
        constants: Rows of the search among constant policies.
        space: Of the sweep, that random policies are drawn from.
        top: How many of each front, at most.
        randoms: How many random policies.
        seed: Of these.

    Raises:
        CallerError: Nothing is on the sweep's front.
    """
    if not any(row.on_front for row in front):
        raise CallerError(
            "confirm: expected a front with at least one complete trial, got none; run or continue "
            "the sweep, or one with other objective.clean_drop and objective.family_drop where every trial is over them"
        )
    drawn = random_policies(space, randoms, seed=seed)
    return [
        *_best(FRONT, front, top),
        *_best(CONSTANT, constants, top),
        *(Candidate(RANDOM, f"{RANDOM} {number}", policy) for number, policy in enumerate(drawn, start=1)),
    ]


def _best(group: str, rows: Sequence[FrontRow], top: int) -> list[Candidate]:
    best = sorted((row for row in rows if row.on_front), key=lambda row: (-row.score, row.trial))[:top]
    names = [row.name if group == FRONT else f"{group} {row.trial}" for row in best]
    return [Candidate(group, name, policy_from_list(row.policy)) for name, row in zip(names, best, strict=True)]


def still_racing(scores: NDArray[np.float64]) -> list[bool]:
    """Who of a group may still win: all whose distance to the leader could be chance.

    Distances are judged by what is left of the scores when arms and seeds are taken out, pooled over all arms: with a
    few seeds those of one pair alone say next to nothing.

    Args:
        scores: (arms, seeds), higher is better, all with the same seeds.

    Source: own; the least significant difference of a two-way layout, as in races between configurations (Birattari
    2002) the leader against everybody.

    >>> still_racing(np.array([[0.9, 0.91, 0.9], [0.89, 0.91, 0.9], [0.5, 0.52, 0.5]]))
    [True, True, False]
    """
    arms, seeds = scores.shape
    if arms < 2 or seeds < 2:
        return [True] * arms
    means = scores.mean(axis=1)
    rest = scores - means[:, None] - scores.mean(axis=0) + scores.mean()
    df = (arms - 1) * (seeds - 1)
    error = np.sqrt(2 * np.square(rest).sum() / df / seeds)
    reach = special.stdtrit(df, (1 + RACING_CONFIDENCE) / 2) * error
    return [bool(gap <= reach) for gap in means.max() - means]


def choose(front: Sequence[FrontRow], found: Mapping[str, Sequence[Confirmed]], rule: str) -> str:
    """Name of the arm that a rule picks, by means over seeds.

    Args:
        front: Row of each arm that is left, whose scores are replaced.
        found: Trainings of each arm on fresh seeds, by name.
        rule: As of `pick_row`.
    """
    rows = [_on_fresh_seeds(row, found[row.name]) for row in front]
    best = pareto([(row.clean, row.robust) for row in rows])
    return pick_row([replace(row, on_front=(row.clean, row.robust) in best) for row in rows], rule).name


def _on_fresh_seeds(row: FrontRow, found: Sequence[Confirmed]) -> FrontRow:
    clean, robust, worst_family, score = (
        fmean(one.scores[key] for one in found) for key in ("clean", "robust", "worst_family", "score")
    )
    return replace(row, clean=clean, robust=robust, worst_family=worst_family, score=score)
