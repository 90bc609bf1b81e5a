from __future__ import annotations

from dataclasses import asdict
from functools import cache

import pytest
from sweep_examples import spec

from noise_search.execute import InlineExecutor
from noise_search.policy import Policy, Term
from noise_search.training import Job, Member, Resolved, Result, Setup, Workbench, make_workbench, run_job

POLICIES = (Policy(), Policy((Term("inputs", "gaussian", 0.3),)), Policy((Term("weights", "relative", 0.1),)))
JOB = Job(tuple(Member(f"slot {slot}", policy, 0) for slot, policy in enumerate(POLICIES)), 0, 2)


@cache
def workbench(mode: Resolved = "fused", score_mode: Resolved = "looped") -> Workbench:
    one = spec()
    return make_workbench(Setup(one.data, one.model, one.optimizer, one.train, one.suite, mode, score_mode))


def numbers(results: list[Result]) -> list[dict[str, object]]:
    """Results without the time they took."""
    return [{**asdict(result), "seconds": None} for result in results]


@pytest.mark.parametrize("mode", ["fused", "looped"])
def test_the_results_are_those_of_training_in_its_own_mode_in_slot_order(mode: Resolved) -> None:
    executor = InlineExecutor(workbench(), mode, "looped")
    found = executor.run(JOB, lambda _: None)
    expected, _ = run_job(JOB, workbench(mode))
    assert [result.member for result in found] == ["slot 0", "slot 1", "slot 2"]
    assert numbers(found) == numbers(expected)


def test_one_executor_runs_job_after_job_and_the_order_does_not_matter() -> None:
    executor = InlineExecutor(workbench(), "fused", "looped")
    parts = [Job(JOB.members[2:], 0, 2), Job(JOB.members[:2], 0, 2)]
    last, first = (executor.run(part, lambda _: None) for part in parts)
    assert numbers(first + last) == numbers(executor.run(JOB, lambda _: None))


@pytest.mark.parametrize("mode", ["fused", "looped"])
def test_progress_adds_up_to_the_epochs_of_all_members(mode: Resolved) -> None:
    told: list[int] = []
    InlineExecutor(workbench(), mode, "looped").run(JOB, told.append)
    assert sum(told) == len(JOB.members) * 2


def test_a_job_of_one_counts_its_own_epochs_only() -> None:
    told: list[int] = []
    InlineExecutor(workbench(), "fused", "looped").run(Job(JOB.members[:1], 0, 2), told.append)
    assert sum(told) == 2


def test_a_scored_set_is_the_validation_split() -> None:
    executor = InlineExecutor(workbench(), "fused", "looped")
    assert executor.validation_samples == len(workbench().dataset.validation) == 359


def test_what_training_raises_reaches_the_driver() -> None:
    def refuse(_epochs: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        InlineExecutor(workbench(), "fused", "looped").run(JOB, refuse)
