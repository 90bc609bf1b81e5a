from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from optuna.trial import TrialState
from simulations import EPOCHS, findings_in, jobs_in, run, told, trials_in

from noise_search.store import locate, open_store
from noise_search.training import Job

HALVING = ("stopping=halving",)
PARETO = ("stopping=pareto_halving", "objective=pareto")


class _Killed(BaseException):
    """As good as a kill: nobody catches it."""


def _killed_before_job(number: int) -> Callable[[int, Job], None]:
    def before(at: int, _job: Job) -> None:
        if at == number:
            raise _Killed

    return before


@pytest.mark.parametrize("overrides", [(), HALVING, PARETO], ids=["none", "halving", "pareto_halving"])
def test_every_trial_ends_told_and_the_sweep_is_complete(overrides: tuple[str, ...], tmp_path: Path) -> None:
    assert run(tmp_path, *overrides).state == "complete"
    members = list(trials_in(tmp_path).values())
    assert [member.number for member in members] == list(range(24))
    assert {member.state for member in members} <= {"complete", "stopped"}
    assert all(member.told for member in members)
    with open_store(locate(tmp_path), create=False) as store:
        states = [trial.state for trial in told(store)]
    expected = {"complete": TrialState.COMPLETE, "stopped": TrialState.PRUNED}
    assert states == [expected[member.state] for member in members]


def test_a_sweep_out_of_time_is_to_be_continued_and_complete_with_more_of_it(tmp_path: Path) -> None:
    assert run(tmp_path, "budget.minutes=0.2").state == "interrupted"  # two jobs of 9 s
    assert len(trials_in(tmp_path)) == 4
    assert run(tmp_path, "budget.minutes=null").state == "complete"


def test_without_stopping_every_trial_trains_to_the_end(tmp_path: Path) -> None:
    run(tmp_path)
    assert Counter(member.state for member in trials_in(tmp_path).values()) == {"complete": 24}
    assert {(job.from_epoch, job.to_epoch) for job in jobs_in(tmp_path)} == {(0, EPOCHS)}


@pytest.mark.parametrize("overrides", [HALVING, PARETO], ids=["halving", "pareto_halving"])
def test_samplers_learn_how_trials_end_while_most_are_still_to_be_asked(
    overrides: tuple[str, ...], tmp_path: Path
) -> None:
    run(tmp_path, *overrides, "budget.trials=60", "sampler.batch=6")
    controls = 3
    trained = [job for job in jobs_in(tmp_path) if min(job.members) > controls]
    ended = next(index for index, job in enumerate(trained) if job.to_epoch == EPOCHS)
    asked = {member for job in trained[:ended] for member in job.members}
    assert len(asked) <= 30


@pytest.mark.parametrize("overrides", [HALVING, PARETO], ids=["halving", "pareto_halving"])
def test_stopped_trials_save_epochs_and_say_why(overrides: tuple[str, ...], tmp_path: Path) -> None:
    run(tmp_path, *overrides)
    stopped = [member for member in trials_in(tmp_path).values() if member.state == "stopped"]
    complete = [member for member in trials_in(tmp_path).values() if member.state == "complete"]
    assert len(complete) >= 3
    assert len(stopped) > len(complete)
    for member in stopped:
        assert member.reason is not None
        assert "epochs" in member.reason
    controls = 3 * EPOCHS
    assert sum(job.epochs_trained for job in jobs_in(tmp_path)) - controls < 0.6 * 24 * EPOCHS


def test_with_two_objectives_optuna_is_told_two_values_and_none_in_between(tmp_path: Path) -> None:
    run(tmp_path, *PARETO)
    with open_store(locate(tmp_path), create=False) as store:
        trials = told(store)
    assert all(len(trial.values) == 2 for trial in trials if trial.state is TrialState.COMPLETE)
    assert all(not trial.intermediate_values for trial in trials)


@pytest.mark.parametrize("overrides", [(), HALVING, PARETO], ids=["none", "halving", "pareto_halving"])
def test_the_same_seed_gives_the_same_sweep(overrides: tuple[str, ...], tmp_path: Path) -> None:
    run(tmp_path / "one", *overrides)
    run(tmp_path / "two", *overrides)
    assert findings_in(tmp_path / "one") == findings_in(tmp_path / "two")


@pytest.mark.parametrize("overrides", [(), HALVING, PARETO], ids=["none", "halving", "pareto_halving"])
@pytest.mark.parametrize("job", [0, 3, 6])
def test_a_sweep_killed_before_a_job_and_continued_is_the_sweep_that_was_not(
    overrides: tuple[str, ...], job: int, tmp_path: Path
) -> None:
    run(tmp_path / "whole", *overrides)
    with pytest.raises(_Killed):
        run(tmp_path / "killed", *overrides, before_job=_killed_before_job(job))
    run(tmp_path / "killed", *overrides)
    assert findings_in(tmp_path / "killed") == findings_in(tmp_path / "whole")


@pytest.mark.parametrize("cohort", [1, 3, 16])
def test_the_width_of_jobs_changes_no_number(cohort: int, tmp_path: Path) -> None:
    run(tmp_path / "one", *HALVING)
    run(tmp_path / "other", *HALVING, f"driver.cohort={cohort}")
    assert findings_in(tmp_path / "one") == findings_in(tmp_path / "other")
