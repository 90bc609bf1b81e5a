from __future__ import annotations

from itertools import count

import pytest

from noise_search.execute import SimulatedPlaces
from noise_search.execute.simulated import Point
from noise_search.policy import Policy
from noise_search.training import Job, Member


def job(epochs: int) -> Job:
    return Job((Member("1", Policy(), 0),), 0, epochs)


def with_places(places: int) -> SimulatedPlaces:
    return SimulatedPlaces(lambda _policy, _seed, _epoch: Point(0.9, 0.5), {"fog": 5}, places=places)


def ends(executor: SimulatedPlaces, *epochs: int) -> list[tuple[int, float]]:
    """Number of each job, with when it ends, in the order in which they end."""
    for ticket, length in zip(count(), epochs, strict=False):
        executor.submit(ticket, job(length))
    return [(executor.next(lambda _ticket, _epochs: None).ticket, executor.now()) for _ in epochs]


def test_jobs_side_by_side_end_when_their_own_time_is_over() -> None:
    assert ends(with_places(3), 5, 2, 3) == [(1, 2.0), (2, 3.0), (0, 5.0)]


def test_a_job_waits_for_a_worker_where_all_are_at_work() -> None:
    assert ends(with_places(2), 4, 1, 2, 2) == [(1, 1.0), (2, 3.0), (0, 4.0), (3, 5.0)]


def test_with_one_worker_they_come_in_the_order_in_which_they_were_submitted() -> None:
    assert ends(with_places(1), 3, 1, 2) == [(0, 3.0), (1, 4.0), (2, 6.0)]


def test_a_job_that_is_submitted_later_begins_then() -> None:
    executor = with_places(2)
    assert ends(executor, 3) == [(0, 3.0)]
    assert ends(executor, 2) == [(0, 5.0)]


def test_what_telling_raises_leaves_the_job_submitted() -> None:
    executor, told = with_places(2), list[tuple[int, int]]()
    executor.submit(7, job(2))

    def refuse(_ticket: int, _epochs: int) -> None:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        executor.next(refuse)
    found = executor.next(lambda ticket, epochs: told.append((ticket, epochs)))
    assert (found.ticket, told) == (7, [(7, 1), (7, 1)])
    assert found.results is not None
    assert [one.member for one in found.results] == ["1"]


def test_without_a_job_there_is_nothing_to_wait_for() -> None:
    executor = with_places(2)
    executor.submit(0, job(1))
    executor.close()
    with pytest.raises(ValueError, match="expected a submitted job"):
        executor.next(lambda _ticket, _epochs: None)
