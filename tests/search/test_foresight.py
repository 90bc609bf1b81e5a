"""The smallest gain that stage 2 shows, foreseen from stage 1, against variances by hand."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from noise_search.metrics import counts_packed, packed
from noise_search.search.evidence import Yard
from noise_search.search.foresight import smallest_gain
from noise_search.statistics import mean_squares, rescaled, smallest_detectable
from noise_search.store import Confirmed

CELLS, CLASSES, SEEDS, ITEMS = 20, 4, 3, 60
YARD = Yard(CLASSES, ITEMS, {"noise": CELLS}, frozenset())


def training(arm: str, seed: int, counts: NDArray[np.int64], *, diverged: bool = False) -> Confirmed:
    hits = {"noise": counts_packed(torch.tensor(counts))}
    return Confirmed("choose", arm, seed, [], {}, {}, packed(torch.ones(ITEMS) > 0), hits, diverged)


def arms_of(counts: NDArray[np.int64]) -> dict[str, list[Confirmed]]:
    """Arms with these hits, (arms, seeds, items)."""
    return {str(arm): [training(str(arm), seed, own[seed]) for seed in range(SEEDS)] for arm, own in enumerate(counts)}


def above_chance(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = (counts / CELLS - 1 / CLASSES) / (1 - 1 / CLASSES)
    return found


def test_where_only_seeds_differ_it_is_that_of_the_race_s_residual() -> None:
    by_training = np.random.default_rng(0).integers(5, 15, size=(4, SEEDS))
    counts = np.repeat(by_training[:, :, None], ITEMS, axis=2)
    scores = above_chance(by_training)
    rest = scores - scores.mean(axis=1, keepdims=True) - scores.mean(axis=0) + scores.mean()
    residual = (rest**2).sum() / ((4 - 1) * (SEEDS - 1))
    expected = smallest_detectable(math.sqrt(2 * residual / 10), 9)
    assert smallest_gain(arms_of(counts), YARD, seeds=10, items=500) == pytest.approx(expected)


def test_where_only_items_differ_more_seeds_show_no_more_and_more_items_do() -> None:
    by_item = np.random.default_rng(1).integers(5, 15, size=(3, ITEMS))
    counts = np.repeat(by_item[:, None, :], SEEDS, axis=1)
    scores = above_chance(by_item)
    variance = np.mean([np.var(one - other, ddof=1) for one, other in combinations(scores, 2)])
    for seeds, items in ((5, 400), (10, 400), (5, 1600)):
        expected = smallest_detectable(math.sqrt(variance / items), items - 1)
        assert smallest_gain(arms_of(counts), YARD, seeds=seeds, items=items) == pytest.approx(expected)


def test_an_arm_that_diverged_is_left_out_and_a_single_one_foresees_nothing() -> None:
    counts = np.random.default_rng(2).integers(0, CELLS, size=(3, SEEDS, ITEMS))
    arms = arms_of(counts)
    gone = {**arms, "gone": [training("gone", seed, counts[0, seed], diverged=True) for seed in range(SEEDS)]}
    assert smallest_gain(gone, YARD, seeds=5, items=100) == smallest_gain(arms, YARD, seeds=5, items=100)
    assert smallest_gain({"0": arms["0"]}, YARD, seeds=5, items=100) is None


def test_arms_that_never_differ_leave_nothing_too_small_to_be_seen() -> None:
    counts = np.full((2, SEEDS, ITEMS), 7)
    assert smallest_gain(arms_of(counts), YARD, seeds=5, items=100) == 0.0


def test_mean_squares_of_another_size_are_those_that_layouts_of_that_size_have_in_the_mean() -> None:
    rng = np.random.default_rng(3)

    def layouts(seeds: int, items: int) -> NDArray[np.float64]:
        found: NDArray[np.float64] = rng.standard_normal((4_000, seeds, items)) * 0.5
        return found + rng.standard_normal((4_000, seeds, 1)) * 0.3 + rng.standard_normal((4_000, 1, items)) * 0.4

    small, large = mean_squares(layouts(3, 10)), mean_squares(layouts(6, 25))
    expected = rescaled(type(small)(*(part.mean() for part in small)), of=(3, 10), to=(6, 25))
    for ours, theirs in zip(expected, large, strict=True):
        assert float(ours) == pytest.approx(float(theirs.mean()), rel=0.05)
