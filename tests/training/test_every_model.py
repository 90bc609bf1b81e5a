"""Every kind of model that is promised to work: fused and looped against the oracle, bits, dropout."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from oracle import train_alone
from torch import Tensor
from training_examples import (
    ADAMW,
    EVERY_NOISE,
    NO_NOISE,
    POLICIES,
    assert_same,
    bench,
    dataset,
    differing_keys,
    members,
    policies,
    run,
)

from noise_search.models import GruParameters, ResnetParameters, TransformerParameters
from noise_search.policy import policy_to_list
from noise_search.spec import ModelSpec, OptimizerSpec
from noise_search.training import Resolved
from noise_search.training.fusability import unfusable, unfusable_scoring
from noise_search.training.modes import slots_are_bitwise

# The MLP and the CNNs have longer tests of their own.
SHIPPED = {
    "resnet group": ModelSpec("resnet", ResnetParameters()),
    "resnet batch": ModelSpec("resnet", ResnetParameters(norm="batch")),
    "gru": ModelSpec("gru", GruParameters()),
    "transformer": ModelSpec("transformer", TransformerParameters()),
}
SMALL = {
    "resnet group": ModelSpec("resnet", ResnetParameters((4, 8))),
    "resnet batch": ModelSpec("resnet", ResnetParameters((4, 8), norm="batch")),
    "gru": ModelSpec("gru", GruParameters(12, 2)),
    "transformer": ModelSpec("transformer", TransformerParameters(width=12, heads=2)),
    "own": ModelSpec("Net", {"middle": "running mean"}, "own_models.Net"),
    "own, tied": ModelSpec("Net", {"middle": "tied"}, "own_models.Net", normalise=False),
}
LOOPED_ALONE = {"own, gated": ModelSpec("Net", {"middle": "gate"}, "own_models.Net")}
DROPOUT = ModelSpec("transformer", TransformerParameters(width=12, heads=2, dropout=0.2))
COHORT = members([EVERY_NOISE, NO_NOISE, POLICIES[2], EVERY_NOISE], seeds=[0, 0, 3, 3])
# Where a batch does not use a parameter, its gradient is zero here and missing in plain PyTorch: the same to plain SGD.
PLAIN = OptimizerSpec("sgd", 0.05)
CASES = [(name, mode) for name in SMALL for mode in ("fused", "looped")] + [(name, "looped") for name in LOOPED_ALONE]


@cache
def oracle(model: str, slot: int) -> dict[str, Tensor]:
    spec = (SMALL | LOOPED_ALONE)[model]
    trained = train_alone(
        policy_to_list(COHORT[slot].policy),
        seed=COHORT[slot].seed,
        dataset=dataset(),
        model=spec,
        train=bench("mlp").setup.train,
        optimizer=PLAIN if model in LOOPED_ALONE else ADAMW,
        dtype=torch.float64,
    )
    return trained.state


@pytest.mark.parametrize(("model", "mode"), CASES)
def test_every_member_ends_where_the_oracle_ends_after_ten_steps(model: str, mode: Resolved) -> None:
    spec = (SMALL | LOOPED_ALONE)[model]
    optimizer = PLAIN if model in LOOPED_ALONE else ADAMW
    _, states = run(bench(spec, mode, dtype=torch.float64, optimizer=optimizer, score_every=2), COHORT)
    for slot, state in enumerate(states):
        expected = oracle(model, slot)
        found = {key.partition("/")[2]: value for key, value in state.items() if key.startswith(("param", "buffers"))}
        assert found
        assert found.keys() <= expected.keys()  # a tied weight has one name here and two there
        worst = max(float((value.double() - expected[name].double()).abs().max()) for name, value in found.items())
        assert worst <= 1e-9


@pytest.mark.parametrize("model", [*SHIPPED, *SMALL])
def test_every_model_but_the_one_with_control_flow_can_be_fused(model: str) -> None:
    spec = (SHIPPED | SMALL)[model]
    assert unfusable(bench(spec)) is None


def test_a_model_with_control_flow_cannot() -> None:
    assert unfusable(bench(LOOPED_ALONE["own, gated"])) is not None


@pytest.mark.parametrize("model", SHIPPED)
def test_every_model_but_the_gru_can_be_scored_fused(model: str) -> None:
    reason = unfusable_scoring(bench(SHIPPED[model]))
    if model == "gru":  # torch takes it apart for gradients alone
        assert reason is not None
        assert reason.startswith("scoring cannot be fused: layer 'network.gru' (GRU): torch has no batching rule for")
    else:
        assert reason is None


@pytest.mark.parametrize("model", SHIPPED)
def test_a_trial_has_the_same_bits_in_cohorts_of_any_width_and_slot(model: str) -> None:
    workbench = bench(SHIPPED[model], epochs=1)
    assert slots_are_bitwise(workbench)
    cohort = members(policies(16))
    _, together = run(workbench, cohort)
    for slots in ([0], [15, 0], [3, 1, 2], [7, 6, 5, 4, 3], list(range(9)), list(range(15, 2, -1))):
        _, states = run(workbench, [cohort[slot] for slot in slots])
        for slot, state in zip(slots, states, strict=True):
            assert differing_keys(state, together[slot]) == []


def test_dropout_of_a_transformer_is_that_of_seed_and_step_in_any_slot() -> None:
    for mode in ("fused", "looped"):
        workbench = bench(DROPOUT, mode, epochs=1)
        assert workbench.stochastic
        cohort = members(policies(4), seeds=[0, 7, 0, 7])
        together = list(zip(*run(workbench, cohort), strict=True))
        for order in ([3, 2, 1, 0], [2], [1, 3]):
            again = zip(*run(workbench, [cohort[slot] for slot in order]), strict=True)
            for slot, member in zip(order, again, strict=True):
                assert_same(member, together[slot])


def test_dropout_of_a_transformer_is_the_same_fused_and_looped() -> None:
    cohort = members(policies(2))
    fused, looped = (run(bench(DROPOUT, mode, dtype=torch.float64), cohort)[1] for mode in ("fused", "looped"))
    for one, other in zip(fused, looped, strict=True):
        for key in one:
            torch.testing.assert_close(one[key], other[key], rtol=0, atol=1e-9)


@pytest.mark.parametrize(("model", "rate"), [("resnet group", 5e-3), ("gru", 5e-3), ("transformer", 5e-3)])
def test_a_model_learns_the_digits_within_a_few_epochs(model: str, rate: float) -> None:
    optimizer = OptimizerSpec("adamw", rate, 0.01)
    workbench = bench(
        SHIPPED[model], "looped", epochs=8, optimizer=optimizer, data=dataset(1078, 200), batch_size=64, clip=1.0
    )
    ((result,), _) = run(workbench, members([NO_NOISE]))
    assert result.cells["clean"][0] > 0.85
