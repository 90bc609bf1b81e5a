from __future__ import annotations

import numpy as np
import pytest
import torch
from noise_setups import BATCH, policy, run, same_bits, term
from scipy import stats
from torch import Tensor

from noise_search.noises.targets import TARGET_NOISES
from noise_search.policy import Policy
from noise_search.seeds import generator

FLIP, SMOOTHING = ("targets", "label_flip"), ("targets", "label_smoothing")


def targets_of(labels: Tensor, classes: int) -> Tensor:
    return torch.nn.functional.one_hot(labels, classes).double()[None]


def flipped(probability: float, labels: Tensor, classes: int, step: int) -> Tensor:
    """Labels (batch,) after a step's flips."""
    targets = noisy(policy(term(FLIP, probability)), targets_of(labels, classes), step)
    assert torch.equal(targets.sort(-1).values, targets_of(torch.full_like(labels, classes - 1), classes)[0])
    return targets.argmax(-1)


def noisy(of: Policy, targets: Tensor, step: int = 0) -> Tensor:
    """(batch, classes)"""
    values = {"inputs": torch.zeros((1, BATCH, 3), dtype=torch.float64), "targets": targets}
    return run("targets", [of], values, step=step)["targets"][0]


@pytest.mark.parametrize("probability", [0.01, 0.3, 1.0])
def test_labels_flip_with_the_magnitude_as_probability(probability: float) -> None:
    labels = torch.arange(BATCH) % 5
    changed = sum(int((flipped(probability, labels, 5, step) != labels).sum()) for step in range(200))
    assert stats.binomtest(changed, 200 * BATCH, probability).pvalue > 0.001


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("label", [0, 1])
def test_a_flipped_label_is_any_of_the_others_equally_often(classes: int, label: int) -> None:
    labels = torch.full((BATCH,), label)
    found = np.bincount(torch.cat([flipped(1.0, labels, classes, step) for step in range(100)]), minlength=classes)
    assert found[label] == 0
    assert stats.chisquare(np.delete(found, label)).pvalue > 0.001 if classes > 2 else found.sum() == 100 * BATCH


def test_labels_flip_anew_in_every_batch() -> None:
    labels = torch.arange(BATCH) % 5
    assert not torch.equal(flipped(0.5, labels, 5, 0), flipped(0.5, labels, 5, 1))


def test_a_larger_probability_flips_the_same_labels_to_the_same_classes_and_more() -> None:
    labels = torch.arange(BATCH) % 5
    for step in range(10):
        few, many = (flipped(probability, labels, 5, step) for probability in (0.2, 0.6))
        assert torch.equal(few[few != labels], many[few != labels])


def test_with_one_class_there_is_no_other() -> None:
    only = torch.ones((1, BATCH, 1), dtype=torch.float64)
    assert same_bits({"t": noisy(policy(term(FLIP, 1.0)), only)}, {"t": only[0]})


def test_any_distribution_stays_the_same_up_to_the_order_of_its_classes() -> None:
    soft = torch.softmax(torch.randn((1, BATCH, 6), generator=generator(0, "soft"), dtype=torch.float64), dim=-1)
    after = noisy(policy(term(FLIP, 1.0)), soft)
    assert torch.equal(after.sort(-1).values, soft[0].sort(-1).values)
    assert bool((after != soft[0]).any(-1).all())


def test_labels_flip_before_they_are_softened() -> None:
    assert list(TARGET_NOISES) == ["label_flip", "label_smoothing"]
    labels = torch.arange(BATCH) % 5
    both = noisy(policy(term(SMOOTHING, 0.25), term(FLIP, 0.5)), targets_of(labels, 5))
    expected = 0.75 * targets_of(flipped(0.5, labels, 5, 0), 5)[0] + 0.25 / 5
    torch.testing.assert_close(both, expected)
