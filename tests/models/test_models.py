from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from noise_search.models import (
    MODELS,
    CnnParameters,
    GruParameters,
    InputStatistics,
    MlpParameters,
    ResnetParameters,
    TransformerParameters,
    build_model,
)
from noise_search.seeds import generator

STATISTICS = InputStatistics(shape=(1, 8, 8), classes=10, mean=0.3, std=0.4)
# A model added to the registry needs its line here.
PARAMETERS: list[tuple[str, Any]] = [
    ("mlp", MlpParameters()),
    ("mlp", MlpParameters(hidden=(6,))),
    ("cnn", CnnParameters()),
    ("cnn", CnnParameters(norm="batch")),
    ("cnn", CnnParameters(channels=(2, 6, 4), hidden=8)),
    ("resnet", ResnetParameters()),
    ("resnet", ResnetParameters(channels=(4, 6, 8), blocks=2, norm="batch")),
    ("gru", GruParameters()),
    ("gru", GruParameters(width=6, layers=2)),
    ("transformer", TransformerParameters()),
    ("transformer", TransformerParameters(patch=2, width=8, heads=2, layers=1)),
]
SHIPPED = pytest.mark.parametrize(("name", "parameters"), PARAMETERS, ids=str)


def inputs_of(statistics: InputStatistics, samples: int = 5) -> Tensor:
    return torch.rand((samples, *statistics.shape), generator=generator(0, "inputs"))


def test_every_model_is_covered() -> None:
    assert {name for name, _ in PARAMETERS} == set(MODELS)


@SHIPPED
def test_a_model_gives_one_logit_for_each_class(name: str, parameters: Any) -> None:
    model = build_model(name, parameters, STATISTICS, seed=0)
    assert model(inputs_of(STATISTICS)).shape == (5, 10)


@SHIPPED
def test_initial_weights_are_a_function_of_the_seed_alone(name: str, parameters: Any) -> None:
    torch.default_generator.manual_seed(1)
    first = build_model(name, parameters, STATISTICS, seed=0).state_dict()
    torch.default_generator.manual_seed(2)
    again = build_model(name, parameters, STATISTICS, seed=0).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    other = build_model(name, parameters, STATISTICS, seed=1).state_dict()
    weights = [key for key, value in first.items() if value.dim() > 1]
    assert weights
    assert not any(torch.equal(first[key], other[key]) for key in weights)


@SHIPPED
def test_building_a_model_leaves_the_global_generator_alone(name: str, parameters: Any) -> None:
    before = torch.get_rng_state()
    build_model(name, parameters, STATISTICS, seed=0)
    assert torch.equal(torch.get_rng_state(), before)


def test_building_a_model_does_not_seed_accelerators() -> None:
    # Where CUDA has not started, torch keeps a seed for it until it does.
    tracker = torch.cuda._lazy_seed_tracker
    kept = list(tracker.get_calls())
    states = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    build_model("mlp", MlpParameters(), STATISTICS, seed=0)
    assert tracker.get_calls() == kept
    after = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    assert all(torch.equal(first, second) for first, second in zip(states, after, strict=True))


@SHIPPED
def test_a_model_is_single_precision_and_on_the_cpu(name: str, parameters: Any) -> None:
    model = build_model(name, parameters, STATISTICS, seed=0)
    assert {(value.dtype, value.device.type) for value in model.parameters()} == {(torch.float32, "cpu")}


@SHIPPED
def test_raw_inputs_are_normalised_inside(name: str, parameters: Any) -> None:
    model = build_model(name, parameters, STATISTICS, seed=0).eval()
    plain = build_model(name, parameters, InputStatistics((1, 8, 8), 10, 0.0, 1.0), seed=0).eval()
    raw = inputs_of(STATISTICS)
    torch.testing.assert_close(model(raw), plain((raw - 0.3) / 0.4), rtol=1e-4, atol=1e-5)


@SHIPPED
def test_the_numbers_of_the_normalisation_are_not_trained(name: str, parameters: Any) -> None:
    model = build_model(name, parameters, STATISTICS, seed=0)
    buffers = dict(model.named_buffers())
    assert (float(buffers["normalise.mean"]), float(buffers["normalise.std"])) == pytest.approx((0.3, 0.4))
    assert not any(name.startswith("normalise") for name, _ in model.named_parameters())


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 7, 7), (3, 5, 9), (2, 28, 28), (1, 3, 64)], ids=str)
@pytest.mark.parametrize("channels", [(2,), (4, 6), (4, 8, 4)], ids=str)
def test_a_cnn_takes_images_of_any_size_odd_ones_too(shape: tuple[int, ...], channels: tuple[int, ...]) -> None:
    statistics = InputStatistics(shape, 4, 0.0, 1.0)
    model = build_model("cnn", CnnParameters(channels=channels, hidden=8), statistics, seed=0)
    assert model(inputs_of(statistics)).shape == (5, 4)


@pytest.mark.parametrize("shape", [(7,), (3, 5), (1, 3, 3), (2, 2, 2, 2)], ids=str)
def test_an_mlp_takes_samples_of_any_shape(shape: tuple[int, ...]) -> None:
    statistics = InputStatistics(shape, 3, 0.0, 1.0)
    assert build_model("mlp", MlpParameters((4,)), statistics, seed=0)(inputs_of(statistics)).shape == (5, 3)


def test_an_mlp_has_the_layers_it_was_asked_for() -> None:
    model = build_model("mlp", MlpParameters((12, 6)), STATISTICS, seed=0)
    shapes = [tuple(layer.weight.shape) for layer in model.modules() if isinstance(layer, nn.Linear)]
    assert shapes == [(12, 64), (6, 12), (10, 6)]
    assert sum(isinstance(layer, nn.ReLU) for layer in model.modules()) == 2


def test_a_cnn_has_the_layers_it_was_asked_for() -> None:
    model = build_model("cnn", CnnParameters((4, 6), 8), STATISTICS, seed=0)
    convolutions = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    assert [tuple(layer.weight.shape) for layer in convolutions] == [(4, 1, 3, 3), (6, 4, 3, 3)]
    shapes = [tuple(layer.weight.shape) for layer in model.modules() if isinstance(layer, nn.Linear)]
    assert shapes == [(8, 6 * 2 * 2), (10, 8)]  # 8x8 halved twice


@pytest.mark.parametrize(("norm", "kind"), [("group", nn.GroupNorm), ("batch", nn.BatchNorm2d)])
def test_a_cnn_has_the_norm_it_was_asked_for(norm: Any, kind: type[nn.Module]) -> None:
    model = build_model("cnn", CnnParameters(norm=norm), STATISTICS, seed=0)
    others = {nn.GroupNorm, nn.BatchNorm2d} - {kind}
    assert sum(isinstance(layer, kind) for layer in model.modules()) == 2
    assert not any(isinstance(layer, tuple(others)) for layer in model.modules())


@pytest.mark.parametrize("width", range(2, 13))
def test_group_norm_takes_channels_of_any_number(width: int) -> None:
    model = build_model("cnn", CnnParameters((width,), 4), STATISTICS, seed=0)
    assert bool(model(inputs_of(STATISTICS)).isfinite().all())


def test_the_depth_of_a_shrinking_image_is_counted_as_the_convolutions_round_it() -> None:
    # A side of n leaves a stride-2 3x3 convolution with padding 1 as ceil(n / 2).
    for side in range(1, 20):
        model = build_model("cnn", CnnParameters((2,), 4), InputStatistics((1, side, side), 2, 0.0, 1.0), seed=0)
        linear = next(layer for layer in model.modules() if isinstance(layer, nn.Linear))
        assert linear.in_features == 2 * math.ceil(side / 2) ** 2
