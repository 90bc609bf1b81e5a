"""Groups of a job, and the lanes they run in."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
import torch
from training_examples import SHIPPED, assert_same, bench, members, policies, run

from noise_search.models import TransformerParameters
from noise_search.spec import ModelSpec
from noise_search.training import Job, Resolved, Workbench
from noise_search.training.groups import side_by_side
from noise_search.training.state import State

DROPOUT = ModelSpec("transformer", TransformerParameters(width=8, heads=2, layers=1, dropout=0.3))


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def groups(model: str | ModelSpec, mode: Resolved, seeds: Sequence[int], lanes: int) -> list[list[str]]:
    """Names of the members that were given to a group together."""
    cohort = members(policies(len(seeds)), seeds)
    found: list[list[str]] = []

    def note(job: Job, _workbench: Workbench, _states: Sequence[State], _report: object) -> list[None]:
        found.append([member.name for member in job.members])
        return [None] * len(job.members)

    with threads(lanes):
        side_by_side(Job(cohort, 0, 2), bench(model, mode), None, note, lambda _: None)
    return sorted(found)


def test_a_fused_job_is_shared_out_among_the_threads() -> None:
    assert groups("mlp", "fused", [0] * 5, lanes=2) == [["0", "1", "2"], ["3", "4"]]


def test_no_lane_gets_a_trial_alone_where_that_would_be_doubled() -> None:
    assert groups("mlp", "fused", [0] * 5, lanes=4) == [["0", "1", "2"], ["3", "4"]]
    assert groups("mlp", "fused", [0], lanes=4) == [["0", "0"]]


def test_looped_trials_are_groups_of_one() -> None:
    assert groups("mlp", "looped", [0, 0, 3], lanes=2) == [["0"], ["1"], ["2"]]


def test_a_model_that_draws_its_own_numbers_is_grouped_by_seed() -> None:
    assert groups(DROPOUT, "fused", [0, 3, 0, 3], lanes=2) == [["0", "2"], ["1", "3"]]


@pytest.mark.parametrize("mode", ["fused", "looped"])
def test_models_that_share_a_layer_train_one_group_at_a_time(mode: Resolved) -> None:
    shared = ModelSpec("shared", {}, "own_models.on_a_shared_layer")
    assert bench(shared).shared
    assert not bench(ModelSpec("Net", {}, "own_models.Net")).shared
    cohort, found = members(policies(4)), []
    for lanes in (1, 2):
        with threads(lanes):
            found.append(list(zip(*run(bench(shared, mode), cohort), strict=True)))
    for in_turn, in_lanes in zip(*found, strict=True):
        assert_same(in_turn, in_lanes)


@pytest.mark.parametrize("model", [*SHIPPED, DROPOUT], ids=str)
@pytest.mark.parametrize("mode", ["fused", "looped"])
def test_trials_in_lanes_have_the_numbers_of_trials_in_turn(model: str | ModelSpec, mode: Resolved) -> None:
    cohort = members(policies(5), seeds=[0, 0, 4, 4, 0])
    found = []
    for lanes in (1, 2):
        with threads(lanes):
            found.append(list(zip(*run(bench(model, mode), cohort), strict=True)))
    for in_turn, in_lanes in zip(*found, strict=True):
        assert_same(in_turn, in_lanes)


def test_a_failure_in_a_lane_is_the_callers_to_see() -> None:
    def fail(job: Job, _workbench: Workbench, _states: Sequence[State], _report: object) -> list[None]:
        raise RuntimeError(f"with {len(job.members)} members")

    with threads(2), pytest.raises(RuntimeError, match="with 2 members"):
        side_by_side(Job(members(policies(4)), 0, 2), bench("mlp"), None, fail, lambda _: None)
