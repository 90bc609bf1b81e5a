"""Scores of an arm of a confirmation as they are published, with intervals: what cards and pages show of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from scipy import special

from noise_search.metrics import robust
from noise_search.policy.evidence import SCORES
from noise_search.search.confirmed import kinds_of
from noise_search.search.evidence import PUBLISHED, Items, Yard, item_scores
from noise_search.statistics import CONFIDENCE, paired_difference
from noise_search.store import Confirmed

Numbers = dict[str, float]


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and the ends of its interval."""

    mean: float
    low: float
    high: float


def arm_scores(own: Sequence[Confirmed], yard: Yard) -> dict[str, Interval]:
    """Scores of an arm as published, means over seeds, each with its interval.

    Means over samples have the half width that their item scores have over seeds and samples: what a published number
    cuts off at chance only makes it vary less. The others have a t interval over seeds. Intervals of two arms can
    overlap by far where that of their difference leaves out 0: arms share seeds and samples.

    Args:
        own: Trainings of the arm, at least two seeds.
        yard: What they were scored on.
    """
    by_seed = _by_seed(own, yard)
    halves = {name: _half(layout) for name, layout in _layouts(own, yard)}
    found = {}
    for name in (name for name in SCORES if name in by_seed[0]):
        values = [one[name] for one in by_seed]
        mean, half = fmean(values), halves[name] if name in halves else _half_over_seeds(values)
        found[name] = Interval(mean, mean - half, mean + half)
    return found


def _layouts(own: Sequence[Confirmed], yard: Yard) -> Iterator[tuple[str, Items]]:
    """Item scores, (seeds, items), by the name of their mean."""
    items = item_scores(own, yard)
    yield "clean", items.clean
    for name, families in _parts(yard).items():
        rows = [index for index, family in enumerate(yard.cells) if family in families]
        yield name, items.robust[:, rows].mean(axis=1)


def _by_seed(own: Sequence[Confirmed], yard: Yard) -> list[Numbers]:
    """Published scores for each seed: of several trainings with one seed, as of random policies, their mean."""
    seeds = sorted({one.seed for one in own})
    found = []
    for seed in seeds:
        scores = [_published(one, yard) for one in own if one.seed == seed]
        found.append({name: fmean(one[name] for one in scores) for name in scores[0]})
    return found


def _published(one: Confirmed, yard: Yard) -> Numbers:
    cells = {kind: one.cells[kind] for kinds in kinds_of(one.cells).values() for kind in kinds}
    of_family = dict.fromkeys(yard.cells, 0.0) if one.diverged else robust(cells, kinds_of(one.cells), yard.classes)
    parts = {name: fmean(of_family[family] for family in own) for name, own in _parts(yard).items()}
    return parts | {name: one.scores[name] for name in PUBLISHED}


def _parts(yard: Yard) -> dict[str, list[str]]:
    """Families that each robust score is a mean over; none without families."""
    parts = {
        "robust": list(yard.cells),
        "robust_seen": [family for family in yard.cells if family in yard.seen],
        "robust_unseen": [family for family in yard.cells if family not in yard.seen],
    }
    return {name: families for name, families in parts.items() if families}


def _half(layout: Items) -> float:
    found = paired_difference(layout)
    return found.high - found.mean


def _half_over_seeds(values: Sequence[float]) -> float:
    error = float(np.std(values, ddof=1)) / len(values) ** 0.5
    return float(special.stdtrit(len(values) - 1, (1 + CONFIDENCE) / 2) * error)
