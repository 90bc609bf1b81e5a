from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from apply_examples import IMAGES, card
from torch import Tensor, nn

from noise_search.apply import BoundNoise
from noise_search.errors import CallerError
from noise_search.policy import Term
from noise_search.seeds import generator

GAUSSIAN = Term("inputs", "gaussian", 0.2)
SMOOTHING = Term("targets", "label_smoothing", 0.3)
MEAN, STD = [0.5, 0.4], [0.25, 0.2]
LABELS = torch.tensor([0, 2, 1, 0])


def pictures(seed: int = 0) -> Tensor:
    """Four pictures of two channels, with some values at both ends of the range."""
    values = torch.rand((4, 2, 3, 3), generator=torch.Generator().manual_seed(seed))
    values[0, 0, 0, :2] = torch.tensor([0.0, 1.0])
    return values


def bound(*terms: Term, context: dict[str, Any] | None = None, **bind: Any) -> BoundNoise:
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    chosen = card(*terms, context=IMAGES if context is None else context)
    return chosen.bind(model, optimizer, total_steps=1, seed=0, **bind)


def batch(noise: BoundNoise, inputs: Any, targets: Any = LABELS) -> tuple[Tensor, Tensor]:
    """Noisy batch of the first step, which stays open."""
    noise.shake()
    return noise.batch(inputs, targets)


def per_channel(numbers: list[float]) -> Tensor:
    return torch.tensor(numbers)[:, None, None]


# --- units


def test_noise_is_added_in_raw_units_by_the_formula_and_clipped() -> None:
    noisy, _ = batch(bound(GAUSSIAN), pictures())
    xi = torch.randn((4, 2, 3, 3), generator=generator(0, "inputs", "gaussian", "xi", 0))
    torch.testing.assert_close(noisy, (pictures() + 0.2 * xi).clamp(0.0, 1.0))


def test_normalised_inputs_get_the_noise_of_raw_ones_and_come_back_normalised() -> None:
    given = (pictures() - per_channel(MEAN)) / per_channel(STD)
    raw, _ = batch(bound(GAUSSIAN), pictures())
    for numbers in ((MEAN, STD), (torch.tensor(MEAN), torch.tensor(STD))):
        noisy, _ = batch(bound(GAUSSIAN, normalize=numbers), given)
        torch.testing.assert_close(noisy, (raw - per_channel(MEAN)) / per_channel(STD), rtol=1e-4, atol=1e-5)


def test_one_number_normalises_all_channels() -> None:
    given = (pictures() - 0.5) / 0.25
    raw, _ = batch(bound(GAUSSIAN), pictures())
    noisy, _ = batch(bound(GAUSSIAN, normalize=(0.5, 0.25)), given)
    torch.testing.assert_close(noisy, (raw - 0.5) / 0.25, rtol=1e-4, atol=1e-5)


def test_normalised_inputs_keep_their_bits_where_noise_changes_nothing() -> None:
    given = (pictures() - per_channel(MEAN)) / per_channel(STD)
    noisy, _ = batch(bound(Term("inputs", "impulse", 0.3), normalize=(MEAN, STD)), given)
    same = noisy == given
    raw = noisy * per_channel(STD) + per_channel(MEAN)
    ends = (raw.abs() < 1e-6) | ((raw - 1).abs() < 1e-6)
    assert 0 < int(same.sum()) < same.numel()
    assert bool((same | ends).all())


def test_tabular_inputs_are_normalised_by_column_and_not_clipped() -> None:
    values = torch.tensor([[100.0, -3.0], [90.0, 2.0], [110.0, 0.0], [95.0, 1.0]])
    mean, std = torch.tensor([100.0, 0.0]), torch.tensor([10.0, 2.0])
    context = {"modality": "tabular", "input_range": None}
    noisy, _ = batch(bound(GAUSSIAN, context=context, normalize=(mean, std)), (values - mean) / std)
    xi = torch.randn((4, 2), generator=generator(0, "inputs", "gaussian", "xi", 0))
    torch.testing.assert_close(noisy, (values + 0.2 * xi - mean) / std, rtol=1e-4, atol=1e-4)


def test_a_last_smaller_batch_has_the_first_of_the_draws_for_a_full_one() -> None:
    noise = bound(GAUSSIAN)
    batch(noise, torch.rand(8, 1, 2, 2), torch.zeros(8, dtype=torch.long))
    noise.restore()
    noise._micro_batches = 0  # the same step once more
    part, _ = batch(noise, torch.full((3, 1, 2, 2), 0.5), torch.zeros(3, dtype=torch.long))
    xi = torch.randn((8, 1, 2, 2), generator=generator(0, "inputs", "gaussian", "xi", 0))
    torch.testing.assert_close(part, (0.5 + 0.2 * xi[:3]).clamp(0.0, 1.0))


def test_what_goes_in_is_never_written_to() -> None:
    terms = [GAUSSIAN, SMOOTHING, Term("inputs", "mixup", 0.5), Term("targets", "label_flip", 0.5)]
    inputs, targets = pictures(), torch.eye(3)[LABELS]
    batch(bound(*terms), inputs, targets)
    assert torch.equal(inputs, pictures())
    assert torch.equal(targets, torch.eye(3)[LABELS])


# --- targets


def test_class_indices_become_the_probabilities_of_the_formula() -> None:
    for labels in (LABELS, LABELS.int(), torch.eye(3)[LABELS]):
        _, targets = batch(bound(SMOOTHING, classes=3), pictures(), labels)
        torch.testing.assert_close(targets, 0.7 * torch.eye(3)[LABELS] + 0.1)


def test_targets_of_a_card_without_need_of_them_may_be_anything() -> None:
    for targets in (LABELS, torch.rand(4), torch.rand(4, 7)):
        _, same = batch(bound(GAUSSIAN), pictures(), targets)
        assert same is targets


def test_inputs_of_a_card_without_noise_there_may_be_anything() -> None:
    given = torch.randn(4, 2, 3, 3) * 100
    same, _ = batch(bound(SMOOTHING, classes=3), given)
    assert same is given


# --- refused


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (pictures() * 255, r"inputs: expected raw values in \[0, 1\], got 0 to 255; pass normalize="),
        (pictures() - 0.5, r"inputs: expected raw values in \[0, 1\], got -0.5 to 0.5"),
        (pictures() / 0 * 0, "inputs: expected finite numbers, got some that are not"),
        (torch.full((4, 2, 3, 3), math.inf), "inputs: expected finite numbers"),
        ((pictures() * 255).to(torch.uint8), "expected a tensor of floating point numbers, got torch.uint8; divide"),
        (pictures().numpy(), "expected a tensor of floating point numbers, got ndarray"),
        (torch.rand(4, 9), r"expected images \(batch, channels, height, width\), .* got shape \(4, 9\)"),
        (torch.rand(0, 1, 2, 2), r"expected images .* got shape \(0, 1, 2, 2\)"),
        (pictures().requires_grad_(), "expected a tensor without gradient"),
    ],
)
def test_inputs_that_are_not_what_the_card_is_for_are_refused(inputs: Any, words: str) -> None:
    with pytest.raises(CallerError, match=f"^batch: {words}|^batch: inputs: {words}"):
        batch(bound(GAUSSIAN), inputs)


def test_inputs_of_another_modality_are_refused() -> None:
    context = {"modality": "tabular", "input_range": None}
    with pytest.raises(CallerError, match=r"^batch: inputs: expected tabular \(batch, features\), which the card is"):
        batch(bound(GAUSSIAN, context=context), pictures())


def test_inputs_that_were_normalised_otherwise_are_refused() -> None:
    given = (pictures() - 0.5) / 0.1
    with pytest.raises(CallerError, match=r"^batch: inputs: expected raw values in \[0, 1\], got -0.75 to 1.75; see"):
        batch(bound(GAUSSIAN, normalize=(0.5, 0.25)), given)
    with pytest.raises(CallerError, match=r"^bind: normalize: expected one number or 2, one a channel, got 3"):
        batch(bound(GAUSSIAN, normalize=([0.5] * 3, [0.2] * 3)), pictures())


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        (LABELS[:3], r"expected a tensor of 4, one for each input, got \(3,\)"),
        ([0, 1, 2, 0], "expected a tensor of 4, one for each input, got list"),
        (LABELS + 1, "expected class indices 0 to 2, got 1 to 3"),
        (torch.rand(4), r"expected class indices \(batch,\) or probabilities \(batch, classes\), got torch.float32"),
        (torch.rand(4, 3) + 1, "expected class probabilities that sum to 1, got other numbers"),
        (torch.full((4, 3), math.nan), "expected class probabilities that sum to 1, got other numbers"),
        (torch.eye(4), "expected 3 classes, got 4"),
    ],
)
def test_targets_that_no_noise_can_work_on_are_refused(targets: Any, words: str) -> None:
    with pytest.raises(CallerError, match=f"^batch: targets: {words}"):
        batch(bound(SMOOTHING, classes=3), pictures(), targets)


def test_class_indices_need_the_number_of_classes_where_a_noise_makes_probabilities() -> None:
    for term in (SMOOTHING, Term("inputs", "mixup", 0.5)):
        with pytest.raises(CallerError, match=r"^bind: classes: expected how many, .* got None; pass classes="):
            batch(bound(term), pictures())


@pytest.mark.parametrize("wrong", [[0], [1.0, 0.0], "wide", [0.0, math.nan]])
def test_a_cards_range_that_is_none_is_refused(wrong: object) -> None:
    with pytest.raises(CallerError, match=r"^card: context\.input_range: expected two numbers"):
        bound(GAUSSIAN, context={"modality": "audio", "input_range": wrong})


def test_a_card_that_does_not_say_what_inputs_are_is_refused_where_it_has_noise_on_them() -> None:
    with pytest.raises(CallerError, match=r"^card: context: expected modality and input_range"):
        bound(GAUSSIAN, context={})
    bound(SMOOTHING, context={})
