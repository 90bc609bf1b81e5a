"""What becomes of jobs in processes when processes die, hang or cannot start."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from executor_examples import (
    POLICIES,
    finish,
    is_running,
    job,
    long_job,
    nobody,
    numbers,
    own_setup,
    processes,
    setup,
    wait_until,
    when_trained,
    workbench,
    workers_of,
)

from noise_search.errors import CallerError
from noise_search.execute.contract import Executor, LostWorkerError
from noise_search.execute.processes import ProcessesExecutor
from noise_search.execute.workers import Sizes, make_kit
from noise_search.spec import DataSpec, ModelSpec
from noise_search.training import make_workbench, run_job

TESTS = Path(__file__).resolve().parent.parent
DRIVER = """
import os
import signal
from executor_examples import long_job, processes, workers_of
signal.signal(signal.SIGINT, signal.default_int_handler)  # which one started in the background ignores
executor = processes()
for ticket in range(2):
    executor.submit(ticket, long_job())
began = set()
def on_epoch(ticket, epochs):
    if epochs and ticket not in began:
        began.add(ticket)
        print("began", flush=True)
try:
    executor.next(on_epoch)
except KeyboardInterrupt:
    print("interrupted", len(workers_of(os.getpid())), flush=True)
executor.close()
print("closed", len(workers_of(os.getpid())), flush=True)
"""


@pytest.fixture
def executor() -> Iterator[Executor]:
    made = processes(1)
    yield made
    made.close()


def own_workers() -> list[int]:
    return workers_of(os.getpid())


def the_worker() -> int:
    (pid,) = own_workers()
    return pid


@pytest.fixture
def driver() -> Iterator[subprocess.Popen[str]]:
    """A process with two jobs under way in workers of its own, as a terminal would start it."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(TESTS / "execute"), str(TESTS)])}
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER], env=environment, stdout=subprocess.PIPE, text=True, process_group=0
    )
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(2)] == ["began\n"] * 2
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_worker_killed_while_it_trains_loses_its_job_and_another_trains_the_next(executor: Executor) -> None:
    executor.submit(1, long_job())
    executor.submit(2, job())
    killed: list[int] = []

    def kill() -> None:
        killed.append(the_worker())
        os.kill(killed[0], signal.SIGKILL)

    lost = executor.next(when_trained(kill))
    assert (lost.ticket, lost.results) == (1, None)
    assert isinstance(lost.error, LostWorkerError)
    assert f"pid {killed[0]}" in str(lost.error)
    assert "signal 9 (SIGKILL)" in str(lost.error)
    assert "memory" in str(lost.error)
    following = executor.next(nobody)
    assert (following.ticket, following.error) == (2, None)
    assert numbers(following.results) == numbers(run_job(job(), workbench())[0])
    assert the_worker() != killed[0]


def test_a_worker_killed_before_it_is_ready_loses_no_job(executor: Executor) -> None:
    executor.submit(1, job())
    os.kill(the_worker(), signal.SIGKILL)
    found = executor.next(nobody)
    assert (found.ticket, found.error) == (1, None)


def test_a_worker_that_hangs_is_killed_and_its_job_is_lost() -> None:
    executor = processes(1, silent_seconds=20.0)
    try:
        executor.submit(1, long_job())
        hanging: list[int] = []

        def stop() -> None:
            hanging.append(the_worker())
            os.kill(hanging[0], signal.SIGSTOP)

        lost = executor.next(when_trained(stop))
        assert isinstance(lost.error, LostWorkerError)
        assert "no sign of life" in str(lost.error)
        assert not is_running(hanging[0])
    finally:
        executor.close()


def test_to_close_leaves_no_process_behind() -> None:
    before = own_workers()
    executor = processes(2)
    for ticket in range(3):
        executor.submit(ticket, long_job())
    started = set(own_workers()) - set(before)
    assert len(started) == 2
    executor.close()
    assert own_workers() == before
    assert not any(is_running(pid) for pid in started)


@pytest.mark.parametrize("stopped", [False, True])
def test_workers_do_not_outlive_a_driver_that_is_killed(driver: subprocess.Popen[str], stopped: bool) -> None:
    workers = workers_of(driver.pid)
    assert len(workers) == 2
    if stopped:
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
    driver.kill()
    driver.wait()
    assert wait_until(lambda: not any(is_running(pid) for pid in workers))


def test_ctrl_c_is_for_the_driver_who_ends_its_workers(driver: subprocess.Popen[str]) -> None:
    workers = workers_of(driver.pid)
    for pid in workers:
        os.kill(pid, signal.SIGINT)
    os.killpg(driver.pid, signal.SIGINT)
    out, _ = driver.communicate()
    assert out == "interrupted 2\nclosed 0\n"


def test_a_model_and_data_of_ones_own_are_found_where_the_driver_finds_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    mine = own_setup(tmp_path)
    executor = processes(1, own=mine)
    try:
        executor.submit(1, job())
        found = executor.next(nobody)
        assert numbers(found.results) == numbers(run_job(job(), make_workbench(mine))[0])
    finally:
        executor.close()


@pytest.mark.parametrize("key", ["data", "model"])
def test_what_is_at_home_in_the_main_module_is_refused(key: str) -> None:
    specs: dict[str, Any] = {"data": DataSpec("mine", target="__main__.make")}
    specs |= {"model": ModelSpec("make", {}, "__main__.make")}
    one = setup()
    with pytest.raises(CallerError, match=rf"{key}._target_: expected a module that workers can import, got '__main__"):
        make_kit(workbench(), replace(one, **{key: specs[key]}), 1)


def test_a_worker_with_other_data_than_the_drivers_is_refused() -> None:
    kit = make_kit(workbench(), setup(), 1)
    executor = ProcessesExecutor(replace(kit, digest="0" * 64), Sizes(1, 1), [{}], silent_seconds=60)
    try:
        executor.submit(1, job())
        with pytest.raises(CallerError, match=r"worker 1 .* cannot be made ready: .*data: expected those of"):
            executor.next(nobody)
    finally:
        executor.close()


def test_workers_that_never_get_ready_end_the_sweep_and_not_its_trials() -> None:
    no_interpreter = {"PYTHONHOME": "/nowhere"}
    executor = ProcessesExecutor(make_kit(workbench(), setup(), 1), Sizes(1, 1), [no_interpreter], silent_seconds=60)
    try:
        executor.submit(1, job())
        with pytest.raises(CallerError, match=r"lost 3 in a row before they were: .* ended with exit code 1"):
            executor.next(nobody)
    finally:
        executor.close()


def test_what_a_worker_logs_is_logged_here_with_its_name(
    executor: Executor, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    fresh = job(POLICIES[:1], epochs=3, folder=str(tmp_path))
    gone = replace(fresh.members[0], checkpoint={"file": "gone", "place": "elsewhere"})
    executor.submit(1, replace(fresh, members=(gone,), from_epoch=1))
    with caplog.at_level(logging.WARNING):
        (found,) = finish(executor, 1).values()
    assert found.error is None
    (record,) = [record for record in caplog.records if "trained again from its start" in record.message]
    assert record.name == "noise_search.training.continuing"
    assert record.message.startswith(f"worker 1 (pid {the_worker()}): ")
