from __future__ import annotations

import logging
import pickle

import pytest
import torch
from executor_examples import failing_job, job, numbers, setup, workbench

from noise_search.errors import CallerError
from noise_search.execute.workers import Ended, News, Told, build, failure_of, make_kit, send_log, train
from noise_search.training import run_job


class _OfThisModuleError(Exception):
    """Needs more to be made again than it has kept."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(one)
        self.other = other


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no"),
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        CallerError("one", "other"),
    ],
)
def test_an_exception_comes_back_as_what_it_was(error: Exception) -> None:
    found = failure_of(error).error()
    assert type(found) is type(error)
    assert str(found) == str(error)


def test_one_that_cannot_be_sent_comes_back_as_its_text() -> None:
    for error in (_OfThisModuleError("too narrow", "for this"), type("Local", (Exception,), {})("too narrow")):
        found = pickle.loads(pickle.dumps(failure_of(error))).error()
        assert type(found) is RuntimeError
        assert str(found) == f"{type(error).__name__}: too narrow"


def test_that_a_model_ends_the_interpreter_is_a_failure_like_any_other() -> None:
    found = failure_of(SystemExit(3)).error()
    assert (type(found), str(found)) == (RuntimeError, "SystemExit: 3")


def test_a_failure_says_where_in_the_worker_it_was() -> None:
    failed = train(failing_job(), workbench(), lambda _: None)
    assert failed.failure is not None
    (note,) = failed.failure.error().__notes__
    assert note.startswith("in a worker:\nTraceback")
    assert "continuing.py" in note


def test_training_is_that_of_the_drivers_process_and_tells_of_its_epochs() -> None:
    told: list[News] = []
    ended = train(job(), workbench(), told.append)
    assert isinstance(ended, Ended)
    assert numbers(ended.results) == numbers(run_job(job(), workbench())[0])
    assert sum(news.epochs for news in told if isinstance(news, Told)) == 2 * len(job().members)


def test_a_kit_is_plain_data_of_which_the_same_workbench_is_built() -> None:
    kit = make_kit(workbench(), setup(), 1)
    again = pickle.loads(pickle.dumps(kit))
    assert again == kit
    made = build(again)
    assert made.dataset.digest == workbench().dataset.digest
    assert (made.setup, made.device) == (kit.setup, workbench().device)


def test_a_log_record_is_sent_whatever_its_arguments_are() -> None:
    sent: list[News] = []
    teller = send_log(sent.append, logging.WARNING)
    try:
        logging.getLogger("noise_search.some").warning("no %s", lambda: None)
        logging.getLogger("noise_search.some").info("not sent")
    finally:
        logging.getLogger().removeHandler(teller)
    (logged,) = pickle.loads(pickle.dumps(sent))
    assert logged.record.getMessage().startswith("no <function")
