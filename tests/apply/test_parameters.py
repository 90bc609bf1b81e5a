from __future__ import annotations

import pytest
import torch
from torch import nn

from noise_search.apply.parameters import named_parameters, wide


class Compiled(nn.Module):
    """What torch.compile makes of a module, as far as names go, without its compiler."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self._orig_mod = module


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))


def test_names_are_those_without_compiling_and_data_parallelism() -> None:
    plain = network()
    expected = ["0.weight", "0.bias", "1.weight", "1.bias"]
    for model in (plain, Compiled(plain), nn.DataParallel(plain), Compiled(nn.DataParallel(plain))):
        assert list(named_parameters(model)) == expected
        assert all(
            one is other for one, other in zip(named_parameters(model).values(), plain.parameters(), strict=True)
        )
    plain[1] = Compiled(plain[1])
    assert list(named_parameters(plain)) == expected


def test_a_part_of_ones_own_that_is_called_module_keeps_its_name() -> None:
    model = nn.ModuleDict({"module": nn.Linear(2, 2)})
    assert list(named_parameters(model)) == ["module.weight", "module.bias"]


def test_a_tensor_in_two_places_is_one_parameter() -> None:
    model = network()
    model[1].weight = model[0].weight
    assert list(named_parameters(model)) == ["0.weight", "0.bias", "1.bias"]


@pytest.mark.parametrize(
    ("given", "computed"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_noise_is_computed_in_float32_at_least(given: torch.dtype, computed: torch.dtype) -> None:
    assert wide(given) == computed
