"""The whole two-stage confirmation on simulated sweeps: what it says of noise that makes no difference, or a gain."""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from scipy import stats

ROOT = Path(__file__).resolve().parents[2]
COMMITTED = ROOT / "docs" / "results" / "0.1.0" / "confirm_null--cpu.json"
SWEEPS = 40
ONE_IN = 1e-3  # chance of failing by bad luck


@pytest.fixture(scope="module")
def simulated() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "scripts"))
        return importlib.import_module("simulated_confirmations")


def small(simulated: ModuleType) -> Any:
    return simulated.Cell(seeds=10, items=120, validation=120, clean=0.97, seed_sd=0.03)


def how_often(found: Sequence[dict[str, Any]], name: str) -> int:
    return sum(bool(one[name]) for one in found)


@pytest.mark.slow
def test_a_winner_of_nothing_beats_no_noise_no_more_often_than_is_allowed_and_would_if_what_chose_measured(
    simulated: ModuleType,
) -> None:
    allowed = int(stats.binom.isf(ONE_IN, SWEEPS, simulated.MOST_FALSE_POSITIVES))
    found = simulated.sweeps(small(simulated), simulated.no_effect, range(SWEEPS))
    for name in ("winner_beats_no_noise", "winner_differs_from_no_noise", "winner_differs_from_any_arm_by_holm"):
        assert how_often(found, name) <= allowed
    wrong = simulated.sweeps(small(simulated), simulated.no_effect, range(SWEEPS), reuse=True)
    assert how_often(wrong, "winner_beats_no_noise") > allowed


@pytest.mark.slow
def test_a_large_gain_of_schedules_is_found_over_no_noise_and_constants_but_not_over_other_schedules(
    simulated: ModuleType,
) -> None:
    found = simulated.sweeps(small(simulated), simulated.gain_of_schedules(15), range(8))
    for name in ("winner_beats_no_noise_by_holm", "gain_of_scheduling"):
        assert how_often(found, name) == len(found)
    assert how_often(found, "gain_of_search") <= 2


def test_a_share_has_the_interval_in_which_the_counted_number_is_not_too_unlikely(simulated: ModuleType) -> None:
    found = simulated.share([True] * 3 + [False] * 17)
    low, high = found["interval"]
    assert stats.binom.sf(2, 20, low) == pytest.approx(0.025, abs=0.001)
    assert stats.binom.cdf(3, 20, high) == pytest.approx(0.025, abs=0.001)
    assert simulated.share([False] * 20)["interval"][0] == 0.0


def test_the_committed_null_is_whole_and_within_its_limit(simulated: ModuleType) -> None:
    content = json.loads(COMMITTED.read_text(encoding="utf-8"))
    assert not content["quick"]
    assert content["cells"].keys() == simulated.CELLS.keys()
    for cell in content["cells"].values():
        assert cell["null"]["sweeps"] >= 1_000
        for name in ("winner_beats_no_noise", "winner_beats_no_noise_by_holm"):
            found = cell["null"]["said"][name]
            assert found["of"] == cell["null"]["sweeps"]
            assert found["share"] == found["found"] / found["of"] <= simulated.MOST_FALSE_POSITIVES
