from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from noise_search.errors import CallerError
from noise_search.models import (
    MODELS,
    GruParameters,
    InputStatistics,
    ResnetParameters,
    TransformerParameters,
    build_model,
)
from noise_search.models.transformer import Attention, check_transformer
from noise_search.seeds import generator

DIGITS = InputStatistics(shape=(1, 8, 8), classes=10, mean=0.0, std=1.0)
FASHION = InputStatistics(shape=(1, 28, 28), classes=10, mean=0.0, std=1.0)
COLOUR = InputStatistics(shape=(3, 12, 8), classes=4, mean=0.0, std=1.0)
SHAPES = pytest.mark.parametrize("statistics", [DIGITS, FASHION, COLOUR], ids=lambda one: "x".join(map(str, one.shape)))


def build(name: str, parameters: Any, statistics: InputStatistics = DIGITS) -> nn.Module:
    return build_model(name, parameters, statistics, seed=0)


def images(statistics: InputStatistics, samples: int = 5) -> Tensor:
    return torch.rand((samples, *statistics.shape), generator=generator(0, "images"))


def kinds(model: nn.Module, kind: type[nn.Module]) -> list[Any]:
    return [layer for layer in model.modules() if isinstance(layer, kind)]


@SHAPES
@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("resnet", ResnetParameters()),
        ("resnet", ResnetParameters((4, 6, 8), 2, "batch")),
        ("gru", GruParameters()),
        ("transformer", TransformerParameters()),
        ("transformer", TransformerParameters(patch=2)),
    ],
    ids=str,
)
def test_a_model_takes_small_and_large_images_of_any_channels(
    statistics: InputStatistics, name: str, parameters: Any
) -> None:
    assert build(name, parameters, statistics)(images(statistics)).shape == (5, statistics.classes)


@pytest.mark.parametrize("name", ["cnn", "resnet", "transformer"])
def test_a_model_of_images_refuses_sequences(name: str) -> None:
    with pytest.raises(CallerError) as caught:
        build(name, MODELS[name].parameters(), InputStatistics((7, 3), 4, 0.0, 1.0))
    expected = f"model.name: {name} takes samples of [3] dimensions, got data of 2; choose another model"
    assert caught.value.mistakes == (expected,)


# --- residual network


@pytest.mark.parametrize("side", [1, 2, 3, 5, 7])
def test_a_residual_network_takes_images_of_any_size(side: int) -> None:
    statistics = InputStatistics((2, side, side + 1), 3, 0.0, 1.0)
    assert build("resnet", ResnetParameters((4, 4, 6)), statistics)(images(statistics)).shape == (5, 3)


def test_a_residual_network_halves_the_image_at_the_stem_and_at_every_stage_but_the_first() -> None:
    model = build("resnet", ResnetParameters((4, 6, 8), blocks=2))
    strided = [layer for layer in kinds(model, nn.Conv2d) if layer.stride == (2, 2) and layer.kernel_size == (3, 3)]
    assert [(layer.in_channels, layer.out_channels) for layer in strided] == [(1, 4), (4, 6), (6, 8)]


def test_a_block_adds_its_input_to_what_it_computes() -> None:
    # With the second norm's scale at zero nothing is added: ReLU of an input that is not negative is the input.
    block = build("resnet", ResnetParameters((4,))).get_submodule("network.3")
    nn.init.zeros_(block.get_parameter("second_norm.weight"))
    inputs = torch.rand((2, 4, 4, 4), generator=generator(0, "block"))
    assert torch.equal(block(inputs), inputs)


@pytest.mark.parametrize(("norm", "kind"), [("group", nn.GroupNorm), ("batch", nn.BatchNorm2d)])
def test_a_residual_network_has_the_norm_it_was_asked_for(norm: Any, kind: type[nn.Module]) -> None:
    model = build("resnet", ResnetParameters((4, 8), 1, norm))
    assert len(kinds(model, kind)) == 1 + 2 + 3  # stem, first block, second with a norm in its shortcut
    assert not kinds(model, nn.BatchNorm2d if kind is nn.GroupNorm else nn.GroupNorm)


# --- GRU


def test_a_gru_reads_an_image_row_by_row_from_the_top() -> None:
    model = build("gru", GruParameters(width=6), COLOUR).get_submodule("network")
    whole = images(COLOUR)
    rows = torch.stack([torch.cat([whole[:, channel, row] for channel in range(3)], dim=1) for row in range(12)], dim=1)
    torch.testing.assert_close(model(whole), model(rows))


def test_a_gru_takes_sequences_and_is_classified_by_its_last_state() -> None:
    statistics = InputStatistics((7, 3), 4, 0.0, 1.0)
    model = build("gru", GruParameters(width=6, layers=2), statistics).get_submodule("network")
    sequences = images(statistics)
    _, last = model.get_submodule("gru")(sequences)
    torch.testing.assert_close(model(sequences), model.get_submodule("head")(last[-1]))


# --- transformer


def test_attention_is_that_of_torch() -> None:
    own = Attention(12, 3)
    reference = nn.MultiheadAttention(12, 3, batch_first=True)
    with torch.no_grad():
        for parameter in own.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator(0, "weights")))
        reference.in_proj_weight.copy_(own.project.weight)
        reference.in_proj_bias.copy_(own.project.bias)
        reference.out_proj.load_state_dict(own.merge.state_dict())
    tokens = torch.randn((2, 5, 12), generator=generator(0, "tokens"))
    expected, _ = reference(tokens, tokens, tokens)
    torch.testing.assert_close(own(tokens), expected, rtol=1e-4, atol=1e-5)


def test_a_block_is_the_pre_norm_encoder_layer_of_torch() -> None:
    block = build("transformer", TransformerParameters(width=12, heads=3, layers=1)).get_submodule("network.1")
    layer = nn.TransformerEncoderLayer(12, 3, 24, 0.0, "gelu", batch_first=True, norm_first=True)
    names = {
        "self_attn.in_proj_weight": "attention.1.project.weight",
        "self_attn.in_proj_bias": "attention.1.project.bias",
        "self_attn.out_proj.weight": "attention.1.merge.weight",
        "self_attn.out_proj.bias": "attention.1.merge.bias",
        "linear1.weight": "hidden.1.weight",
        "linear1.bias": "hidden.1.bias",
        "linear2.weight": "hidden.3.weight",
        "linear2.bias": "hidden.3.bias",
        "norm1.weight": "attention.0.weight",
        "norm1.bias": "attention.0.bias",
        "norm2.weight": "hidden.0.weight",
        "norm2.bias": "hidden.0.bias",
    }
    layer.load_state_dict({theirs: block.state_dict()[ours] for theirs, ours in names.items()})
    tokens = torch.randn((2, 5, 12), generator=generator(0, "tokens"))
    torch.testing.assert_close(block(tokens), layer(tokens), rtol=1e-4, atol=1e-5)


def test_patches_are_squares_of_the_image_row_by_row() -> None:
    embedding = build("transformer", TransformerParameters(patch=4, width=8, heads=2), COLOUR).get_submodule(
        "network.0"
    )
    linear, positions = embedding.get_submodule("embed"), embedding.get_parameter("positions")
    whole = images(COLOUR)
    squares = [
        whole[:, :, top : top + 4, left : left + 4].flatten(1) for top in range(0, 12, 4) for left in range(0, 8, 4)
    ]
    expected = torch.stack([linear(square) for square in squares], dim=1) + positions
    torch.testing.assert_close(embedding(whole), expected)


def test_a_transformer_without_dropout_has_none_and_draws_nothing() -> None:
    assert not kinds(build("transformer", TransformerParameters()), nn.Dropout)
    dropped = kinds(build("transformer", TransformerParameters(dropout=0.2)), nn.Dropout)
    assert {layer.p for layer in dropped} == {0.2}


@pytest.mark.parametrize("patch", [3, 5, 16])
def test_patches_that_do_not_fill_the_image_are_refused_with_those_that_do(patch: int) -> None:
    with pytest.raises(CallerError) as caught:
        build("transformer", TransformerParameters(patch=patch), DIGITS)
    expected = f"model.patch: expected one of [1, 2, 4, 8] for images of 8x8 pixels, got {patch}"
    assert caught.value.mistakes == (expected,)


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    parameters = TransformerParameters(width=64, heads=5)
    expected = "model.heads: expected a divisor of model.width 64, got 5"
    assert check_transformer(parameters) == [expected]
    with pytest.raises(CallerError) as caught:
        build("transformer", parameters)
    assert caught.value.mistakes == (expected,)
