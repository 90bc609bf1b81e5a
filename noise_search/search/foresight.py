"""What stage 2 of a confirmation can show, foreseen from stage 1, before test is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from noise_search.search.evidence import Yard, item_scores
from noise_search.statistics import MeanSquares, error_and_df, mean_squares, rescaled, smallest_detectable
from noise_search.store import Confirmed


def smallest_gain(arms: Mapping[str, Sequence[Confirmed]], yard: Yard, *, seeds: int, items: int) -> float | None:
    """Smallest true gain in robust accuracy above chance that stage 2 shows in 4 of 5 cases; None of a single arm.

    From the mean squares of the differences between every two arms of stage 1, their means over all pairs: between
    seeds that is twice the residual of the race. Their parts are what stage 2 has with its numbers of seeds and items.

    Args:
        arms: Trainings of arms with all seeds of stage 1, at least two; those that diverged are left out.
        yard: What these were scored on.
        seeds, items: Of stage 2.
    """
    layouts = [item_scores(own, yard).over_families() for own in arms.values() if not any(one.diverged for one in own)]
    pairs = [mean_squares(one - other) for one, other in combinations(layouts, 2)]
    if not pairs:
        return None
    squares = MeanSquares(*(np.mean(part) for part in zip(*pairs, strict=True)))
    there = rescaled(squares, of=layouts[0].shape, to=(seeds, items))
    error, df = error_and_df(there, seeds, items)
    return smallest_detectable(float(error), float(df)) if error > 0 else 0.0
