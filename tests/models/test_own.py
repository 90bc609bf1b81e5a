from __future__ import annotations

from typing import Any

import own_models
import pytest
import torch
from torch import Tensor, nn

from noise_search.errors import CallerError
from noise_search.models import InputStatistics, Normalise, argument_mistakes, build_model, forward_mistakes
from noise_search.seeds import generator

STATISTICS = InputStatistics(shape=(1, 8, 8), classes=10, mean=0.3, std=0.4)


def build(target: str, *, seed: int = 0, normalise: bool = True, **arguments: Any) -> nn.Module:
    return build_model("own", arguments, STATISTICS, seed=seed, target=f"own_models.{target}", normalise=normalise)


def inputs() -> Tensor:
    return torch.rand((4, 1, 8, 8), generator=generator(0, "inputs"))


def refusal(target: str, **arguments: Any) -> str:
    with pytest.raises(CallerError) as caught:
        build(target, **arguments)
    (line,) = caught.value.mistakes
    assert "\n" not in line
    return line


def judgement(target: str, **arguments: Any) -> str:
    (line,) = forward_mistakes(build(target, **arguments), inputs(), 10)
    assert "\n" not in line
    return line


# --- building


def test_a_model_of_ones_own_gets_its_arguments_and_stands_behind_the_normalisation() -> None:
    model = build("Net", width=6)
    assert model.get_parameter("network.first.weight").shape == (6, 64)
    assert isinstance(model.get_submodule("normalise"), Normalise)
    network = model.get_submodule("network")
    torch.testing.assert_close(model(inputs()), network((inputs() - 0.3) / 0.4))


def test_normalisation_may_be_left_out() -> None:
    model = build("Net", normalise=False)
    assert torch.equal(model(inputs()), model.get_submodule("network")(inputs()))


def test_statistics_are_given_to_those_that_take_them_alone() -> None:
    assert build("WithoutStatistics", pixels=64)(inputs()).shape == (4, 10)


def test_initial_weights_are_a_function_of_the_seed_alone() -> None:
    before = torch.get_rng_state()
    first, again, other = (build("Net", seed=seed).state_dict() for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["network.first.weight"], other["network.first.weight"])


# --- arguments


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"pixels": 64}, []),
        ({"pixels": 64, "classes": 3}, []),
        ({}, ["model.pixels: expected a value, which WithoutStatistics asks for, got none"]),
        (
            {"pixel": 64},
            [
                "model: expected one of ['classes', 'pixels'], got 'pixel'; did you mean 'pixels'?",
                "model.pixels: expected a value, which WithoutStatistics asks for, got none",
            ],
        ),
    ],
)
def test_arguments_are_compared_with_the_signature_all_at_once(arguments: Any, expected: list[str]) -> None:
    assert argument_mistakes(own_models.WithoutStatistics, arguments) == expected


def test_statistics_are_the_sweeps_to_give() -> None:
    (mistake,) = argument_mistakes(own_models.Net, {"statistics": 3})
    assert mistake.startswith("model.statistics: expected nothing, as the sweep gives the statistics")
    assert argument_mistakes(own_models.Net, {"width": 3}) == []


def test_what_takes_anything_is_given_anything() -> None:
    assert argument_mistakes(lambda **_: None, {"depth": 3}) == []


# --- what makes no module that can be trained


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("no module", "model._target_: expected own_models.judged to make a torch.nn.Module, got function"),
        ("nothing", "model._target_: expected own_models.judged to make a torch.nn.Module, got NoneType"),
        ("no parameters", "model: expected parameters to train, got a module without any"),
        (
            "lazy",
            "model: expected layers of a known size, got lazy ones: 'network.middle' (LazyLinear); "
            "`statistics.shape` tells the size",
        ),
        (
            "shared buffer",
            "model: expected each buffer once, network.middle.0.mean and network.middle.1.mean are one tensor; "
            "give each a copy",
        ),
    ],
)
def test_what_cannot_be_trained_is_refused(kind: str, expected: str) -> None:
    assert refusal("judged", kind=kind) == expected


def test_every_parameter_that_is_not_trained_is_named() -> None:
    with pytest.raises(CallerError) as caught:
        build("judged", kind="frozen")
    assert [mistake.partition(" has ")[0] for mistake in caught.value.mistakes] == [
        "model: expected every parameter to be trained, network.first.weight",
        "model: expected every parameter to be trained, network.first.bias",
    ]


def test_a_call_that_fails_is_told_in_one_line_with_its_place() -> None:
    found = refusal("raising", width=5)
    assert found.startswith(
        "model._target_: own_models.raising failed with ValueError: no width; of 5 for 10 classes (line "
    )
    assert found.endswith("own_models.py)")


# --- logits and gradients


@pytest.mark.parametrize("middle", ["nothing", "dropout", "gate", "tied", "running mean", "batch norm", "train noise"])
def test_a_sound_model_is_not_objected_to_and_left_as_it_was(middle: str) -> None:
    model = build("Net", middle=middle)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    assert forward_mistakes(model, inputs(), 10) == []
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


EXPECTED = "model: expected logits of shape (2, 10) and torch.float32, got"


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("five logits", f"{EXPECTED} (2, 5) and torch.float32 in eval mode"),
        ("no batch", f"{EXPECTED} (10,) and torch.float32 in eval mode"),
        ("a pair", f"{EXPECTED} tuple in eval mode"),
        ("labels", f"{EXPECTED} (2, 10) and torch.int64 in eval mode"),
        ("double", f"{EXPECTED} (2, 10) and torch.float64 in eval mode"),
        ("no gradient", "model: expected logits that depend on the parameters, got some cut off from them"),
        ("two samples", "model: the forward pass fails in layer 'network.1' (Function) in eval mode: RuntimeError:"),
    ],
)
def test_wrong_logits_are_told_with_what_was_expected(kind: str, expected: str) -> None:
    assert judgement("judged", kind=kind).startswith(expected)


@pytest.mark.parametrize("middle", ["counter", "numpy noise", "torch noise"])
def test_a_model_that_gives_other_logits_the_second_time_is_refused(middle: str) -> None:
    found = judgement("Net", middle=middle)
    assert found.startswith("model: expected the same logits for the same inputs, got others on a second call")


def test_a_forward_pass_that_fails_is_told_with_its_layer_and_place() -> None:
    found = judgement("Net", middle="failing")
    assert found.startswith("model: the forward pass fails in layer 'network.middle' (Function) in eval mode: ")
    assert "own_models.py)" in found


def test_logits_that_are_not_finite_are_refused() -> None:
    assert judgement("Net", middle="not finite").startswith("model: expected finite logits, got ")


def test_gradients_that_are_not_finite_are_refused_with_their_parameters() -> None:
    found = judgement("Net", middle="steep")
    assert found == "model: expected finite gradients, got others for network.first.weight, network.first.bias"


def test_a_model_that_wants_another_shape_is_told_where_it_fails() -> None:
    found = judgement("WithoutStatistics", pixels=63)
    assert found.startswith("model: the forward pass fails in layer 'network.1' (Linear) in eval mode: RuntimeError:")
