"""What a reporter is told of sweeps in which not everybody trains to the end: all of the work in the end."""

from __future__ import annotations

from pathlib import Path

import pytest
from simulations import EPOCHS, Counting, run, trials_in

from noise_search.execute.simulated import noisy_curves
from noise_search.training import Job

CONTROLS = 3
TRIALS = 24


@pytest.mark.parametrize("overrides", [(), ("stopping=pareto_halving", "objective=pareto")], ids=["none", "halving"])
def test_trials_that_diverge_or_are_stopped_early_count_to_the_end(overrides: tuple[str, ...], tmp_path: Path) -> None:
    counted = Counting()
    run(tmp_path, *overrides, curve=noisy_curves(0, epochs=EPOCHS, diverging=0.5), reporter=counted)
    assert "infeasible" in {trial.state for trial in trials_in(tmp_path).values()}
    assert counted.done == counted.total == (CONTROLS + TRIALS) * EPOCHS


def test_a_trial_that_is_given_up_counts_to_the_end(tmp_path: Path) -> None:
    def before(_number: int, job: Job) -> None:
        if any(slot.name == "9" for slot in job.members):
            raise RuntimeError("a bad layer")

    counted = Counting()
    run(tmp_path, "stopping=halving", "budget.seeds=2", before_job=before, reporter=counted)
    assert "failed" in {trial.state for trial in trials_in(tmp_path).values()}
    assert counted.done == counted.total == (CONTROLS + TRIALS) * EPOCHS * 2
