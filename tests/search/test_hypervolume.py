from __future__ import annotations

import numpy as np
import optuna._hypervolume as oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noise_search.search.hypervolume import front_hypervolume, hypervolume

POINTS = st.lists(st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 1.0)), min_size=1, max_size=20)


@given(POINTS)
def test_it_is_what_optuna_computes(points: list[tuple[float, float]]) -> None:
    inside = np.array([point for point in points if point[0] > 0.2 and point[1] > 0.3]).reshape(-1, 2)
    expected = oracle.compute_hypervolume(-inside, np.array([-0.2, -0.3])) if len(inside) else 0.0
    assert hypervolume(points, (0.2, 0.3)) == pytest.approx(expected, abs=1e-12)


def test_who_is_below_the_reference_counts_for_nothing() -> None:
    assert hypervolume([(0.1, 0.9), (0.9, 0.1)], (0.5, 0.5)) == 0.0
    assert hypervolume([], (0.5, 0.5)) == 0.0


def test_a_front_is_measured_from_five_points_below_the_controls_clean_accuracy() -> None:
    assert front_hypervolume([(0.9, 0.7)], control=(0.9, 0.6)) == pytest.approx(0.05 * 0.1)
    assert front_hypervolume([(0.84, 0.9)], control=(0.9, 0.6)) == 0.0
