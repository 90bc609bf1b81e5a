from __future__ import annotations

import logging

import pytest
import torch
from training_examples import bench, differing_keys, fresh_states

from noise_search.errors import CallerError
from noise_search.spec import ModelSpec
from noise_search.training import Workbench
from noise_search.training.fusability import refuse_unfusable, unfusable, unfusable_scoring
from noise_search.training.modes import resolve_modes

FUSED_WELL = ["nothing", "dropout", "tied", "running mean", "batch norm", "train noise"]
# What stands in the way -> the layer and the reason that is told.
REFUSED = {
    "gate": ("'network.middle' (Gate)", "data-dependent control flow, or a number read out of a tensor"),
    "item": ("'network.middle' (Function)", "data-dependent control flow, or a number read out of a tensor"),
    "numpy": ("'network.middle' (Function)", "a tensor handed to code outside torch"),
    "mask": (
        "'network.middle' (Function)",
        "a result whose size depends on the numbers (indexing with a boolean mask)",
    ),
    "nonzero": ("'network.middle' (Function)", "a result whose size depends on the numbers (aten::nonzero)"),
    "put in": ("'network.middle' (Function)", "a tensor made in the forward pass and changed in place"),
    "added": ("'network.middle' (Function)", "a tensor made in the forward pass and changed in place"),
    "old": ("'network.middle' (Function)", "an autograd.Function without setup_context"),
    "spectral norm": (
        "'network.middle.parametrizations.weight.0' (_SpectralNorm)",
        "torch has no batching rule for aten::div.out",
    ),
    "deciding backward": ("'network.middle' (Function)", "data-dependent control flow"),
    "wrong rule": ("'network.middle' (Function)", "fused, its losses are "),
}


def own(middle: str) -> Workbench:
    return bench(ModelSpec("Net", {"middle": middle}, "own_models.Net"))


@pytest.mark.parametrize("middle", FUSED_WELL)
def test_a_model_of_ones_own_that_computes_the_same_can_be_fused(middle: str) -> None:
    assert unfusable(own(middle)) is None


@pytest.mark.parametrize(("middle", "expected"), REFUSED.items(), ids=REFUSED)
def test_a_model_that_cannot_be_fused_is_told_the_innermost_layer_and_why(
    middle: str, expected: tuple[str, str]
) -> None:
    reason = unfusable(own(middle))
    assert reason is not None
    assert reason.startswith(f"model cannot be fused: layer {expected[0]}: {expected[1]}")
    assert "\n" not in reason


def test_the_place_in_the_callers_code_is_told() -> None:
    reason = unfusable(own("gate"))
    assert reason is not None
    assert "own_models.py)" in reason


def test_a_model_whose_scores_depend_on_the_samples_beside_is_trained_fused_but_not_scored_so() -> None:
    workbench = own("batch mean")
    assert unfusable(workbench) is None
    reason = unfusable_scoring(workbench)
    assert reason is not None
    assert reason.startswith("scoring cannot be fused: ")
    assert "its logits in eval mode depend on which samples stand together" in reason


def test_fused_is_refused_with_the_layer() -> None:
    expected = r"^train\.mode: expected looped or auto for this model, got fused: model cannot be fused: layer "
    with pytest.raises(CallerError, match=expected):
        refuse_unfusable(own("gate"), "fused", "looped")
    refuse_unfusable(own("gate"), "auto", "looped")


def test_fused_scoring_is_refused_by_its_own_key() -> None:
    expected = r"^train\.score_mode: expected looped or auto for this model, got fused: scoring cannot be fused: "
    with pytest.raises(CallerError, match=expected):
        refuse_unfusable(own("batch mean"), "fused", "fused")
    refuse_unfusable(own("batch mean"), "looped", "fused")  # one after another: never together
    refuse_unfusable(own("batch mean"), "fused", "auto")


def test_auto_scores_one_after_another_where_it_must_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert resolve_modes(own("batch mean"), "fused", "auto", width=3) == ("fused", "looped")
    assert len(caplog.records) == 1
    assert "trials are scored one after another: scoring cannot be fused: " in caplog.text


def test_a_model_that_is_looped_as_asked_is_not_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert resolve_modes(own("gate"), "looped", "auto", width=3) == ("looped", "looped")
    assert not caplog.records


@pytest.mark.parametrize("middle", ["running mean", "dropout", "deciding backward", "spectral norm"])
def test_the_probe_leaves_no_trace(middle: str) -> None:
    workbench = own(middle)
    before, states = torch.get_rng_state(), fresh_states(workbench, [0])[0]
    mode = workbench.model.training
    unfusable(workbench)
    unfusable_scoring(workbench)
    assert torch.equal(torch.get_rng_state(), before)
    assert workbench.model.training == mode
    assert differing_keys(fresh_states(workbench, [0])[0], states) == []
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in workbench.model.modules())
