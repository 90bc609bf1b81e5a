"""How far the best trial is ahead of the best control, and by how much chance alone would have it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sweep_examples import NAME, Quitter, drive, finished_store, plan

from noise_search.search.fronts import complete_rows, front_rows
from noise_search.search.leads import Lead, lead
from noise_search.store import locate, open_store


def lead_in(folder: Path) -> Lead | None:
    with open_store(locate(folder), create=False) as store:
        sweep = store.sweep(NAME)
        return lead(store, sweep, front_rows(store, sweep.id))


def test_a_lead_is_that_of_the_best_trial_over_the_best_control() -> None:
    with open_store(locate(finished_store()), create=False) as store:
        rows = complete_rows(store, store.sweep(NAME).id)
    best = max((row for row in rows if row.control), key=lambda row: row.score)
    found = lead_in(finished_store())
    assert found is not None
    assert (found.control, found.score) == (best.control, best.score)
    assert found.by == max(row.score for row in rows if row.control is None) - best.score


def test_its_error_is_that_of_two_counts_of_independent_samples() -> None:
    found = lead_in(finished_store())
    assert found is not None
    samples = len(plan().dataset.validation)
    assert samples <= found.samples < samples + 8
    accuracy = 0.1 + 0.9 * found.score  # ten classes
    counts = np.random.default_rng(0).binomial(samples, accuracy, size=(2, 200_000))
    scores = (counts / samples - 0.1) / 0.9
    assert found.error == pytest.approx(float(np.std(scores[0] - scores[1])), rel=0.02)


def test_before_a_trial_is_complete_there_is_no_lead(tmp_path: Path) -> None:
    drive(tmp_path, reporter=Quitter(jobs=1))
    assert lead_in(tmp_path) is None
