from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sweep_examples import BUDGET, NAME, drive, findings, finished_store

from noise_search.search.fronts import complete_rows, front_rows, pareto
from noise_search.store import Store, locate, open_store

# Few different values, so that ties and duplicates are the rule.
POINTS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)).map(lambda pair: (pair[0] / 4, pair[1] / 4)))


def _beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one[0] >= other[0] and one[1] >= other[1] and (one[0] > other[0] or one[1] > other[1])


@given(POINTS)
def test_the_front_is_every_point_that_none_beats(points: list[tuple[float, float]]) -> None:
    expected = []
    for point in points:
        beaten = False
        for rival in points:
            beaten = beaten or _beats(rival, point)
        if not beaten:
            expected.append(point)
    assert pareto(points) == expected


@given(POINTS.filter(bool))
def test_every_point_off_the_front_is_beaten_by_one_on_it(points: list[tuple[float, float]]) -> None:
    front = pareto(points)
    assert front
    assert all(point in front or any(_beats(best, point) for best in front) for point in points)


def test_equal_points_are_all_on_the_front() -> None:
    assert pareto([(0.5, 0.5), (0.5, 0.5), (0.5, 0.4)]) == [(0.5, 0.5), (0.5, 0.5)]


def test_of_points_equal_in_one_number_the_better_in_the_other_is_on_the_front() -> None:
    assert pareto([(0.9, 0.5), (0.9, 0.6), (0.8, 0.6)]) == [(0.9, 0.6)]


def test_nothing_has_an_empty_front() -> None:
    assert pareto([]) == []


def test_the_rows_are_the_front_most_robust_first_and_then_every_control() -> None:
    with open_store(locate(finished_store()), create=False) as store:
        sweep_id = store.sweep(NAME).id
        rows, everything = front_rows(store, sweep_id), complete_rows(store, sweep_id)
    scores = {name: json.loads(text)["scores"] for name, text in findings(finished_store()).items()}
    points = {
        number: (scores[f"trial {number}"]["clean"], scores[f"trial {number}"]["robust"]) for number in range(BUDGET)
    }
    best = [n for n in points if not any(_beats(rival, points[n]) for rival in points.values())]
    front = [row for row in rows if row.control is None]
    assert sorted(row.trial for row in front if row.trial is not None) == best
    assert all(row.on_front for row in front)
    assert [row.robust for row in front] == sorted((row.robust for row in front), reverse=True)
    assert [row.control for row in rows[len(front) :]] == ["no_noise", "constant_1", "random_1"]
    assert [row.trial for row in everything] == [None] * 3 + list(range(BUDGET))
    for row in everything:
        own = scores[f"control {row.control}" if row.control else f"trial {row.trial}"]
        assert (row.clean, row.robust, row.worst_family) == (own["clean"], own["robust"], own["worst_family"])
        assert (row.robust_weights, row.score) == (own["robust_weights"], own["score"])


def test_a_control_is_never_on_the_front_however_good() -> None:
    with open_store(locate(finished_store()), create=False) as store:
        rows = complete_rows(store, store.sweep(NAME).id)
    assert not any(row.on_front for row in rows if row.control)


@pytest.mark.parametrize("read_first", ["members", "rung_scores"])
def test_while_trials_complete_the_front_has_only_those_whose_scores_it_has(
    read_first: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest of the sweep runs between what is read first and what is read next, whichever that is."""
    drive(tmp_path, "budget.trials=2")
    read = getattr(Store, read_first)

    def read_and_run(self: Store, *arguments: Any, **options: Any) -> Any:
        found = read(self, *arguments, **options)
        monkeypatch.undo()
        drive(tmp_path)
        return found

    monkeypatch.setattr(Store, read_first, read_and_run)
    with open_store(locate(tmp_path), create=False) as store:
        rows = complete_rows(store, store.sweep(NAME).id)
        assert {row.trial for row in rows if row.trial is not None} >= {0, 1}
        assert all(0 <= row.score <= 1 for row in rows)
