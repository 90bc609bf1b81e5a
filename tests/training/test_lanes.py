"""Tasks that run side by side, one to a lane."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest
import torch

from noise_search.training.lanes import NEWS_SECONDS, run_in_lanes

Report = Callable[[int], None]
PATIENCE = 30.0


@pytest.fixture(autouse=True)
def _four_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def named(name: str) -> Callable[[str, Report], tuple[str, str]]:
    return lambda bench, _report: (name, bench)


@pytest.mark.parametrize("lanes", [1, 2, 5])
def test_results_come_in_the_order_of_the_tasks(lanes: int) -> None:
    names = [f"task {index}" for index in range(7)]
    found = run_in_lanes([named(name) for name in names], ["bench"] * lanes, lambda _: None)
    assert [name for name, _ in found] == names


def test_tasks_of_two_lanes_run_at_the_same_time_and_each_on_a_bench_of_its_own() -> None:
    both = threading.Barrier(2)

    def meet(bench: str, _report: Report) -> str:
        both.wait(PATIENCE)  # breaks unless the other lane is here as well
        return bench

    assert sorted(run_in_lanes([meet, meet], ["left", "right"], lambda _: None)) == ["left", "right"]


def test_torch_has_one_thread_in_a_lane_and_the_caller_keeps_its_own() -> None:
    found = run_in_lanes([lambda _bench, _report: torch.get_num_threads()] * 2, ["left", "right"], lambda _: None)
    started_later: list[int] = []
    thread = threading.Thread(target=lambda: started_later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert (found, torch.get_num_threads(), started_later) == ([1, 1], 4, [4])


def test_a_single_lane_is_the_callers_thread_with_all_threads_of_torch() -> None:
    def where(_bench: str, _report: Report) -> tuple[threading.Thread, int]:
        return threading.current_thread(), torch.get_num_threads()

    assert run_in_lanes([where], ["bench"], lambda _: None) == [(threading.current_thread(), 4)]


@pytest.mark.parametrize("lanes", [1, 3])
def test_every_report_reaches_the_callers_thread(lanes: int) -> None:
    heard: list[tuple[int, threading.Thread]] = []

    def work(_bench: str, report: Report) -> None:
        for epochs in (1, 2, 3):
            report(epochs)

    run_in_lanes([work] * 5, ["bench"] * lanes, lambda epochs: heard.append((epochs, threading.current_thread())))
    assert sorted(epochs for epochs, _ in heard) == sorted([1, 2, 3] * 5)
    assert {thread for _, thread in heard} == {threading.current_thread()}


@pytest.mark.parametrize("lanes", [1, 2])
def test_a_report_of_nothing_finished_is_not_passed_on_at_once(lanes: int) -> None:
    heard: list[int] = []
    run_in_lanes([lambda _bench, report: report(0)] * 2, ["bench"] * lanes, heard.append)
    assert heard == []


@pytest.mark.parametrize("lanes", [1, 2])
def test_the_caller_hears_of_long_tasks_every_second_and_can_end_them(lanes: int) -> None:
    heard: list[int] = []

    def look(epochs: int) -> None:
        heard.append(epochs)
        if len(heard) == 2:
            raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_in_lanes([silent] * 2, ["bench"] * lanes, look)
    assert heard == [0, 0]
    assert 2 * NEWS_SECONDS <= time.monotonic() - started < PATIENCE


@pytest.mark.parametrize("epochs", [0, 1])
def test_a_lane_that_is_to_stop_ends_at_its_next_report(epochs: int) -> None:
    def work(_bench: str, report: Report) -> None:
        ends = time.monotonic() + PATIENCE
        while time.monotonic() < ends:
            report(epochs)
        raise AssertionError("nobody stopped this lane")

    with pytest.raises(ZeroDivisionError, match="of this task"):
        run_in_lanes([work, failing], ["left", "right"], lambda _: None)


def silent(_bench: str, report: Report) -> None:
    ends = time.monotonic() + PATIENCE
    while time.monotonic() < ends:
        report(0)
        time.sleep(0.001)
    raise AssertionError("nobody stopped this lane")


def endless(_bench: str, report: Report) -> None:
    ends = time.monotonic() + PATIENCE
    while time.monotonic() < ends:
        report(1)
        time.sleep(0.001)
    raise AssertionError("nobody stopped this lane")


def failing(_bench: str, _report: Report) -> None:
    raise ZeroDivisionError("of this task")


def test_a_task_that_fails_ends_the_others_and_is_what_the_caller_sees() -> None:
    with pytest.raises(ZeroDivisionError, match="of this task"):
        run_in_lanes([endless, failing, endless], ["left", "right"], lambda _: None)


def test_an_interrupted_caller_ends_every_lane() -> None:
    def interrupt(_epochs: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_in_lanes([endless] * 4, ["left", "right"], interrupt)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("lane")]
