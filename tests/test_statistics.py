from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from noise_search.errors import CallerError
from noise_search.statistics import holm, moments, non_inferiority, paired_difference, smallest_detectable

Floats = NDArray[np.float64]
SIZES = st.integers(2, 6)
P_VALUES = st.lists(st.floats(0, 1), max_size=6)


def layouts(seed: int, seeds: int, items: int) -> Floats:
    """Differences in which seeds, items and the rest all vary."""
    rng = np.random.default_rng(seed)
    parts = (rng.standard_normal(shape) for shape in ((seeds, 1), (1, items), (seeds, items)))
    return np.asarray(sum(parts)) + 0.5


def mean_squares(d: Floats) -> tuple[float, float, float]:
    """Of seeds, items and the rest, from sums of squares as textbooks have them."""
    s, n = d.shape
    correction = d.sum() ** 2 / (s * n)
    seeds = sum(row.sum() ** 2 for row in d) / n - correction
    items = sum(column.sum() ** 2 for column in d.T) / s - correction
    rest = (d**2).sum() - correction - seeds - items
    return seeds / (s - 1), items / (n - 1), rest / ((s - 1) * (n - 1))


# --- the interval


@given(st.integers(0, 1000), SIZES, SIZES)
def test_the_variance_adds_to_that_of_seeds_what_items_have_beyond_it(seed: int, s: int, n: int) -> None:
    d = layouts(seed, s, n)
    found, (by_seed, by_item, rest) = paired_difference(d), mean_squares(d)
    assert found.mean == pytest.approx(d.mean())
    assert found.standard_error**2 == pytest.approx((max(by_seed, rest) + max(0.0, by_item - rest)) / (s * n))
    assert (found.n_seeds, found.n_items) == (s, n)


@given(st.integers(0, 1000), SIZES, SIZES)
def test_degrees_of_freedom_are_satterthwaites_over_the_mean_squares_that_are_used(seed: int, s: int, n: int) -> None:
    d = layouts(seed, s, n)
    by_seed, by_item, rest = mean_squares(d)
    used = [(max(by_seed, rest), s - 1)]
    if by_item > rest:
        used += [(by_item, n - 1), (-rest, (s - 1) * (n - 1))]
    expected = sum(part for part, _ in used) ** 2 / sum(part**2 / df for part, df in used)
    assert paired_difference(d).df == pytest.approx(expected)


def test_seeds_that_land_on_one_point_by_chance_do_not_make_an_interval_of_no_width() -> None:
    right = np.array([[1, 0, 0, 1, 0, 0], [0, 1, 0, 0, 1, 0], [0, 0, 1, 0, 0, 1]], dtype=float)  # a third, each time
    found = paired_difference(right)
    _, _, rest = mean_squares(right)
    half = stats.t.ppf(0.975, 2) * math.sqrt(rest / right.size)
    assert (found.low, found.high) == pytest.approx((1 / 3 - half, 1 / 3 + half))
    assert rest > 0


def test_items_that_are_all_alike_leave_the_t_test_over_seeds() -> None:
    by_seed = np.array([0.1, 0.4, -0.2, 0.3, 0.25])
    found = paired_difference(np.repeat(by_seed[:, None], 7, axis=1))
    expected = stats.ttest_1samp(by_seed, 0.0)
    assert found.p_value == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval()))
    assert found.df == pytest.approx(4)


def test_seeds_that_are_all_alike_leave_the_t_test_over_items() -> None:
    by_item = np.array([0.1, 0.4, -0.2, 0.3, 0.25, 0.9])
    found = paired_difference(np.repeat(by_item[None, :], 3, axis=0))
    expected = stats.ttest_1samp(by_item, 0.0)
    assert found.p_value == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval()))
    assert found.df == pytest.approx(5)


@given(st.integers(0, 1000), st.sampled_from([0.5, 0.8, 0.95, 0.99]))
def test_the_interval_leaves_out_nothing_just_where_the_p_value_is_under_one_minus_confidence(
    seed: int, confidence: float
) -> None:
    found = paired_difference(layouts(seed, 4, 5), confidence=confidence)
    assert (found.low > 0 or found.high < 0) == (found.p_value < 1 - confidence)


@given(st.integers(0, 1000), st.floats(0.01, 100))
def test_arms_that_change_places_turn_the_sign_and_another_unit_the_scale(seed: int, unit: float) -> None:
    d = layouts(seed, 3, 4)
    one, other = paired_difference(d), paired_difference(-unit * d)
    assert (other.low, other.mean, other.high) == pytest.approx((-unit * one.high, -unit * one.mean, -unit * one.low))
    assert (other.p_value, other.df) == pytest.approx((one.p_value, one.df))


def test_many_layouts_at_once_are_each_as_by_itself() -> None:
    many = np.stack([layouts(seed, 4, 5) for seed in range(6)]).reshape(2, 3, 4, 5)
    found = moments(many)
    for index in np.ndindex(2, 3):
        alone = paired_difference(many[index])
        values = (float(part[index]) for part in found)
        assert tuple(values) == pytest.approx((alone.mean, alone.standard_error, alone.df))


def test_the_layout_itself_is_left_as_it_is() -> None:
    d = layouts(0, 3, 4)
    before = d.copy()
    paired_difference(d)
    assert np.array_equal(d, before)


@pytest.mark.parametrize(("value", "p_value"), [(0.0, 1.0), (0.25, 0.0), (-0.25, 0.0)])
def test_where_nothing_varies_the_interval_is_one_point(value: float, p_value: float) -> None:
    found = paired_difference(np.full((3, 4), value))
    assert (found.low, found.mean, found.high) == (value, value, value)
    assert (found.standard_error, found.df, found.p_value) == (0.0, 2.0, p_value)


@pytest.mark.parametrize(
    ("differences", "mistake"),
    [
        (np.zeros((1, 5)), "expected at least two seeds, got 1; train with more: one seed says nothing of how much"),
        (np.zeros((5, 1)), "expected at least two items, got 1; score on more"),
        (np.zeros((0, 3)), "expected at least two seeds, got 0"),
        (np.zeros(5), "expected an array of seeds and items, got one of 1 axes"),
        (np.array([[0.0, math.nan], [math.inf, 1.0]]), "expected finite numbers, got 2 others"),
    ],
)
def test_differences_that_say_nothing_are_refused(differences: Floats, mistake: str) -> None:
    with pytest.raises(CallerError) as error:
        paired_difference(differences)
    assert error.value.mistakes[0].startswith(f"differences: {mistake}")


# --- not worse


@given(st.integers(0, 1000), st.floats(0.01, 3))
def test_an_arm_is_not_inferior_where_its_interval_lies_above_minus_the_margin(seed: int, margin: float) -> None:
    d = layouts(seed, 4, 5) - 0.5
    found = non_inferiority(d, margin)
    assert found.difference == paired_difference(d)
    assert found.holds == (found.difference.low > -margin) == (found.p_value < 0.025)


def test_the_p_value_of_non_inferiority_is_that_of_a_one_sided_t_test_against_the_margin() -> None:
    by_seed = np.array([-0.004, 0.002, -0.006, 0.001, -0.003])
    found = non_inferiority(np.repeat(by_seed[:, None], 4, axis=1), 0.01)
    assert found.p_value == pytest.approx(stats.ttest_1samp(by_seed, -0.01, alternative="greater").pvalue)
    assert found.holds


@pytest.mark.parametrize("margin", [0.0, -0.01, math.nan, math.inf])
def test_a_margin_that_is_none_is_refused(margin: float) -> None:
    with pytest.raises(CallerError, match="margin: expected a number above 0, got"):
        non_inferiority(np.zeros((2, 2)), margin)


# --- families


def rejected(p_values: list[float], alpha: float) -> list[bool]:
    """Holm's procedure as he states it: from the smallest on, until one is not under alpha over those left."""
    found = [False] * len(p_values)
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        if p_values[index] * (len(p_values) - rank) > alpha:
            break
        found[index] = True
    return found


@given(P_VALUES, st.floats(0.001, 0.999))
def test_adjusted_p_values_are_at_most_alpha_where_holms_procedure_rejects(p_values: list[float], alpha: float) -> None:
    assert [p <= alpha for p in holm(p_values)] == rejected(p_values, alpha)


def test_adjusted_p_values_keep_their_places() -> None:
    for order in itertools.permutations([0.01, 0.02, 0.4]):
        assert dict(zip(order, holm(order), strict=True)) == pytest.approx({0.01: 0.03, 0.02: 0.04, 0.4: 0.4})


@pytest.mark.parametrize("p", [-0.1, 1.1, math.nan])
def test_what_is_no_p_value_is_refused(p: float) -> None:
    with pytest.raises(CallerError, match=r"p_values\[1\]: expected a number in \[0, 1\], got"):
        holm([0.5, p])


# --- the smallest gain that shows


@pytest.mark.parametrize("df", [2.5, 4, 9, 120])
@pytest.mark.parametrize(("alpha", "power"), [(0.05, 0.8), (0.01, 0.9)])
def test_the_smallest_detectable_difference_is_found_with_that_power(df: float, alpha: float, power: float) -> None:
    critical = stats.t.ppf(1 - alpha / 2, df)
    found = smallest_detectable(0.02, df, alpha=alpha, power=power)
    assert stats.nct.sf(critical, df, found / 0.02) == pytest.approx(power, abs=1e-6)


def test_differences_of_that_size_are_called_in_four_experiments_of_five() -> None:
    rng, experiments = np.random.default_rng(0), 20_000
    means = smallest_detectable(1.0, 4) + rng.standard_normal(experiments)
    errors = np.sqrt(rng.chisquare(4, experiments) / 4)
    called = (np.abs(means / errors) > stats.t.ppf(0.975, 4)).mean()
    assert abs(called - 0.8) < 4 * math.sqrt(0.8 * 0.2 / experiments)
