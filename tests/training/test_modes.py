from __future__ import annotations

import logging
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from training_examples import SHIPPED, assert_same, bench, differing_keys, fresh_states, members, policies, run

from noise_search.errors import CallerError
from noise_search.spec import Mode
from noise_search.training import Resolved, Workbench
from noise_search.training.fusability import unfusable
from noise_search.training.modes import _faster, resolve_modes, slots_are_bitwise
from noise_search.training.threads import cpu_threads

models = pytest.mark.parametrize("model", SHIPPED)


def unfusable_bench(mode: Resolved = "fused") -> Workbench:
    """The MLP, but for a decision that its forward pass takes on the numbers it sees."""
    workbench = bench("mlp", mode)

    def decide(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if inputs[0].sum() > 1e30:
            raise ValueError("overexposed")

    workbench.model.register_forward_pre_hook(decide)
    return workbench


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (("fused", "fused"), ("fused", "fused")),
        (("fused", "looped"), ("fused", "looped")),
        (("looped", "looped"), ("looped", "looped")),
    ],
)
def test_modes_that_are_named_are_kept(asked: tuple[Mode, Mode], expected: tuple[Mode, Mode]) -> None:
    assert resolve_modes(bench(), *asked, width=4) == expected


@models
def test_auto_becomes_one_of_the_two(model: str) -> None:
    mode, score_mode = resolve_modes(bench(model), "auto", "auto", width=3)
    assert mode in ("fused", "looped")
    assert score_mode in ("fused", "looped")


@pytest.mark.parametrize("score_mode", ["auto", "fused", "looped"])
def test_trials_that_train_one_after_another_are_scored_so_too(score_mode: Mode) -> None:
    assert resolve_modes(bench(), "looped", score_mode, width=4) == ("looped", "looped")


@pytest.mark.parametrize(("fused", "expected"), [(1.0, "fused"), (2.0, "fused"), (3.0, "looped")])
def test_auto_keeps_the_faster_and_fused_where_they_are_even(fused: float, expected: str) -> None:
    seconds = {"fused": fused, "looped": 2.0}
    assert _faster(lambda mode: seconds[mode]) == expected


@models
def test_every_shipped_model_can_be_fused(model: str) -> None:
    assert unfusable(bench(model)) is None


def test_a_model_that_cannot_be_fused_is_looped_and_the_log_says_why(caplog: pytest.LogCaptureFixture) -> None:
    workbench = unfusable_bench()
    reason = unfusable(workbench)
    assert reason
    assert "\n" not in reason
    with caplog.at_level(logging.WARNING):
        assert resolve_modes(workbench, "auto", "auto", width=4) == ("looped", "looped")
    assert f"trials train one after another: {reason}" in caplog.text


@pytest.mark.parametrize("asked", [("fused", "looped"), ("fused", "auto"), ("auto", "fused")])
def test_fused_is_refused_where_it_is_asked_for_and_the_model_cannot(asked: tuple[Mode, Mode]) -> None:
    with pytest.raises(CallerError, match="expected looped or auto for this model, got fused: "):
        resolve_modes(unfusable_bench(), *asked, width=4)


def test_a_model_that_cannot_be_fused_trains_looped_to_the_same_numbers() -> None:
    cohort = members(policies(3))
    plain, deciding = run(bench("mlp", "looped"), cohort), run(unfusable_bench("looped"), cohort)
    for one, other in zip(zip(*plain, strict=True), zip(*deciding, strict=True), strict=True):
        assert_same(one, other)


@models
def test_slots_of_every_shipped_model_are_bitwise(model: str) -> None:
    assert slots_are_bitwise(bench(model))


def test_the_probe_runs_as_jobs_do_however_many_threads_there_are() -> None:
    with cpu_threads(4):
        assert slots_are_bitwise(bench("cnn group"))


def test_looped_slots_are_bitwise_without_a_probe() -> None:
    assert slots_are_bitwise(unfusable_bench("looped"))


class _ByPosition(nn.Linear):
    """A layer whose result depends on how many trials stand beside it: what the probe is there to find."""

    widths: int = 0

    def forward(self, inputs: Tensor) -> Tensor:
        self.widths += 1
        return super().forward(inputs) * (1.0 + 1e-6 * self.widths)


def test_slots_that_differ_in_the_last_bits_are_found_out() -> None:
    workbench = bench()
    network = workbench.model.get_submodule("network")
    assert isinstance(network, nn.Sequential)
    first = network[1]
    assert isinstance(first, nn.Linear)
    other = _ByPosition(first.in_features, first.out_features)
    other.load_state_dict(first.state_dict())
    network[1] = other
    assert not slots_are_bitwise(workbench)


@models
def test_choosing_and_probing_leave_no_trace(model: str) -> None:
    workbench, cohort = bench(model), members(policies(2))
    before, states = torch.get_rng_state(), fresh_states(workbench, [0])
    expected = run(bench(model), cohort)
    resolve_modes(workbench, "auto", "auto", width=3)
    slots_are_bitwise(workbench)
    assert torch.equal(torch.get_rng_state(), before)
    assert differing_keys(fresh_states(workbench, [0])[0], states[0]) == []
    found = run(workbench, cohort)
    for one, other in zip(zip(*expected, strict=True), zip(*found, strict=True), strict=True):
        assert_same(one, other)


def test_a_data_set_smaller_than_a_few_batches_can_be_timed() -> None:
    workbench = bench(batch_size=128)
    short = replace(
        workbench,
        train=replace(workbench.train, inputs=workbench.train.inputs[:40], labels=workbench.train.labels[:40]),
    )
    assert resolve_modes(short, "auto", "auto", width=2)[0] in ("fused", "looped")
