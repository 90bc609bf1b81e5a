from __future__ import annotations

import doctest

import numpy as np
import pytest
import torch
from torch import Tensor

from noise_search.corruptions import weights
from noise_search.corruptions.weights import perturbed, rounded
from noise_search.seeds import generator


def rng() -> torch.Generator:
    return generator(0, "test")


def layers() -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(1)
    return {
        "second.weight": 0.01 * torch.randn(200, 300, generator=random),
        "second.bias": torch.randn(200, generator=random),
        "first.weight": 5 * torch.randn(20, 10, 3, 3, generator=random),
        "scale": torch.tensor(2.0),
    }


def test_strength_zero_changes_no_bit() -> None:
    moved = perturbed(layers(), 0.0, rng())
    assert all(torch.equal(moved[name], weight) for name, weight in layers().items())


@pytest.mark.parametrize("name", ["second.weight", "first.weight"])
def test_every_layer_moves_by_the_stated_share_of_its_rms(name: str) -> None:
    weight = layers()[name]
    noise = perturbed(layers(), 0.05, rng())[name] - weight
    share = (noise.square().mean().sqrt() / weight.square().mean().sqrt()).item()
    assert share == pytest.approx(0.05, rel=5 / (2 * weight.numel()) ** 0.5)


def test_biases_norms_and_scalars_are_left_alone() -> None:
    moved = perturbed(layers(), 0.5, rng())
    assert torch.equal(moved["second.bias"], layers()["second.bias"])
    assert torch.equal(moved["scale"], layers()["scale"])


def test_draws_depend_on_names_and_not_on_the_order_of_the_mapping() -> None:
    backwards = dict(reversed(layers().items()))
    one, other = perturbed(layers(), 0.1, rng()), perturbed(backwards, 0.1, rng())
    assert list(other) == list(backwards)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_strengths_share_a_draw() -> None:
    weight = layers()["second.weight"].double()
    weak, strong = (perturbed({"w": weight}, s, rng())["w"] - weight for s in (0.01, 0.05))
    torch.testing.assert_close(5 * weak, strong)


def test_the_same_generator_key_gives_the_same_weights_and_keeps_their_dtype() -> None:
    half = {"w": layers()["first.weight"].half()}
    one, other = perturbed(half, 0.1, rng())["w"], perturbed(half, 0.1, rng())["w"]
    assert one.dtype == torch.float16
    assert torch.equal(one, other)


@pytest.mark.parametrize("bits", [8, 4, 2])
def test_rounded_weights_are_the_nearest_of_the_integers_that_so_many_bits_hold(bits: int) -> None:
    for name, weight in layers().items():
        if weight.dim() < 2:
            continue
        values = weight.double().numpy()
        largest = 2 ** (bits - 1) - 1
        levels = np.arange(-largest, largest + 1) * np.abs(values).max() / largest
        nearest = levels[np.abs(values[..., None] - levels).argmin(axis=-1)]
        np.testing.assert_allclose(rounded(layers(), bits)[name].numpy(), nearest, rtol=1e-5, atol=1e-6)


def test_rounding_leaves_biases_norms_scalars_and_layers_of_zeros_alone() -> None:
    model = {**layers(), "zeros": torch.zeros(3, 3)}
    found = rounded(model, 4)
    assert list(found) == list(model)
    assert all(torch.equal(found[name], model[name]) for name in ("second.bias", "scale", "zeros"))


def test_rounding_keeps_the_dtype() -> None:
    assert rounded({"w": layers()["first.weight"].half()}, 8)["w"].dtype == torch.float16


def test_the_examples_in_the_documentation_hold() -> None:
    assert doctest.testmod(weights).failed == 0
