from __future__ import annotations

import importlib
import json
import math
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
SIMULATIONS, ITEMS = 1_000, 40
# A share that is just what is allowed is found beyond this one time in 30,000; there are 24 cells.
ERRORS = 4


@pytest.fixture(scope="module")
def simulated() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "scripts"))
        return importlib.import_module("simulated_intervals")


def slack(share: float) -> float:
    return ERRORS * math.sqrt(share * (1 - share) / SIMULATIONS)


def test_intervals_cover_and_see_nothing_in_a_null_in_every_cell_of_a_small_grid(simulated: ModuleType) -> None:
    for index, cell in enumerate(simulated.grid(items=(ITEMS,))):
        found = simulated.measure(cell, SIMULATIONS, np.random.default_rng([1, index]))
        assert found["coverage"] >= simulated.LEAST_COVERAGE - slack(simulated.LEAST_COVERAGE), found
        allowed = simulated.MOST_FALSE_POSITIVES
        assert found.get("false_positives", 0.0) <= allowed + slack(allowed), found


def test_the_grid_tells_an_interval_over_seeds_alone_from_one_that_covers(simulated: ModuleType) -> None:
    cell = simulated.Cell(5, ITEMS, "items", "normal", null=True)
    found = simulated.measure(cell, SIMULATIONS, np.random.default_rng(2))
    assert found["coverage_over_seeds_alone"] < simulated.LEAST_COVERAGE - slack(simulated.LEAST_COVERAGE)


@pytest.mark.parametrize("scores", ["normal", "counts"])
def test_simulated_differences_have_the_mean_that_is_called_true(scores: str, simulated: ModuleType) -> None:
    cell, layouts = simulated.Cell(5, ITEMS, "mixed", scores, null=False), 4_000
    means = simulated.draw(cell, layouts, np.random.default_rng(3)).mean(axis=(1, 2))
    error = means.std(ddof=1) / math.sqrt(layouts)
    assert abs(means.mean() - simulated.true_difference(cell)) < 4 * error
    assert simulated.true_difference(cell) > 10 * error


@pytest.mark.parametrize(
    ("dominated_by", "seeds"), [("seeds", (0.8, 1.0)), ("items", (0.0, 0.2)), ("mixed", (0.3, 0.7))]
)
def test_counts_are_dominated_by_what_they_are_said_to_be(
    dominated_by: str, seeds: tuple[float, float], simulated: ModuleType
) -> None:
    cell = simulated.Cell(10, 200, dominated_by, "counts", null=True)
    d = simulated.draw(cell, 300, np.random.default_rng(4))
    rest = d - d.mean(axis=1, keepdims=True) - d.mean(axis=2, keepdims=True) + d.mean(axis=(1, 2), keepdims=True)
    of_rest = (rest**2).sum() / (len(d) * 9 * 199)
    of_seeds = d.mean(axis=2).var(axis=1, ddof=1).mean() - of_rest / 200
    of_items = d.mean(axis=1).var(axis=1, ddof=1).mean() - of_rest / 10
    low, high = seeds
    assert low <= of_seeds / 10 / (of_seeds / 10 + of_items / 200) <= high


def test_counts_are_means_of_five_values_of_minus_one_none_and_one(simulated: ModuleType) -> None:
    d = simulated.draw(simulated.Cell(5, ITEMS, "mixed", "counts", null=True), 100, np.random.default_rng(5))
    assert np.array_equal(np.unique(np.rint(5 * d)), np.arange(-5, 6))
    assert np.allclose(5 * d, np.rint(5 * d))


def test_the_committed_grid_is_whole_and_every_cell_of_it_within_its_limits(simulated: ModuleType) -> None:
    path = ROOT / "docs" / "results" / "0.1.0" / "intervals--cpu.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    keys = ("seeds", "items", "dominated_by", "scores", "null")
    assert [tuple(cell[key] for key in keys) for cell in content["cells"]] == [
        tuple(getattr(cell, key) for key in keys) for cell in simulated.grid()
    ]
    assert content["simulations"] >= 4_000
    assert min(cell["coverage"] for cell in content["cells"]) >= simulated.LEAST_COVERAGE
    assert max(cell.get("false_positives", 0) for cell in content["cells"]) <= simulated.MOST_FALSE_POSITIVES
