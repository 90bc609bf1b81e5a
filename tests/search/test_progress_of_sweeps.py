"""What a reporter is told of sweeps in which not everybody trains to the end: all of the work in the end."""

from __future__ import annotations

from pathlib import Path

import pytest
from simulations import EPOCHS, NAME, Counting, run, trials_in

from noise_search.commands import status
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


class Listening(Counting):
    """Reporter that keeps what it was told last."""

    said = ""

    def message(self, text: str) -> None:
        self.said = text


@pytest.mark.parametrize("limits", [(), ("objective.clean_drop=0.01",)], ids=["no limit", "a limit"])
def test_the_best_trial_that_is_shown_last_is_the_one_that_status_names(
    limits: tuple[str, ...], tmp_path: Path
) -> None:
    listening = Listening()
    run(tmp_path, *limits, reporter=listening)
    best = status(NAME, store=tmp_path)["best"]
    assert listening.said == f"best {best['score']:.3f} (trial {best['trial']})"


def test_before_any_trial_is_complete_it_says_what_trains(tmp_path: Path) -> None:
    said: list[str] = []

    class All(Counting):
        def message(self, text: str) -> None:
            said.append(text)

    run(tmp_path, "stopping=halving", reporter=All())
    assert list(dict.fromkeys(text.partition(" 0.")[0] for text in said)) == ["controls", "first rung", "best"]
