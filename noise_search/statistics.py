"""What may be said of a difference between two arms: its interval, its p-value, and the smallest one that shows.

Both arms are trained with the same seeds and scored on the same items, so everything here works on paired differences
d[seed, item] of item scores. Seeds and items are both draws from more of their kind, and a mean of d over both has the
variance

    Var = seed variance / s + item variance / n + rest / (s n)    for s seeds and n items.

The mean squares of the two-way layout without repetition estimate it: E MS_S = rest + n seed, E MS_I = rest + s item,
E MS_E = rest, so Var = (MS_S + MS_I - MS_E) / (s n). The spread between seeds, MS_S, already holds the rest; what items
add to it is max(0, MS_I - MS_E), and where that is nothing the interval is the t interval over seeds alone. Few seeds
can lie closer together by chance than the rest alone spreads them, three of them on one point: MS_E is the floor of
MS_S, with the degrees of freedom that seeds have.

**Item scores are linear, published numbers are not.** The score of item i is sum_c w_c (right_ci - 1/K) / (1 - 1/K)
over the cells c (kind and severity) that it is seen in, w_c being the cell's weight in R, a mean of means; for clean
accuracy there is one cell. Its mean over items is R without the clip at chance of `metrics.above_chance`, which acts on
the accuracy of a whole cell. A published R is therefore never lower than the mean of item scores, and equal to it
unless a model is worse than chance in some cell. A difference and its interval are those of the mean of item scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from noise_search.errors import CallerError, raise_if_any

CONFIDENCE = 0.95
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """Mean difference between two arms, and how well it is known.

    Args:
        mean: Over seeds and items.
        low, high: Ends of its interval.
        p_value: Of the hypothesis that there is no difference, two-sided, from the same statistic: under 1 minus the
            confidence just where the interval leaves out 0.
        df: Degrees of freedom of the interval.
        standard_error: Of the mean.
        n_seeds, n_items: What it was measured with.
    """

    mean: float
    low: float
    high: float
    p_value: float
    df: float
    standard_error: float
    n_seeds: int
    n_items: int


@dataclass(frozen=True, slots=True)
class NonInferiority:
    """Whether an arm loses less than a margin.

    Args:
        difference: With its two-sided interval.
        margin: Loss that is still allowed, above 0.
        p_value: Of the hypothesis that it loses `margin` or more, one-sided.
        holds: Whether the whole interval lies above -margin: with 95 % confidence, `p_value` under 0.025.
    """

    difference: PairedDifference
    margin: float
    p_value: float
    holds: bool


class MeanSquares(NamedTuple):
    """Of the two-way layout: between seeds, between items, and of what neither explains."""

    seeds: Floats
    items: Floats
    rest: Floats


class Moments(NamedTuple):
    """Mean, its standard error and the degrees of freedom of that, over the leading axes of the layouts."""

    mean: Floats
    standard_error: Floats
    df: Floats


def moments(differences: Floats) -> Moments:
    """Moments of many layouts at once, as `paired_difference` uses them; the input is trusted.

    Args:
        differences: Shape (..., seeds, items), at least two of each.

    Source: Satterthwaite 1946, Biometrics Bulletin 2, for the degrees of freedom.
    """
    seeds, items = differences.shape[-2:]
    return Moments(differences.mean(axis=-1).mean(axis=-1), *error_and_df(mean_squares(differences), seeds, items))


def mean_squares(differences: Floats) -> MeanSquares:
    """Mean squares of layouts, shape (..., seeds, items), at least two of each."""
    seeds, items = differences.shape[-2:]
    by_seed, by_item = differences.mean(axis=-1), differences.mean(axis=-2)
    mean = by_seed.mean(axis=-1)
    rest = differences - by_seed[..., :, None] - by_item[..., None, :] + mean[..., None, None]
    return MeanSquares(
        seeds=items * by_seed.var(axis=-1, ddof=1),
        items=seeds * by_item.var(axis=-1, ddof=1),
        rest=np.square(rest, out=rest).sum(axis=(-2, -1)) / ((seeds - 1) * (items - 1)),
    )


def rescaled(squares: MeanSquares, *, of: tuple[int, int], to: tuple[int, int]) -> MeanSquares:
    """Mean squares that layouts of another size are expected to have, a negative part of the variance being none.

    Args:
        squares: Mean squares.
        of, to: Seeds and items of the layouts that gave them, and of the others.
    """
    seeds = np.maximum(0.0, squares.seeds - squares.rest) / of[1]
    items = np.maximum(0.0, squares.items - squares.rest) / of[0]
    return MeanSquares(squares.rest + to[1] * seeds, squares.rest + to[0] * items, squares.rest)


def error_and_df(squares: MeanSquares, seeds: int, items: int) -> tuple[Floats, Floats]:
    """Standard error of a mean over a layout, and Satterthwaite's degrees of freedom of it.

    Args:
        squares: Mean squares of the layout.
        seeds, items: Its size.
    """
    df_seeds, df_items, df_rest = seeds - 1, items - 1, (seeds - 1) * (items - 1)
    of_seeds, adds = np.maximum(squares.seeds, squares.rest), squares.items > squares.rest
    total = of_seeds + np.where(adds, squares.items - squares.rest, 0.0)
    of_items = np.where(adds, squares.items**2 / df_items + squares.rest**2 / df_rest, 0.0)
    spread = of_seeds**2 / df_seeds + of_items
    df = np.divide(total**2, spread, out=np.full_like(total, df_seeds), where=spread > 0)  # else nothing varies
    return np.sqrt(total / (seeds * items)), df


def paired_difference(differences: ArrayLike, *, confidence: float = CONFIDENCE) -> PairedDifference:
    """Mean difference between two arms with a t interval over seeds and items.

    Args:
        differences: One arm minus the other, shape (seeds, items): the same seeds and items in both.
        confidence: Of the interval.

    Raises:
        CallerError: For fewer than two seeds or items, and numbers that are not finite.

    Source: own; the variance of a crossed two-way random layout, see the module.

    >>> found = paired_difference([[0.1, 0.3], [0.2, 0.4], [0.3, 0.5]])
    >>> round(found.mean, 3), round(found.standard_error, 4), found.n_seeds
    (0.3, 0.1155, 3)
    """
    layout = _layout(differences)
    mean, error, df = (float(value) for value in moments(layout))
    half = float(special.stdtrit(df, (1 + confidence) / 2)) * error
    return PairedDifference(
        mean=mean,
        low=mean - half,
        high=mean + half,
        p_value=min(1.0, 2 * _above(abs(mean), error, df)),
        df=df,
        standard_error=error,
        n_seeds=layout.shape[0],
        n_items=layout.shape[1],
    )


def non_inferiority(differences: ArrayLike, margin: float, *, confidence: float = CONFIDENCE) -> NonInferiority:
    """Whether the first arm loses less than `margin` against the other.

    Args:
        differences: As for `paired_difference`, higher being better.
        margin: Above 0, in the unit of the differences.
        confidence: Of the two-sided interval that must lie above -margin.

    Raises:
        CallerError: For a margin that is none, and what `paired_difference` refuses.
    """
    if not 0 < margin < float("inf"):
        raise CallerError(f"margin: expected a number above 0, got {margin!r}")
    found = paired_difference(differences, confidence=confidence)
    p_value = _above(found.mean + margin, found.standard_error, found.df)
    return NonInferiority(found, margin, p_value, found.low > -margin)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for being a family, in the order given.

    Where those under alpha are called differences, the chance of even one false call is at most alpha, whatever
    depends on what.

    Raises:
        CallerError: For what is no p-value.

    Source: Holm 1979, Scandinavian Journal of Statistics 6.

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    raise_if_any(
        [
            f"p_values[{index}]: expected a number in [0, 1], got {p!r}"
            for index, p in enumerate(p_values)
            if not 0 <= p <= 1
        ]
    )
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def smallest_detectable(standard_error: float, df: float, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """Smallest true difference that a two-sided test at `alpha` calls one with probability `power`.

    Args:
        standard_error, df: Of the mean difference, as `paired_difference` gives them, or as they are expected.
        alpha: Of the test.
        power: Chance of finding it.

    Source: the non-central t distribution, leaving out the chance of a call in the wrong direction.

    >>> round(smallest_detectable(0.01, 4), 4)
    0.0376
    """
    critical = special.stdtrit(df, 1 - alpha / 2)
    return float(standard_error * special.nctdtrinc(df, 1 - power, critical))


def _layout(differences: ArrayLike) -> Floats:
    layout = np.asarray(differences, dtype=np.float64)
    if layout.ndim != 2:
        raise CallerError(f"differences: expected an array of seeds and items, got one of {layout.ndim} axes")
    mistakes = [
        f"differences: expected at least two {name}, got {count}; {why}"
        for name, count, why in zip(("seeds", "items"), layout.shape, _WHY_TWO, strict=True)
        if count < 2
    ]
    raise_if_any(mistakes)
    if not np.isfinite(layout).all():
        raise CallerError(f"differences: expected finite numbers, got {int((~np.isfinite(layout)).sum())} others")
    return layout


_WHY_TWO = ("train with more: one seed says nothing of how much seeds differ", "score on more")


def _above(distance: float, error: float, df: float) -> float:
    """Chance of a t statistic above distance / error; where nothing varies, 0 or 1, and 0.5 for no distance."""
    if error > 0:
        return float(special.stdtr(df, -distance / error))
    return 0.5 - 0.5 * float(np.sign(distance))


def p_text(p_value: float) -> str:
    """A p-value to three digits, never as 0.

    >>> p_text(0.0371), p_text(2e-9)
    ('0.037', '<0.001')
    """
    return f"{p_value:.3f}" if p_value >= 0.0005 else "<0.001"


def points_text(mean: float, low: float, high: float) -> str:
    """A difference of accuracies in points, with its interval.

    >>> points_text(0.0512, -0.01, 0.0924)
    '+5.1 [-1.0, +9.2]'
    """
    return f"{100 * mean:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
