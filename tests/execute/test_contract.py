"""What every executor promises the driver, held by each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from executor_examples import (
    POLICIES,
    failing_job,
    finish,
    inline,
    job,
    long_job,
    nobody,
    numbers,
    on_ray,
    processes,
    workbench,
)

from noise_search.execute.contract import Executor
from noise_search.training import run_job

MAKERS: dict[str, Callable[[], Executor]] = {"inline": inline, "processes": processes, "ray": on_ray}


def made(name: str, request: pytest.FixtureRequest) -> Executor:
    if name == "ray":
        request.getfixturevalue("ray_cluster")
    return MAKERS[name]()


@pytest.fixture(scope="module", params=MAKERS)
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    one = made(request.param, request)
    yield one
    one.close()


def test_a_job_gives_the_numbers_of_training_in_the_drivers_process_to_the_last_bit(executor: Executor) -> None:
    executor.submit(7, job())
    found = executor.next(nobody)
    assert (found.ticket, found.error) == (7, None)
    assert numbers(found.results) == numbers(run_job(job(), workbench())[0])


def test_several_jobs_are_outstanding_and_each_comes_back_with_its_ticket_and_its_numbers(executor: Executor) -> None:
    jobs = {ticket: job(policies) for ticket, policies in enumerate((POLICIES[:2], POLICIES[1:], POLICIES[:1] * 2))}
    for ticket, one in jobs.items():
        executor.submit(ticket, one)
    found = finish(executor, len(jobs))
    assert found.keys() == jobs.keys()
    for ticket, one in jobs.items():
        assert numbers(found[ticket].results) == numbers(run_job(one, workbench())[0])


def test_progress_adds_up_to_the_epochs_of_all_members_of_each_ticket(executor: Executor) -> None:
    told = {3: 0, 4: 0}

    def on_epoch(ticket: int, epochs: int) -> None:
        told[ticket] += epochs

    executor.submit(3, job())
    executor.submit(4, job(POLICIES[:1], epochs=3))
    finish(executor, 2, on_epoch)
    assert told == {3: 2 * len(POLICIES), 4: 3}


def test_what_telling_of_progress_raises_is_raised_and_the_jobs_stay_submitted(executor: Executor) -> None:
    def refuse(_ticket: int, _epochs: int) -> None:
        raise LookupError("stop")

    executor.submit(1, job())
    with pytest.raises(LookupError, match="stop"):
        executor.next(refuse)
    found = executor.next(nobody)
    assert (found.ticket, found.error) == (1, None)
    assert numbers(found.results) == numbers(run_job(job(), workbench())[0])


def test_what_training_raises_comes_back_and_the_next_job_is_trained(executor: Executor) -> None:
    executor.submit(1, failing_job())
    failed = executor.next(nobody)
    assert (failed.ticket, failed.results) == (1, None)
    assert isinstance(failed.error, AttributeError)
    assert "'NoneType' object has no attribute" in str(failed.error)
    executor.submit(2, job())
    assert executor.next(nobody).error is None


def test_to_wait_for_nothing_is_a_mistake(executor: Executor) -> None:
    with pytest.raises(ValueError, match="submitted"):
        executor.next(nobody)


def test_it_knows_the_sizes_of_the_sweeps_data(executor: Executor) -> None:
    assert executor.validation_samples == len(workbench().dataset.validation) == 359
    assert executor.steps_per_epoch == workbench().steps_per_epoch


def test_its_clock_goes_on_while_a_job_trains(executor: Executor) -> None:
    before = executor.now()
    executor.submit(1, job())
    executor.next(nobody)
    assert executor.now() > before


@pytest.mark.parametrize("maker", MAKERS)
def test_to_close_ends_what_is_left_and_again_is_no_harm(maker: str, request: pytest.FixtureRequest) -> None:
    executor = made(maker, request)
    for ticket in range(3):
        executor.submit(ticket, long_job())
    executor.close()
    executor.close()
    with pytest.raises(ValueError, match="submitted"):
        executor.next(nobody)
