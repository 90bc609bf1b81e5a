from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from noise_search.errors import CallerError
from noise_search.optimizers import OPTIMIZERS, learning_rates, make_optimizer
from noise_search.seeds import generator
from noise_search.spec import OptimizerSpec

TRIALS, STEPS = 3, 5
SHAPES: dict[str, tuple[int, ...]] = {"weight": (4, 6), "bias": (6,), "scale": ()}
ELSEWHERE: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adadelta": torch.optim.Adadelta,
    "adagrad": torch.optim.Adagrad,
    "adam": torch.optim.Adam,
    "adamax": torch.optim.Adamax,
    "adamw": torch.optim.AdamW,
    "asgd": torch.optim.ASGD,
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
    "rmsprop": torch.optim.RMSprop,
    "rprop": torch.optim.Rprop,
    "sgd": torch.optim.SGD,
}


def numbers(purpose: str, shape: tuple[int, ...], step: int = 0) -> Tensor:
    return torch.randn((TRIALS, *shape), generator=generator(0, purpose, step), dtype=torch.float64)


def trained(optimizer: torch.optim.Optimizer, parameters: dict[str, Tensor], gradients: Any) -> dict[str, Tensor]:
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = 0.01 * (step + 1)
        for name, parameter in parameters.items():
            parameter.grad = gradients(name, step)
        optimizer.step()
    return parameters


@pytest.mark.parametrize(
    ("name", "weight_decay"),
    [(name, decay) for name in OPTIMIZERS for decay in (0.0, 0.1) if (name, decay) != ("rprop", 0.1)],
)
def test_an_optimiser_over_stacked_trials_equals_one_for_each_trial(name: str, weight_decay: float) -> None:
    decay = {} if name == "rprop" else {"weight_decay": weight_decay}
    stacked = {key: numbers(key, shape) for key, shape in SHAPES.items()}
    optimizer = make_optimizer(OptimizerSpec(name, 0.01, weight_decay), stacked.values())
    together = trained(optimizer, stacked, lambda key, step: numbers(f"{key} gradient", SHAPES[key], step))
    for trial in range(TRIALS):
        own = {key: nn.Parameter(numbers(key, shape)[trial]) for key, shape in SHAPES.items()}
        separate: Any = ELSEWHERE[name](list(own.values()), lr=0.01, **decay)
        alone = trained(
            separate, dict(own), lambda key, step, k=trial: numbers(f"{key} gradient", SHAPES[key], step)[k]
        )
        for key in SHAPES:
            torch.testing.assert_close(together[key][trial], alone[key].detach(), rtol=1e-13, atol=1e-13)


def test_the_allow_list_names_the_classes_of_torch() -> None:
    assert OPTIMIZERS == ELSEWHERE


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_no_weight_decay_means_none_whatever_the_default_of_torch(name: str) -> None:
    weight = torch.ones(2, 3)
    optimizer = make_optimizer(OptimizerSpec(name, 0.1, 0.0), [weight])
    assert optimizer.param_groups[0].get("weight_decay", 0.0) == 0.0


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("adamw", {"momentum": 0.9}),
        ("adamw", {"betas": (0.9, 1.5)}),
        ("adamw", {"betas": (0.9,)}),
        ("adamw", {"betas": 0.9}),
        ("adamw", {"fused": True, "foreach": True}),
        ("adamw", {"weight_decay": 0.5}),
        ("adamw", {"lr": 0.5}),
        ("sgd", {"nesterov": True}),
        ("sgd", {"momentum": "much"}),
    ],
)
def test_options_that_torch_refuses_are_the_callers_mistake(name: str, options: dict[str, Any]) -> None:
    spec = OptimizerSpec(name, 0.1, 0.0, tuple(options.items()))
    with pytest.raises(CallerError, match=f"^optimizer: {name} does not take these options: "):
        make_optimizer(spec, [torch.zeros(1)])


def test_rprop_with_weight_decay_is_refused() -> None:
    with pytest.raises(CallerError, match="weight_decay"):
        make_optimizer(OptimizerSpec("rprop", 0.1, 0.1), [torch.zeros(1)])


def test_the_rate_rises_in_equal_stairs_to_the_peak_and_then_follows_half_a_cosine() -> None:
    spec = OptimizerSpec("sgd", 0.8, warmup_fraction=0.2, final_fraction=0.25)
    rates = learning_rates(spec, 20)
    assert rates[:4] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert rates[4] == 0.8
    assert rates[12] == pytest.approx(0.5)  # half way down, between 0.8 and a quarter of it
    assert rates[19] == pytest.approx(0.2 + 0.6 * (1 + math.cos(math.pi * 15 / 16)) / 2)
    assert len(rates) == 20


def test_a_constant_rate_stays_at_the_peak_after_its_warm_up() -> None:
    spec = OptimizerSpec("sgd", 0.1, lr_schedule="constant", warmup_fraction=0.5)
    assert learning_rates(spec, 4) == pytest.approx([0.05, 0.1, 0.1, 0.1])


def test_without_warm_up_the_first_step_has_the_peak_rate() -> None:
    assert learning_rates(OptimizerSpec("sgd", 0.1, warmup_fraction=0.0), 2) == pytest.approx([0.1, 0.05])


def test_a_training_that_is_all_warm_up_ends_at_the_peak() -> None:
    assert learning_rates(OptimizerSpec("sgd", 0.3, warmup_fraction=1.0), 3) == pytest.approx([0.1, 0.2, 0.3])
