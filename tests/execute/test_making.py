from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from executor_examples import workbench

from noise_search.errors import CallerError
from noise_search.execute.inline import InlineExecutor
from noise_search.execute.making import environments, make_executor
from noise_search.execute.workers import cores
from noise_search.executor_specs import InlineSpec, ProcessesSpec, RaySpec
from noise_search.training import Workbench


def on(device: str, threads: int | None = None) -> Workbench:
    """The driver's workbench as it would be on a device."""
    bench = workbench()
    train = replace(bench.setup.train, threads=threads)
    return replace(bench, device=torch.device(device), setup=replace(bench.setup, train=train))


def test_inline_has_one_place_and_processes_have_one_each() -> None:
    inline = make_executor(InlineSpec(), workbench(), "fused", "looped")
    assert (type(inline), inline.places) == (InlineExecutor, 1)
    processes = make_executor(ProcessesSpec(processes=3), workbench(), "fused", "looped")
    assert processes.places == 3
    assert processes.validation_samples == inline.validation_samples
    assert processes.steps_per_epoch == inline.steps_per_epoch


@pytest.mark.parametrize(
    ("device", "count", "expected"),
    [
        ("cuda", None, ["3", "GPU-5"]),
        ("cuda", 3, ["3", "GPU-5", "3"]),
        ("cuda:1", None, ["GPU-5"]),
        ("cuda:1", 2, ["GPU-5", "GPU-5"]),
    ],
)
def test_every_process_sees_one_of_the_gpus_that_the_driver_sees(
    monkeypatch: pytest.MonkeyPatch, device: str, count: int | None, expected: list[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-5")
    found = environments(ProcessesSpec(processes=count), on(device))
    assert found == [{"CUDA_VISIBLE_DEVICES": name} for name in expected]


@pytest.mark.parametrize(("device", "gpus", "expected"), [("cuda", 0.0, "more than 0"), ("cpu", 0.5, "0")])
def test_jobs_on_ray_take_up_gpus_just_where_they_train_on_them(device: str, gpus: float, expected: str) -> None:
    with pytest.raises(CallerError) as refused:
        make_executor(RaySpec(gpus=gpus), on(device), "fused", "looped")
    words = f"executor.gpus: expected {expected} where trials train on {device}, got {gpus:g}"
    assert refused.value.mistakes == (words,)


def test_on_a_cpu_there_are_as_many_processes_as_cores_for_their_threads() -> None:
    assert environments(ProcessesSpec(), on("cpu")) == [{}] * cores()
    assert environments(ProcessesSpec(), on("cpu", threads=cores())) == [{}]
    assert environments(ProcessesSpec(), on("cpu", threads=10 * cores())) == [{}]
    assert environments(ProcessesSpec(processes=5), on("cpu", threads=1)) == [{}] * 5
