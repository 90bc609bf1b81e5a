from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from noise_search.models import CnnParameters, InputStatistics, build_model
from noise_search.seeds import generator
from noise_search.training.engines import clip_per_trial, fused_engine, looped_engine, masked, soft_cross_entropy

TRIALS, SAMPLES = 3, 8
RNG = "engines"


def random_gradients() -> dict[str, Tensor]:
    rng = generator(0, RNG)
    sizes = torch.tensor([0.01, 1.0, 100.0], dtype=torch.float64)
    return {
        "weight": torch.randn((TRIALS, 4, 5), generator=rng, dtype=torch.float64) * sizes[:, None, None],
        "bias": torch.randn((TRIALS, 5), generator=rng, dtype=torch.float64) * sizes[:, None],
        "scale": torch.randn((TRIALS,), generator=rng, dtype=torch.float64) * sizes,
    }


def clipped_by_torch(gradients: dict[str, Tensor], trial: int, limit: float) -> tuple[list[Tensor], Tensor]:
    parameters = [nn.Parameter(torch.zeros_like(value[trial])) for value in gradients.values()]
    for parameter, value in zip(parameters, gradients.values(), strict=True):
        parameter.grad = value[trial].clone()
    norm = nn.utils.clip_grad_norm_(parameters, limit)
    return [parameter.grad for parameter in parameters if parameter.grad is not None], norm


@pytest.mark.parametrize("limit", [0.3, 3.0, 1e4])
def test_clipping_is_that_of_torch_one_trial_at_a_time(limit: float) -> None:
    gradients = random_gradients()
    clipped, norms = clip_per_trial(gradients, limit)
    for trial in range(TRIALS):
        expected, norm = clipped_by_torch(gradients, trial, limit)
        torch.testing.assert_close(norms[trial], norm, rtol=1e-14, atol=0)
        for value, other in zip(clipped.values(), expected, strict=True):
            torch.testing.assert_close(value[trial], other, rtol=1e-13, atol=0)


def test_without_a_limit_norms_are_measured_and_gradients_left_alone() -> None:
    gradients = random_gradients()
    clipped, norms = clip_per_trial(gradients, None)
    assert all(torch.equal(clipped[name], gradients[name]) for name in gradients)
    assert norms.tolist() == [
        pytest.approx(sum(float(value[trial].square().sum()) for value in gradients.values()) ** 0.5)
        for trial in range(TRIALS)
    ]


def test_one_trials_gradient_does_not_change_how_another_is_clipped() -> None:
    gradients = random_gradients()
    loud = {name: value.clone() for name, value in gradients.items()}
    for value in loud.values():
        value[2] = torch.inf
    calm, _ = clip_per_trial(gradients, 0.5)
    beside, _ = clip_per_trial(loud, 0.5)
    assert all(torch.equal(calm[name][:2], beside[name][:2]) for name in gradients)


def test_how_a_trial_is_clipped_does_not_depend_on_how_many_there_are() -> None:
    rng = generator(0, RNG)
    many = {str(size): torch.randn((16, size), generator=rng) for size in (7, 16, 130, 144, 1000, 4608, 8192)}
    whole, norms = clip_per_trial(many, 0.5)
    for width in range(1, 17):
        clipped, own = clip_per_trial({name: value[:width] for name, value in many.items()}, 0.5)
        assert torch.equal(own, norms[:width])
        assert all(torch.equal(clipped[name], whole[name][:width]) for name in many)


def test_masking_puts_zeros_for_members_that_are_out_even_where_gradients_are_not_finite() -> None:
    gradients = random_gradients()
    gradients["weight"][1] = torch.nan
    gradients["bias"][1] = torch.inf
    kept = masked(gradients, torch.tensor([True, False, True]))
    assert all(not value[1].any() for value in kept.values())
    assert all(torch.equal(kept[name][[0, 2]], gradients[name][[0, 2]]) for name in gradients)


def test_soft_cross_entropy_is_that_of_torch_for_probabilities() -> None:
    logits = torch.randn((SAMPLES, 5), generator=generator(0, RNG), dtype=torch.float64)
    targets = torch.rand((SAMPLES, 5), generator=generator(1, RNG), dtype=torch.float64).softmax(dim=1)
    expected = nn.functional.cross_entropy(logits, targets)
    torch.testing.assert_close(soft_cross_entropy(logits, targets), expected, rtol=1e-14, atol=0)


def plain_backward(model: nn.Module, inputs: Tensor, targets: Tensor) -> tuple[float, dict[str, Tensor], nn.Module]:
    own = copy.deepcopy(model)
    loss = nn.functional.cross_entropy(own(inputs), targets)
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return loss.item(), {name: value.grad for name, value in own.named_parameters() if value.grad is not None}, own


@pytest.mark.parametrize("norm", ["group", "batch"])
def test_both_engines_find_the_gradients_and_buffers_of_a_plain_backward(norm: str) -> None:
    statistics = InputStatistics((1, 8, 8), 5, 0.5, 0.3)
    parameters = CnnParameters((4, 8), 16, "batch" if norm == "batch" else "group")
    models = [build_model("cnn", parameters, statistics, seed=seed).double().train() for seed in range(TRIALS)]
    inputs = torch.rand((TRIALS, SAMPLES, 1, 8, 8), generator=generator(0, RNG), dtype=torch.float64)
    targets = torch.rand((TRIALS, SAMPLES, 5), generator=generator(1, RNG), dtype=torch.float64).softmax(dim=-1)
    stacked = {
        name: torch.stack([dict(m.named_parameters())[name].detach() for m in models])
        for name, _ in models[0].named_parameters()
    }
    buffers = {
        name: torch.stack([dict(m.named_buffers())[name] for m in models]) for name, _ in models[0].named_buffers()
    }
    expected = [plain_backward(model, inputs[k], targets[k]) for k, model in enumerate(models)]

    own = {name: value.clone() for name, value in buffers.items()}
    fused = fused_engine(copy.deepcopy(models[0]))(stacked, own, inputs, targets)
    for k, (loss, gradients, after) in enumerate(expected):
        one = slice(k, k + 1)
        looped = looped_engine(copy.deepcopy(models[0]))(
            {name: value[one] for name, value in stacked.items()},
            {name: value[one] for name, value in buffers.items()},
            inputs[one],
            targets[one],
        )
        for found, slot in ((fused, k), (looped, 0)):
            assert float(found.losses[slot]) == pytest.approx(loss, abs=1e-12)
            for name, gradient in gradients.items():
                torch.testing.assert_close(found.gradients[name][slot], gradient, rtol=0, atol=1e-12)
            for name, buffer in after.named_buffers():
                torch.testing.assert_close(found.buffers[name][slot], buffer, rtol=0, atol=1e-12)


def test_a_parameter_the_loss_does_not_use_has_a_gradient_of_zero_in_both_engines() -> None:
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used = nn.Linear(3, 2)
            self.idle = nn.Parameter(torch.ones(4))

        def forward(self, inputs: Tensor) -> Tensor:
            out: Tensor = self.used(inputs)
            return out

    model = Idle()
    stacked = {name: value.detach()[None] for name, value in model.named_parameters()}
    inputs, targets = torch.ones(1, 2, 3), torch.full((1, 2, 2), 0.5)
    for engine in (fused_engine(model), looped_engine(model)):
        assert torch.equal(engine(stacked, {}, inputs, targets).gradients["idle"], torch.zeros(1, 4))
