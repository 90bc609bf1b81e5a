from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.special import log_softmax, softmax
from sklearn.metrics import accuracy_score, log_loss
from torch import Tensor

from noise_search import metrics
from noise_search.seeds import generator

ACCURACIES = st.floats(0, 1)
CLASSES = st.integers(2, 100)


def some_logits(seed: int, *, samples: int = 300, classes: int = 10, scale: float = 2.0) -> tuple[Tensor, Tensor]:
    """Logits (samples, classes) that are right more often than by chance, and labels."""
    rng = generator(seed, "logits")
    labels = torch.randint(classes, (samples,), generator=rng)
    logits = scale * torch.randn((samples, classes), generator=rng)
    logits[torch.arange(samples), labels] += scale
    return logits, labels


SETS = pytest.mark.parametrize(
    ("logits", "labels"),
    [some_logits(0), some_logits(1, classes=2), some_logits(2, scale=20.0), some_logits(3, samples=1)],
    ids=["ten classes", "two classes", "confident", "one sample"],
)


@SETS
def test_accuracy_is_that_of_scikit_learn(logits: Tensor, labels: Tensor) -> None:
    assert float(metrics.accuracy(logits, labels)) == accuracy_score(labels, logits.argmax(1))


@SETS
def test_negative_log_likelihood_is_the_mean_of_minus_log_softmax_at_the_label(logits: Tensor, labels: Tensor) -> None:
    expected = -np.mean([log_softmax(row)[label] for row, label in zip(logits.double().numpy(), labels, strict=True)])
    assert float(metrics.negative_log_likelihood(logits, labels)) == pytest.approx(expected, rel=1e-12)


def test_negative_log_likelihood_is_the_log_loss_of_scikit_learn() -> None:
    logits, labels = some_logits(0)  # scikit-learn bends more confident ones away from 0 and 1
    expected = log_loss(labels, softmax(logits.double().numpy(), axis=1))
    assert float(metrics.negative_log_likelihood(logits, labels)) == pytest.approx(expected, rel=1e-9)


@SETS
def test_brier_is_the_mean_of_the_summed_squares_of_errors(logits: Tensor, labels: Tensor) -> None:
    p = softmax(logits.double().numpy(), axis=1)
    distances = [sum((p[i, k] - (k == labels[i].item())) ** 2 for k in range(p.shape[1])) for i in range(len(labels))]
    assert float(metrics.brier(logits, labels)) == pytest.approx(np.mean(distances), rel=1e-12)


def test_brier_runs_from_0_for_certain_and_right_to_2_for_certain_and_wrong() -> None:
    certain = torch.tensor([[1e4, 0.0, 0.0]])
    assert float(metrics.brier(certain, torch.tensor([0]))) == 0
    assert float(metrics.brier(certain, torch.tensor([1]))) == 2


@SETS
def test_entropy_is_that_of_scipy_in_nats(logits: Tensor, labels: Tensor) -> None:  # noqa: ARG001
    expected = np.mean(stats.entropy(softmax(logits.double().numpy(), axis=1), axis=1))
    assert float(metrics.entropy(logits)) == pytest.approx(expected, rel=1e-9, abs=1e-15)


def test_entropy_is_log_k_for_a_model_that_knows_nothing_and_0_for_a_certain_one() -> None:
    assert float(metrics.entropy(torch.zeros(4, 7))) == pytest.approx(math.log(7))
    assert float(metrics.entropy(1e30 * torch.eye(4))) == 0


def calibration_error_by_hand(confidence: list[float], right: list[bool]) -> float:
    """Guo et al. 2017, equations 3 to 5, bin by bin."""
    total, n = 0.0, len(confidence)
    for m in range(15):
        inside = [i for i, c in enumerate(confidence) if (m / 15 < c <= (m + 1) / 15) or (m == 0 and c == 0)]
        if inside:
            gap = np.mean([right[i] for i in inside]) - np.mean([confidence[i] for i in inside])
            total += len(inside) / n * abs(float(gap))
    return total


@SETS
def test_calibration_error_is_the_sum_over_bins(logits: Tensor, labels: Tensor) -> None:
    p = softmax(logits.double().numpy(), axis=1)
    expected = calibration_error_by_hand(p.max(1).tolist(), (p.argmax(1) == labels.numpy()).tolist())
    assert float(metrics.expected_calibration_error(logits, labels)) == pytest.approx(expected, abs=1e-12)


def test_calibration_error_of_two_bins_is_weighted_by_their_samples() -> None:
    sure, unsure = [math.log(0.9 / 0.1), 0.0], [math.log(0.6 / 0.4), 0.0]
    logits = torch.tensor([sure, sure, sure, unsure], dtype=torch.float64)
    labels = torch.tensor([0, 0, 1, 0])  # sure is right in 2 of 3, unsure in 1 of 1
    expected = 3 / 4 * (0.9 - 2 / 3) + 1 / 4 * (1 - 0.6)
    assert float(metrics.expected_calibration_error(logits, labels)) == pytest.approx(expected, abs=1e-12)


def test_a_confidence_on_the_edge_of_two_bins_belongs_to_the_lower_one() -> None:
    edge = [0.0] * 5  # confidence 3/15, always right
    above = [math.log(4 / 3), 0.0, 0.0, 0.0, 0.0]  # confidence 4/16, inside (3/15, 4/15], always wrong
    logits = torch.tensor([edge, above], dtype=torch.float64)
    error = metrics.expected_calibration_error(logits, torch.tensor([0, 1]))
    assert float(error) == pytest.approx((0.8 + 0.25) / 2, abs=1e-12)


def test_errors_in_two_directions_inside_one_bin_cancel() -> None:
    p = 0.5 + 1 / 60  # in the middle of (7/15, 8/15]: both halves of the samples share the bin
    logits = torch.tensor([[math.log(p / (1 - p)), 0.0]] * 200, dtype=torch.float64)
    labels = torch.tensor([0] * 100 + [1] * 100)
    assert float(metrics.expected_calibration_error(logits, labels)) == pytest.approx(p - 0.5, abs=1e-12)


@pytest.mark.parametrize(
    "metric",
    [metrics.accuracy, metrics.negative_log_likelihood, metrics.brier, metrics.expected_calibration_error],
    ids=lambda metric: metric.__name__,
)
def test_leading_axes_are_scored_each_by_itself(metric: object) -> None:
    labels = some_logits(0)[1]
    sets = torch.stack([some_logits(seed)[0] for seed in range(6)]).reshape(2, 3, 300, 10)
    together = metric(sets, labels)  # type: ignore[operator]
    assert together.shape == (2, 3)
    for i in range(2):
        for j in range(3):
            assert float(together[i, j]) == pytest.approx(float(metric(sets[i, j], labels)), rel=1e-12)  # type: ignore[operator]


def test_scores_of_single_precision_logits_are_summed_in_double_precision() -> None:
    logits, labels = some_logits(0)
    for metric in (metrics.negative_log_likelihood, metrics.brier, metrics.expected_calibration_error):
        assert torch.equal(metric(logits, labels), metric(logits.double(), labels))


@given(ACCURACIES, CLASSES)
def test_accuracy_above_chance_is_0_up_to_chance_and_1_when_always_right(accuracy: float, classes: int) -> None:
    above = metrics.above_chance(accuracy, classes)
    if accuracy <= 1 / classes:
        assert above == 0
    else:
        assert above == pytest.approx((classes * accuracy - 1) / (classes - 1), abs=1e-12)


@pytest.mark.parametrize("classes", [2, 3, 10, 1000])
def test_the_ends_of_accuracy_above_chance_are_exact(classes: int) -> None:
    assert metrics.above_chance(1.0, classes) == 1
    assert metrics.above_chance(0.0, classes) == metrics.above_chance(1 / classes, classes) == 0


# Two kinds in one family and one in the other, with rows of unequal length: every mean over the wrong set shows.
CELLS = {"gaussian": [0.9, 0.7, 0.05], "speckle": [0.5], "contrast": [1.0, 0.1]}
FAMILIES = {"noise": ("gaussian", "speckle"), "tone": ("contrast",)}
NOISE = ((0.8 / 0.9 + 0.6 / 0.9 + 0) / 3 + 0.4 / 0.9) / 2
TONE = (1 + 0) / 2


def test_a_family_is_the_mean_over_its_kinds_of_the_mean_over_severities_above_chance() -> None:
    found = metrics.robust(CELLS, FAMILIES, classes=10)
    assert found == pytest.approx({"noise": NOISE, "tone": TONE}, abs=1e-12)


def test_every_family_weighs_the_same_in_robust_however_many_kinds_it_has() -> None:
    found = metrics.scores(0.82, CELLS, FAMILIES, classes=10)
    robust = (NOISE + TONE) / 2
    expected = {"clean": 0.8, "robust": robust, "worst_family": min(NOISE, TONE), "drop": 0.8 - robust}
    assert found == pytest.approx(expected, abs=1e-12)


def test_cells_below_chance_do_not_pull_others_down() -> None:
    assert metrics.robust({"a": [0.0, 1.0]}, {"f": ("a",)}, classes=2) == {"f": 0.5}


@given(ACCURACIES, ACCURACIES, ACCURACIES)
def test_the_combined_score_lies_between_clean_and_robust(clean: float, robust: float, weight: float) -> None:
    score = metrics.combined(clean, robust, weight)
    assert min(clean, robust) - 1e-12 <= score <= max(clean, robust) + 1e-12
    assert metrics.combined(clean, robust, 1.0) == clean
    assert metrics.combined(clean, robust, 0.0) == robust


CONTROL = {"gaussian": [0.8, 0.6], "contrast": [0.9, 0.7]}  # clean 0.9: adds 0.1 + 0.3, and 0 + 0.2


def test_relative_corruption_error_is_the_mean_over_kinds_of_added_errors_to_those_of_the_control() -> None:
    own = {"gaussian": [0.75, 0.75], "contrast": [0.85, 0.55]}  # clean 0.85: adds 0.2, and 0 + 0.3
    expected = (0.2 / 0.4 + 0.3 / 0.2) / 2
    assert metrics.relative_corruption_error(own, 0.85, CONTROL, 0.9) == pytest.approx(expected)


def test_relative_corruption_error_of_the_control_itself_is_1() -> None:
    assert metrics.relative_corruption_error(CONTROL, 0.9, CONTROL, 0.9) == 1


def test_relative_corruption_error_passes_over_kinds_that_cost_the_control_nothing() -> None:
    control = {**CONTROL, "contrast": [0.9, 0.9]}
    own = {"gaussian": [0.8, 0.8], "contrast": [0.1, 0.1]}
    assert metrics.relative_corruption_error(own, 0.9, control, 0.9) == pytest.approx(0.2 / 0.4)


def test_relative_corruption_error_is_no_number_where_nothing_costs_the_control_anything() -> None:
    assert math.isnan(metrics.relative_corruption_error({"a": [0.5]}, 0.9, {"a": [0.9]}, 0.9))
