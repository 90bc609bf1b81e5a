"""The order in which the noises of one policy act: soften, mix, add, clip once."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
from noise_setups import BATCH, CLASSES, IMAGE, Values, policy, run, same_bits, term
from torch import Tensor

from noise_search.noises.inputs import INPUT_NOISES
from noise_search.noises.mixing import MIXING_NOISES, mixup
from noise_search.policy import Policy
from noise_search.schedules import Schedule
from noise_search.seeds import Draws, generator

MIXUP = term(("inputs", "mixup"), 1.0)
GAUSSIAN = term(("inputs", "gaussian"), 0.4)
SMOOTHING = term(("targets", "label_smoothing"), 0.3)
RELATIVE = term(("weights", "relative"), 0.1)
RANGE = (0.0, 1.0)
STEP, SEED = 9, 4


@pytest.fixture
def clean() -> Values:
    """Inputs far outside their range, so that clipping before mixing would show."""
    rng = generator(0, "wide")
    inputs = 3 * torch.randn((1, BATCH, *IMAGE), generator=rng, dtype=torch.float64)
    labels = torch.randint(CLASSES, (1, BATCH), generator=rng)
    return {"inputs": inputs, "targets": torch.nn.functional.one_hot(labels, CLASSES).double()}


def noisy(of: Policy, clean: Values, input_range: tuple[float, float] | None = RANGE) -> Values:
    return run("inputs", [of], clean, step=STEP, seeds=[SEED], input_range=input_range)


def own_and_partner(clean: Values) -> tuple[Tensor, Tensor]:
    draws = Draws((SEED,), "inputs", "mixup", STEP, BATCH, BATCH, torch.device("cpu"), torch.float64)
    _, mixing = mixup(clean["inputs"], torch.ones((1, BATCH), dtype=torch.float64), draws)
    return mixing.own[0], mixing.partner[0]


def test_inputs_are_mixed_then_given_noise_then_clipped_once(clean: Values) -> None:
    own, partner = own_and_partner(clean)
    lam, x = own[:, None, None, None], clean["inputs"][0]
    xi = torch.randn((BATCH, *IMAGE), generator=generator(SEED, "inputs", "gaussian", "xi", STEP), dtype=torch.float64)
    expected = (lam * x + (1 - lam) * x[partner] + 0.4 * xi).clamp(0, 1)
    torch.testing.assert_close(noisy(policy(GAUSSIAN, MIXUP), clean)["inputs"][0], expected)


def test_targets_are_softened_then_mixed(clean: Values) -> None:
    own, partner = own_and_partner(clean)
    # Half of the samples are softened: mixing first would soften the mixture by its own share in place of both.
    half = term(("targets", "label_smoothing"), 0.3, 0.5)
    soft = noisy(policy(half), clean)["targets"][0]
    lam = own[:, None]
    mixed = noisy(policy(half, MIXUP), clean)["targets"][0]
    torch.testing.assert_close(mixed, lam * soft + (1 - lam) * soft[partner])
    torch.testing.assert_close(mixed.sum(1), torch.ones(BATCH, dtype=torch.float64))


def test_the_order_of_terms_in_a_policy_changes_nothing(clean: Values) -> None:
    orders = [noisy(policy(*order), clean) for order in permutations([MIXUP, GAUSSIAN, SMOOTHING, RELATIVE])]
    assert all(same_bits(order, orders[0]) for order in orders)


def test_noises_of_one_policy_draw_as_they_do_alone(clean: Values) -> None:
    mixed = noisy(policy(MIXUP), clean, None)["inputs"]
    alone = noisy(policy(GAUSSIAN), clean, None)["inputs"] - clean["inputs"]
    both = noisy(policy(MIXUP, GAUSSIAN), clean, None)["inputs"]
    torch.testing.assert_close(both, mixed + alone)


def test_data_without_bounds_are_not_clipped(clean: Values) -> None:
    assert same_bits(noisy(policy(), clean, None), clean)
    assert float(noisy(policy(GAUSSIAN), clean, None)["inputs"].abs().max()) > 3


def test_inputs_end_inside_their_range_whatever_the_noise(clean: Values) -> None:
    inputs = noisy(policy(MIXUP, term(("inputs", "gaussian"), 10.0)), clean)["inputs"]
    assert (float(inputs.min()), float(inputs.max())) == RANGE


def test_clipping_leaves_inputs_in_range_alone_to_the_bit() -> None:
    inside = torch.tensor([[0.0, -0.0, 1.0, 0.5, 1e-40] * 7])[..., None]
    values = {"inputs": inside, "targets": torch.ones((1, 35, 1))}
    assert same_bits(run("inputs", [policy()], values, full_batch=35, input_range=RANGE), values)


def test_batches_carry_no_weight_noise_and_weights_no_batch_noise(clean: Values) -> None:
    assert same_bits(noisy(policy(RELATIVE), clean, None), clean)
    weights = {"w": torch.ones(1, 3, 4)}
    assert run("weights", [policy(MIXUP, GAUSSIAN, SMOOTHING)], weights)["w"] is weights["w"]


def test_each_step_reads_its_own_row_of_the_table() -> None:
    # 400 steps rising from 0 to 0.4: noise at a step is in proportion to it.
    rising = policy(type(GAUSSIAN)("inputs", "gaussian", 0.4, schedule=Schedule("linear")))
    values = {"inputs": torch.zeros((1, BATCH, 3), dtype=torch.float64), "targets": torch.ones((1, BATCH, 1))}
    for step in (0, 1, 133, 399):
        xi = torch.randn((BATCH, 3), generator=generator(0, "inputs", "gaussian", "xi", step), dtype=torch.float64)
        found = run("inputs", [rising], values, step=step)["inputs"][0]
        torch.testing.assert_close(found, 0.4 * step / 399 * xi)


def test_mixing_and_other_input_noises_are_apart_and_mixing_is_first() -> None:
    assert not MIXING_NOISES.keys() & INPUT_NOISES.keys()
    assert [term.noise for term in policy(GAUSSIAN, MIXUP).terms] == ["mixup", "gaussian"]
