"""What is said of a member that has several results."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

from simulations import NAME, run

from noise_search.search.results import last_scores
from noise_search.store import locate, open_store


def test_the_last_scores_of_a_member_are_its_means_over_seeds_at_its_last_rung(tmp_path: Path) -> None:
    run(tmp_path, "stopping=halving", "budget.seeds=2", "budget.trials=8")
    with open_store(locate(tmp_path), create=False) as store:
        sweep_id = store.sweep(NAME).id
        found, results = last_scores(store, sweep_id), store.results(sweep_id)
    ends = {row.member_id: max(other.epoch for other in results if other.member_id == row.member_id) for row in results}
    assert len(set(ends.values())) > 1
    assert found.keys() == ends.keys()
    for member_id, epoch in ends.items():
        rows = [row for row in results if (row.member_id, row.epoch) == (member_id, epoch)]
        assert len(rows) == 2
        assert found[member_id] == {key: fmean(row.scores[key] for row in rows) for key in rows[0].scores}
