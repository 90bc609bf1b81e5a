from __future__ import annotations

import pytest
from config_examples import Config, changed, sound

from noise_search.config import build, check
from noise_search.executor_specs import ExecutorSpec, InlineSpec, ProcessesSpec, RaySpec

BAD: dict[str, tuple[Config, list[str]]] = {
    "an unknown executor": (
        {"executor.name": "rays"},
        ["executor.name: expected one of ['inline', 'processes', 'ray'], got 'rays'; did you mean 'ray'?"],
    ),
    "no processes": (
        {"executor": {"name": "processes", "processes": 0, "silent_seconds": 1}},
        [
            "executor.processes: expected greater than or equal to 1, got 0",
            "executor.silent_seconds: expected greater than or equal to 5, got 1",
        ],
    ),
    "a key of another executor": (
        {"executor": {"name": "processes", "gpus": 1}},
        ["executor.gpus: expected executor=ray with it, got executor=processes"],
    ),
    "a key of two other executors, and one of none": (
        {"executor": {"name": "inline", "silent_seconds": 9, "adress": "auto"}},
        [
            "executor.silent_seconds: expected executor=processes or executor=ray with it, got executor=inline",
            "executor: expected one of ['name'], got 'adress'",
        ],
    ),
    "a cluster from outside": (
        {"executor": {"name": "ray", "address": "ray://head:10001"}},
        [
            "executor.address: expected auto or HOST:PORT of a cluster that this machine is a node of, got "
            "'ray://head:10001'; run the sweep on one of its nodes"
        ],
    ),
    "resources that Ray cannot part": (
        {"executor": {"name": "ray", "gpus": 1.5, "resources": {"GPU": 1, "tpu": 2.5}}},
        [
            "executor.resources.GPU: expected no GPU, which has a key of its own: executor.gpus",
            "executor.gpus: expected a part of 1, or a whole number, which is all that Ray gives, got 1.5",
            "executor.resources.tpu: expected a part of 1, or a whole number, which is all that Ray gives, got 2.5",
        ],
    ),
}


@pytest.mark.parametrize(("changes", "expected"), BAD.values(), ids=BAD)
def test_a_wrong_executor_is_told_the_key_the_value_and_what_is_allowed(changes: Config, expected: list[str]) -> None:
    assert check(changed(changes)) == expected


@pytest.mark.parametrize(
    ("choice", "expected"),
    [("inline", InlineSpec()), ("processes", ProcessesSpec()), ("ray", RaySpec())],
)
def test_every_shipped_executor_is_the_one_of_its_name_with_what_is_usual(choice: str, expected: ExecutorSpec) -> None:
    assert build(sound(f"executor={choice}")).executor == expected


def test_an_executors_keys_are_set_on_the_command_line() -> None:
    spec = build(sound("executor=ray", "executor.gpus=0.25", "executor.resources={big: 2}", "executor.places=3"))
    assert spec.executor == RaySpec(gpus=0.25, resources={"big": 2.0}, places=3)
