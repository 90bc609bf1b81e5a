"""Successive halving without a barrier: which trials go on from a rung, and why the others do not.

At a rung a trial is judged among all that have reached it. The best 1/factor of them go on as soon as that many are
there; the others wait, because later arrivals raise the number that goes on, and are stopped at the end of the sweep.
What decides, in this order:

    diverged       it never goes on
    on the front   it keeps to the limits of the objective, and nothing at the rung that does so beats it in both
                   objectives (with one objective: it is the best of them): it goes on
    protected      too little of its noise has acted to tell: it goes on and is not counted
    overuse        its noise costs accuracy on clean data (see `overuse`): it does not go on
    rank           those that keep to the limits come first, by score; with two objectives by front, then by how much
                   room they have there. Those over a limit come after all of them, by how far over they are

Source: the asynchronous form is that of Li et al., "A System for Massively Parallel Hyperparameter Tuning" (2020); the
rank in two objectives, and that of trials over a limit, are those of Deb et al., "A fast and elitist multiobjective
genetic algorithm: NSGA-II" (2002).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from noise_search.spec import StoppingSpec

PROTECTED_BELOW = 0.10  # share of a trial's noise that must have acted before it is judged
PROTECTED_AT_MOST = 0.25  # share of the trials at a rung
COMPLETE_AT_LEAST = 0.12  # share of the judged trials that train to the end: TPE's good set is the top tenth

Point = tuple[float, float]
Tables = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Standing:
    """How a trial stands at one rung.

    Args:
        number: Of the trial.
        score: What one objective maximises.
        point: Clean and robust accuracy above chance, what two objectives maximise.
        diverged: Whether its loss was not finite.
        protected: Whether too little of its noise has acted, see `is_protected`.
        overuse: Why its noise is called overused; None where it is not.
        over: How far it is over the limits of the objective, summed over them; 0 where it keeps to all.
    """

    number: int
    score: float
    point: Point
    diverged: bool = False
    protected: bool = False
    overuse: str | None = None
    over: float = 0.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a trial may go on from a rung, and why or why not; `place` orders those that may."""

    goes_on: bool
    reason: str
    place: int


def rung_epochs(spec: StoppingSpec, epochs: int) -> tuple[int, ...]:
    """Epochs at which trials are scored and judged, the last of training among them.

    >>> rung_epochs(StoppingSpec("pareto_halving"), 30)
    (3, 10, 30)
    >>> rung_epochs(StoppingSpec("pareto_halving", at=(0.1, 0.67)), 30)
    (3, 20, 30)
    """
    if spec.name == "none":
        return (epochs,)
    shares = spec.at or [spec.factor**-power for power in range(spec.rungs)]
    return tuple(sorted({epochs, *(max(1, round(epochs * share)) for share in shares)}))


def exposures(tables: Tables, at: Sequence[int]) -> tuple[float, ...]:
    """Share of a policy's noise that has acted after so many steps: of its terms the largest; 1 without any noise.

    Args:
        tables: Of a trial's policy, see `Policy.tabulate`.
        at: Numbers of steps.
    """
    sums = [np.concatenate([[0.0], np.cumsum(table.numpy())]) for table in tables.values()]
    acting = [total for total in sums if total[-1] > 0]
    return tuple(max((float(total[step] / total[-1]) for total in acting), default=1.0) for step in at)


def silent_steps(tables: Tables, steps: int) -> int:
    """Steps before the first at which any noise of a policy acts; all of them where none ever does."""
    acting = [np.flatnonzero(table.numpy()) for table in tables.values()]
    return min((int(found[0]) for found in acting if len(found)), default=steps)


def is_protected(exposure: Sequence[float], rung: int) -> bool:
    """Whether a trial is protected at a rung: little of its noise has acted, and a later rung can still judge it.

    Args:
        exposure: At every rung.
        rung: Index of the rung, not the last.
    """
    late = len(exposure) < 2 or exposure[-2] < PROTECTED_BELOW
    return exposure[rung] < PROTECTED_BELOW and not late


@dataclass(frozen=True, slots=True)
class Place:
    """Where a judged trial stands in a ranking.

    Args:
        index: From 0, the best.
        standing: Of the trial.
        on_front: Whether it is on the front of the rung.
        before: How many better ones use up places.
    """

    index: int
    standing: Standing
    on_front: bool
    before: int


@dataclass(frozen=True, slots=True)
class Ranking:
    """All trials that have reached a rung, those that went on or were stopped among them.

    Args:
        places: Of those that are judged, by number, the best first.
        protected: Numbers of the trials that are not judged yet.
        diverged: Numbers of those that never go on.
    """

    places: Mapping[int, Place]
    protected: Collection[int]
    diverged: Collection[int]


def ranked(standings: Sequence[Standing], spec: StoppingSpec) -> Ranking:
    """Rank the trials that have reached a rung by the kind of stopping."""
    protected = _protected(standings)
    judged = [one for one in standings if not one.diverged and one.number not in protected]
    places: dict[int, Place] = {}
    before = 0
    for index, (one, on_front) in enumerate(_ranked(judged, two=spec.name == "pareto_halving")):
        places[one.number] = Place(index, one, on_front, before)
        before += on_front or _may_have_a_place(one, spec)
    return Ranking(places, protected, {one.number for one in standings if one.diverged})


def _may_have_a_place(one: Standing, spec: StoppingSpec) -> bool:
    return one.overuse is None or spec.name == "pareto_halving"


def judge(
    ranking: Ranking, spec: StoppingSpec, *, judged_first: int, of: Collection[int] | None = None
) -> Mapping[int, Verdict]:
    """Verdicts on trials that have reached a rung, by number.

    Args:
        ranking: Of all of them.
        spec: Kind of stopping and its factor.
        judged_first: Trials that were judged at the first rung: a share of them is to train to the end.
        of: Numbers of the trials asked about, of thousands mostly few; None for all.
    """
    judged = len(ranking.places)
    quota = max(int(judged / spec.factor), math.ceil(COMPLETE_AT_LEAST * judged_first))
    of_how_many = f"of {judged}, of which {quota} go on"
    last = judged + len(ranking.protected) + len(ranking.diverged)

    def verdict(number: int) -> Verdict:
        if number in ranking.diverged:
            return Verdict(False, "diverged", last)
        if number in ranking.protected:
            return Verdict(True, "protected: little of its noise has acted", -1)
        place = ranking.places[number]
        has_place = place.before < quota and _may_have_a_place(place.standing, spec)
        return _verdict(place, has_place, f"place {place.index + 1} {of_how_many}")

    asked = (*ranking.diverged, *ranking.protected, *ranking.places) if of is None else of
    return {number: verdict(number) for number in asked}


def _verdict(place: Place, has_place: bool, rank: str) -> Verdict:
    one = place.standing
    if place.on_front:
        return Verdict(True, "on the front", place.index)
    if one.over > 0:
        rank = f"constraint: over by {one.over:.3f}, {rank}"
    elif one.overuse is not None and not has_place:
        rank = f"overuse: {one.overuse}, {rank}"
    return Verdict(has_place, rank, place.index)


def _protected(standings: Sequence[Standing]) -> set[int]:
    """Numbers of the trials that are protected: the earliest, up to a share of all at the rung."""
    room = math.floor(PROTECTED_AT_MOST * len(standings))
    asking = sorted(one.number for one in standings if one.protected and not one.diverged)
    return set(asking[:room])


def _ranked(judged: Sequence[Standing], *, two: bool) -> list[tuple[Standing, bool]]:
    """Best first, each with whether it is on the front; those over a limit last."""
    within = [one for one in judged if one.over <= 0]
    beyond = sorted((one for one in judged if one.over > 0), key=lambda one: (one.over, -one.score, one.number))
    return (_by_fronts(within) if two else _by_score(within)) + [(one, False) for one in beyond]


def _by_score(judged: Sequence[Standing]) -> list[tuple[Standing, bool]]:
    order = sorted(judged, key=lambda one: (-one.score, one.number))
    return [(one, place == 0) for place, one in enumerate(order)]


def _by_fronts(judged: Sequence[Standing]) -> list[tuple[Standing, bool]]:
    if not judged:
        return []
    points = np.array([one.point for one in judged])
    fronts = front_ranks(points)
    room = crowding(points, fronts)
    order = sorted(
        range(len(judged)), key=lambda k: (fronts[k], judged[k].overuse is not None, -room[k], judged[k].number)
    )
    return [(judged[k], fronts[k] == 0) for k in order]


def front_ranks(points: NDArray[np.float64]) -> list[int]:
    """Index of each point's front: 0 for those that no point beats, 1 for those that only such beat, and so on.

    Larger is better in both; a point beats another that it equals in one objective and exceeds in the other.

    Args:
        points: (n, 2).
    """
    unique, back = np.unique(points, axis=0, return_inverse=True)
    ranks = [0] * len(unique)
    best: list[float] = []  # of each front minus the largest second objective so far, rising
    lost = (-unique[:, 1]).tolist()
    for index in np.lexsort((-unique[:, 1], -unique[:, 0])).tolist():
        # Those before have as large a first objective, so the fronts with as large a second one beat this point.
        rank = bisect_right(best, lost[index])
        ranks[index] = rank
        best[rank : rank + 1] = [lost[index]]
    return [ranks[index] for index in back.ravel().tolist()]


def crowding(points: NDArray[np.float64], fronts: Sequence[int]) -> list[float]:
    """Room of each point on its front: distance between its two neighbours there, infinite at the ends.

    Args:
        points: (n, 2).
        fronts: Index of each point's front.
    """
    room, front_of = np.zeros(len(points)), np.array(fronts)
    for front in set(fronts):
        members = np.flatnonzero(front_of == front)
        for objective in range(points.shape[1]):
            values = points[members, objective]
            order = np.argsort(values, kind="stable")
            spread = values[order[-1]] - values[order[0]]
            gaps = np.full(len(members), math.inf)
            gaps[1:-1] = (values[order[2:]] - values[order[:-2]]) / spread if spread > 0 else 0.0
            room[members[order]] += gaps
    return [float(value) for value in room]
