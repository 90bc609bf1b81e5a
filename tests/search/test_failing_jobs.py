from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from optuna.trial import TrialState
from simulations import EPOCHS, NAME, Counting, executor, findings_in, jobs_in, run, simulated_spec, told, trials_in
from sqlalchemy.exc import OperationalError

from noise_search.cli.show import row_json
from noise_search.commands import front, status
from noise_search.errors import CallerError
from noise_search.execute import OneByOne, SimulatedExecutor
from noise_search.execute.simulated import Point
from noise_search.policy import Policy, policy_from_list
from noise_search.search.driver import Reporter
from noise_search.search.outcomes import DIVERGED
from noise_search.search.reporting import Silent
from noise_search.search.simulating import simulate
from noise_search.store import SweepRecord, locate, open_store
from noise_search.training import Job, Result

BeforeJob = Callable[[int, Job], None]
SCORES = ("clean", "robust", "worst_family", "robust_weights", "score")


def _member_id(folder: Path, number: int) -> str:
    return str(trials_in(folder)[number].id)


def _control_id(folder: Path, name: str) -> str:
    with open_store(locate(folder), create=False) as store:
        (found,) = (member for member in store.members(store.sweep(NAME).id) if member.control == name)
    return str(found.id)


def failing_with(member: str, error: Exception, times: float = float("inf")) -> BeforeJob:
    """Jobs with this member fail, so many times at most."""
    left = times

    def before(_number: int, job: Job) -> None:
        nonlocal left
        if left > 0 and any(slot.name == member for slot in job.members):
            left -= 1
            raise error

    return before


def test_a_job_that_fails_is_split_until_the_culprit_is_alone(tmp_path: Path) -> None:
    run(tmp_path / "whole")
    poisoned = _member_id(tmp_path / "whole", 5)
    run(tmp_path / "one", before_job=failing_with(poisoned, RuntimeError("a bad layer")))
    members = trials_in(tmp_path / "one")
    assert members[5].state == "failed"
    assert members[5].reason == "RuntimeError: a bad layer"
    assert members[5].attempts == {"error": 2}
    assert all(member.state == "complete" for number, member in members.items() if number != 5)
    failed = [len(job.members) for job in jobs_in(tmp_path / "one") if job.state == "failed"]
    assert failed == [4, 2, 1, 1]
    assert all(job.error == "RuntimeError: a bad layer" for job in jobs_in(tmp_path / "one") if job.state == "failed")
    with open_store(locate(tmp_path / "one"), create=False) as store:
        assert [trial.number for trial in told(store) if trial.state is TrialState.FAIL] == [5]


def test_who_shared_a_job_with_the_culprit_has_the_numbers_of_a_sweep_without_failures(tmp_path: Path) -> None:
    run(tmp_path / "whole", "sampler.name=random")
    poisoned = _member_id(tmp_path / "whole", 5)
    run(tmp_path / "one", "sampler.name=random", before_job=failing_with(poisoned, RuntimeError("a bad layer")))
    whole, one = findings_in(tmp_path / "whole"), findings_in(tmp_path / "one")
    assert {name for name in whole if whole[name] != one[name]} == {"5"}


def test_what_fails_now_and_then_is_tried_again_and_changes_nothing(tmp_path: Path) -> None:
    run(tmp_path / "whole")
    flaky = _member_id(tmp_path / "whole", 9)
    run(tmp_path / "one", before_job=failing_with(flaky, RuntimeError("bad luck"), times=3))
    assert findings_in(tmp_path / "one") == findings_in(tmp_path / "whole")
    assert trials_in(tmp_path / "one")[9].attempts == {"error": 1}


def _no_memory_on_a_cpu() -> RuntimeError:
    """What torch really raises there."""
    with pytest.raises(RuntimeError) as caught:
        torch.empty(10**16)
    return caught.value


@pytest.mark.parametrize(
    "error",
    [MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), _no_memory_on_a_cpu()],
    ids=["host", "device", "torch on a CPU"],
)
def test_where_memory_runs_out_later_jobs_are_half_as_wide(error: Exception, tmp_path: Path) -> None:
    def before(_number: int, job: Job) -> None:
        if len(job.members) > 2:
            raise error

    run(tmp_path / "whole")
    run(tmp_path / "one", before_job=before)
    assert findings_in(tmp_path / "one") == findings_in(tmp_path / "whole")
    widths = [len(job.members) for job in jobs_in(tmp_path / "one") if job.state == "done"]
    assert max(widths) == 2
    assert sum(job.state == "failed" for job in jobs_in(tmp_path / "one")) == 1


def test_a_control_that_fails_is_reported_and_the_sweep_goes_on(tmp_path: Path) -> None:
    run(tmp_path / "whole")
    culprit = _control_id(tmp_path / "whole", "constant_1")
    run(tmp_path / "one", before_job=failing_with(culprit, RuntimeError("no")))
    assert all(member.state == "complete" for member in trials_in(tmp_path / "one").values())
    controls = [row for row in front(NAME, store=tmp_path / "one") if row.control]
    assert [(row.control, row.state) for row in controls] == [
        ("no_noise", "complete"),
        ("random_1", "complete"),
        ("constant_1", "failed"),
    ]
    lost = row_json(controls[-1])
    assert (lost["reason"], lost["policy"]) == ("RuntimeError: no", controls[-1].policy)
    assert [lost[name] for name in SCORES] == [None] * len(SCORES)
    counts = status(NAME, store=tmp_path / "one")["controls"]
    assert {state: count for state, count in counts.items() if count} == {"complete": 2, "failed": 1}


def test_a_control_that_diverges_is_on_the_front_without_scores(tmp_path: Path) -> None:
    run(tmp_path / "whole")
    with open_store(locate(tmp_path / "whole"), create=False) as store:
        (constant,) = (m for m in store.members(store.sweep(NAME).id) if m.control == "constant_1")
    gone = policy_from_list(constant.policy)
    run(tmp_path / "one", curve=lambda policy, _seed, _epoch: Point(0.8, 0.5, diverged=policy == gone))
    lost = front(NAME, store=tmp_path / "one")[-1]
    assert (lost.control, lost.state, lost.reason) == ("constant_1", "infeasible", DIVERGED)
    assert all(math.isnan(getattr(lost, name)) for name in SCORES)


def test_nothing_goes_on_without_the_control_that_has_no_noise(tmp_path: Path) -> None:
    run(tmp_path / "whole")
    control = _control_id(tmp_path / "whole", "no_noise")
    with pytest.raises(RuntimeError, match="a model that cannot work"):
        run(tmp_path / "one", before_job=failing_with(control, RuntimeError("a model that cannot work")))


@pytest.mark.parametrize("stopping", ["none", "halving"])
def test_nothing_is_searched_where_the_control_that_has_no_noise_diverges(stopping: str, tmp_path: Path) -> None:
    def curve(policy: Policy, _seed: int, _epoch: int) -> Point:
        return Point(0.8, 0.5, diverged=not policy.terms)

    epoch = 1 if stopping == "halving" else EPOCHS
    for _ in range(2):  # at the next start too
        with pytest.raises(CallerError, match=f"^optimizer.lr: the control without noise diverged at epoch {epoch} "):
            run(tmp_path, f"stopping={stopping}", curve=curve)
    assert trials_in(tmp_path) == {}


def test_the_number_of_attempts_outlives_a_kill(tmp_path: Path) -> None:
    run(tmp_path / "whole")
    poisoned = _member_id(tmp_path / "whole", 5)
    fails = failing_with(poisoned, RuntimeError("a bad layer"))
    seen = 0

    class Killed(BaseException):
        pass

    def before(number: int, job: Job) -> None:
        nonlocal seen
        alone = [slot.name for slot in job.members] == [poisoned]
        seen += alone
        if alone and seen == 2:
            raise Killed
        fails(number, job)

    with pytest.raises(Killed):
        run(tmp_path / "one", before_job=before)
    assert trials_in(tmp_path / "one")[5].attempts == {"error": 1}
    run(tmp_path / "one", before_job=fails)
    assert trials_in(tmp_path / "one")[5].attempts == {"error": 2}
    assert trials_in(tmp_path / "one")[5].state == "failed"


@pytest.mark.parametrize(("kind", "retries"), [("error", 0), ("error", 2), ("memory", 0), ("memory", 2)])
def test_how_often_a_trial_is_tried_again_depends_on_what_went_wrong(kind: str, retries: int, tmp_path: Path) -> None:
    run(tmp_path / "whole")
    poisoned = _member_id(tmp_path / "whole", 5)
    error = MemoryError("no room") if kind == "memory" else RuntimeError("a bad layer")
    run(tmp_path / "one", f"driver.retries.{kind}={retries}", before_job=failing_with(poisoned, error))
    member = trials_in(tmp_path / "one")[5]
    assert (member.state, member.attempts) == ("failed", {kind: retries + 1})


def test_one_trial_that_has_no_room_alone_leaves_the_width_of_later_jobs_as_it_was(tmp_path: Path) -> None:
    run(tmp_path / "whole", "sampler.name=random")
    heavy = _member_id(tmp_path / "whole", 5)
    run(tmp_path / "one", "sampler.name=random", before_job=failing_with(heavy, MemoryError()))
    jobs = jobs_in(tmp_path / "one")
    assert [len(job.members) for job in jobs if job.state == "failed"] == [4, 2, 1, 1]
    after = [len(job.members) for job in jobs[jobs.index([j for j in jobs if j.state == "failed"][-1]) + 1 :]]
    assert after == [2, 4, 4, 4, 4]  # the other half of its own job, then the batches that follow
    whole, one = findings_in(tmp_path / "whole"), findings_in(tmp_path / "one")
    assert {name for name in whole if whole[name] != one[name]} == {"5"}


def test_a_narrow_job_without_memory_makes_later_ones_half_as_wide_as_itself(tmp_path: Path) -> None:
    def before(_number: int, job: Job) -> None:
        if len(job.members) > 1:
            raise MemoryError

    run(tmp_path, "driver.cohort=16", before_job=before)
    jobs = jobs_in(tmp_path)
    # Three controls in 16 slots fail, then two of them; after that nothing wider than one slot is tried.
    assert [len(job.members) for job in jobs if job.state == "failed"] == [3, 2]
    assert all(member.state == "complete" for member in trials_in(tmp_path).values())


@pytest.mark.parametrize("room", [1, 2])
def test_a_trial_whose_seeds_have_no_room_together_trains_them_in_turns(room: int, tmp_path: Path) -> None:
    small = ("budget.seeds=5", "budget.trials=4", "driver.cohort=10")

    def before(_number: int, job: Job) -> None:
        if len(job.members) > room:
            raise MemoryError

    run(tmp_path / "whole", *small)
    run(tmp_path / "one", *small, before_job=before)
    assert findings_in(tmp_path / "one") == findings_in(tmp_path / "whole")
    assert all(member.attempts == {} for member in trials_in(tmp_path / "one").values())


# --- what a failed job costs ---


class _FailingAtTheEnd(OneByOne):
    """Executor whose jobs with one member fail when all their epochs are trained."""

    def __init__(self, inner: SimulatedExecutor, member: str) -> None:
        super().__init__()
        self._inner, self._member = inner, member

    @property
    def validation_samples(self) -> int:
        return self._inner.validation_samples

    @property
    def steps_per_epoch(self) -> int:
        return self._inner.steps_per_epoch

    def now(self) -> float:
        return self._inner.now()

    def run(self, job: Job, on_epoch: Callable[[int], None]) -> list[Result]:
        results = self._inner.run(job, on_epoch)
        if any(slot.name == self._member for slot in job.members):
            raise RuntimeError("late")
        return results


def _failing_late(folder: Path, *overrides: str, reporter: Reporter | None = None) -> tuple[SweepRecord, float]:
    """Sweep in which trial 5 fails late; with the seconds by the clock."""
    run(folder / "whole", *overrides)
    spec = simulated_spec(*overrides)
    inner = executor(spec)
    with open_store(locate(folder / "one"), create=True) as store:
        failing = _FailingAtTheEnd(inner, _member_id(folder / "whole", 5))
        record = simulate(spec, NAME, store, failing, reporter=reporter)
    return record, inner.now()


def test_the_time_and_the_epochs_of_failed_jobs_count(tmp_path: Path) -> None:
    record, clock = _failing_late(tmp_path)
    failed = [len(job.members) for job in jobs_in(tmp_path / "one") if job.state == "failed"]
    assert failed == [4, 2, 1, 1]
    assert record.seconds == clock
    trained = sum(failed) * EPOCHS + 23 * EPOCHS
    controls = 3 * EPOCHS
    assert status(NAME, store=tmp_path / "one")["epochs_trained"] == trained + controls
    assert status(NAME, store=tmp_path / "one")["seconds"] == clock


def test_epochs_of_a_job_that_failed_are_no_progress(tmp_path: Path) -> None:
    counted = Counting()
    _failing_late(tmp_path, reporter=counted)
    assert counted.done == counted.total


def test_failed_jobs_use_up_the_minutes_of_the_budget(tmp_path: Path) -> None:
    limit = 4 * EPOCHS  # the controls' job, the first batch, and two of those that fail
    record, clock = _failing_late(tmp_path, f"budget.minutes={limit / 60}")
    assert record.seconds == clock == limit
    assert [job.state for job in jobs_in(tmp_path / "one")] == ["done", "done", "failed", "failed"]


# --- what is not the fault of a job ---


@pytest.mark.parametrize(
    "error",
    [OSError(5, "Input/output error"), OperationalError("SELECT 1", {}, Exception("database is locked"))],
    ids=["the terminal", "the database"],
)
def test_an_error_in_telling_of_progress_ends_the_driver_and_is_blamed_on_no_trial(
    error: Exception, tmp_path: Path
) -> None:
    class Broken(Silent):
        left = 60

        def advance(self, epochs: int) -> None:
            self.left -= epochs
            if self.left < 0:
                raise error

    spec = simulated_spec()
    run(tmp_path / "whole")
    with open_store(locate(tmp_path / "one"), create=True) as store:
        with pytest.raises(type(error)) as caught:
            simulate(spec, NAME, store, executor(spec), reporter=Broken())
        assert caught.value is error
    assert [job.state for job in jobs_in(tmp_path / "one")] == ["done", "running"]
    assert all(one.attempts == {} and one.reason is None for one in trials_in(tmp_path / "one").values())
    run(tmp_path / "one")
    assert findings_in(tmp_path / "one") == findings_in(tmp_path / "whole")
