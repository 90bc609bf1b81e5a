"""Paired differences drawn from distributions whose mean is known, and how often intervals hold it.

Two kinds of scores. *Normal*: the parts of the two-way layout are normal, sized by the shares of the variance of the
mean that seeds, items and the rest have. *Counts*: for each of two arms, an item is classified rightly or not under 5
conditions, so that a difference is a mean of 5 values out of -1, 0 and 1; the chance of being right is Phi(level + the
item's difficulty + what the arm does to this item + what it does with this seed), all of them normal.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from noise_search.statistics import CONFIDENCE, MeanSquares, error_and_df, moments

SEEDS, ITEMS = (5, 10), (200, 2000)
LEAST_COVERAGE, MOST_FALSE_POSITIVES = 0.93, 0.06
# Of the variance of the mean: seeds, items, rest.
SHARES = {"seeds": (0.90, 0.05, 0.05), "items": (0.05, 0.90, 0.05), "mixed": (0.45, 0.45, 0.10)}
# Standard deviations in units of the probit: of an arm's seeds, times sqrt(seeds / items), and of an arm on an item.
PROBITS = {"seeds": (2.0, 0.3), "items": (0.1, 1.0), "mixed": (1.1, 1.0)}
STANDARD_ERROR, GAIN = 0.01, 0.03  # of normal scores
CONDITIONS, LEVEL, BETTER = 5, 0.8, 0.15  # of counts; `BETTER` is what the gain adds to the level
ENTRIES = 400_000  # of the layouts held at a time: more are slower
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Cell:
    """One cell of the grid: numbers of seeds and items, what dominates the variance, kind of scores, whether null."""

    seeds: int
    items: int
    dominated_by: str
    scores: str
    null: bool


def grid(items: Sequence[int] = ITEMS) -> Iterator[Cell]:
    """Every cell."""
    for values in itertools.product(SEEDS, items, SHARES, ("normal", "counts"), (True, False)):
        yield Cell(*values)


def measure(cell: Cell, simulations: int, rng: np.random.Generator) -> dict[str, Any]:
    """How often intervals of a cell hold the true difference and how often they leave out 0.

    Args:
        cell: Of the grid.
        simulations: Layouts to draw.
        rng: Every draw comes from it.
    """
    at_a_time = max(1, ENTRIES // (cell.seeds * cell.items))
    sizes = [at_a_time] * (simulations // at_a_time) + [simulations % at_a_time]
    truth, parts = true_difference(cell), [_judged(draw(cell, size, rng)) for size in sizes if size]
    mean, error, df, over_seeds = (np.concatenate(values) for values in zip(*parts, strict=True))
    half = error * special.stdtrit(df, (1 + CONFIDENCE) / 2)
    half_over_seeds = over_seeds * special.stdtrit(cell.seeds - 1.0, (1 + CONFIDENCE) / 2)
    called = float((np.abs(mean) > half).mean())
    return {
        **asdict(cell),
        "true_difference": truth,
        "coverage": float((np.abs(mean - truth) <= half).mean()),
        "false_positives" if cell.null else "power": called,
        "coverage_over_seeds_alone": float((np.abs(mean - truth) <= half_over_seeds).mean()),
        "median_df": round(float(np.median(df)), 1),
        "median_half_width": float(np.median(half)),
    }


def between(seeds: int, items: int, of_items: float, layouts: int, rng: np.random.Generator) -> float:
    """Coverage between the cells of the grid, drawn as mean squares of normal scores without a rest.

    Args:
        seeds, items: Size of the layouts.
        of_items: Share of the variance of the mean that items make up; seeds make up the others.
        layouts, rng: How many, drawn from what.
    """
    by_seed = seeds * items * (1 - of_items) * rng.chisquare(seeds - 1, layouts) / (seeds - 1)
    by_item = seeds * items * of_items * rng.chisquare(items - 1, layouts) / (items - 1)
    error, df = error_and_df(MeanSquares(by_seed, by_item, np.zeros(layouts)), seeds, items)
    return float((np.abs(rng.standard_normal(layouts)) <= error * special.stdtrit(df, (1 + CONFIDENCE) / 2)).mean())


def _judged(layouts: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Mean, standard error, degrees of freedom, and the standard error that seeds alone give."""
    by_seed = layouts.mean(axis=-1)
    return (*moments(layouts), by_seed.std(axis=-1, ddof=1) / math.sqrt(by_seed.shape[-1]))


def true_difference(cell: Cell) -> float:
    """The mean over all seeds and items there could be."""
    if cell.null:
        return 0.0
    if cell.scores == "normal":
        return GAIN
    by_seed, by_item = _probits(cell)
    scale = math.sqrt(1 + 1 + by_seed**2 + by_item**2)  # E Phi(a + b N) = Phi(a / sqrt(1 + b^2)); difficulty has b = 1
    return float(special.ndtr((LEVEL + BETTER) / scale) - special.ndtr(LEVEL / scale))


def draw(cell: Cell, layouts: int, rng: np.random.Generator) -> Floats:
    """Layouts of a cell, shape (layouts, seeds, items)."""
    return _normal(cell, layouts, rng) if cell.scores == "normal" else _counts(cell, layouts, rng)


def _normal(cell: Cell, layouts: int, rng: np.random.Generator) -> Floats:
    seeds, items = cell.seeds, cell.items
    by_seed, by_item, rest = (STANDARD_ERROR * math.sqrt(share) for share in SHARES[cell.dominated_by])
    found = rng.standard_normal((layouts, seeds, items))
    found *= rest * math.sqrt(seeds * items)
    found += by_seed * math.sqrt(seeds) * rng.standard_normal((layouts, seeds, 1))
    found += by_item * math.sqrt(items) * rng.standard_normal((layouts, 1, items))
    found += true_difference(cell)
    return found


def _counts(cell: Cell, layouts: int, rng: np.random.Generator) -> Floats:
    difficulty = rng.standard_normal((layouts, 1, cell.items), dtype=np.float32)
    arms = [LEVEL if cell.null else LEVEL + BETTER, LEVEL]
    one, other = (_right(cell, level + difficulty, rng) for level in arms)
    return (one - other) / CONDITIONS


def _right(cell: Cell, probits: NDArray[np.float32], rng: np.random.Generator) -> Floats:
    """Under how many conditions an arm classifies each item rightly, by seed."""
    layouts, _, items = probits.shape
    by_seed, by_item = (np.float32(size) for size in _probits(cell))
    on_items = probits + by_item * rng.standard_normal((layouts, 1, items), dtype=np.float32)
    with_seeds = on_items + by_seed * rng.standard_normal((layouts, cell.seeds, 1), dtype=np.float32)
    chances, right = special.ndtr(with_seeds), np.zeros(with_seeds.shape)
    for _ in range(CONDITIONS):
        right += rng.random(chances.shape, dtype=np.float32) < chances
    return right


def _probits(cell: Cell) -> tuple[float, float]:
    by_seed, by_item = PROBITS[cell.dominated_by]
    return by_seed * math.sqrt(cell.seeds / cell.items), by_item
