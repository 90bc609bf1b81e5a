from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import pytest
import torch
import yaml
from torch import Tensor, nn

from noise_search.config import config_folder
from noise_search.corruptions.suites import Kind, Suite, corrupted_images, families, suite_from_mapping
from noise_search.data import DATASETS, Split
from noise_search.evaluation import (
    Yardstick,
    fused_logits,
    looped_logits,
    make_yardstick,
    score,
    weight_robustness,
)
from noise_search.models import CnnParameters, InputStatistics, MlpParameters, build_model

TRIALS = 3
STATISTICS = InputStatistics((1, 8, 8), 10, 0.3, 0.38)
ARCHITECTURES = {
    "mlp": MlpParameters((32, 32)),
    "cnn group": CnnParameters((8, 16), 32),
    "cnn batch": CnnParameters((8, 16), 32, "batch"),
}
architectures = pytest.mark.parametrize("architecture", ARCHITECTURES)


@cache
def digits_suite() -> Suite:
    return suite_from_mapping(yaml.safe_load((config_folder() / "suite" / "digits.yaml").read_text()), "suite")


@cache
def validation(samples: int = 150) -> Split:
    split: Split = DATASETS["digits"].load().validation
    return Split(split.inputs[:samples].double(), split.labels[:samples])


@cache
def digits_yardstick() -> Yardstick:
    return make_yardstick(digits_suite(), validation(), 10)


def model_of(architecture: str, seed: int = 0) -> nn.Module:
    name = architecture.partition(" ")[0]
    return build_model(name, ARCHITECTURES[architecture], STATISTICS, seed=seed).double()


def stacked(models: list[nn.Module]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    parameters = {
        name: torch.stack([dict(model.named_parameters())[name].detach() for model in models])
        for name, _ in models[0].named_parameters()
    }
    buffers = {
        name: torch.stack([dict(model.named_buffers())[name] for model in models])
        for name, _ in models[0].named_buffers()
    }
    return parameters, buffers


@architectures
def test_fused_and_looped_predictions_and_scores_agree(architecture: str) -> None:
    model = model_of(architecture)
    parameters, buffers = stacked([model_of(architecture, seed) for seed in range(TRIALS)])
    fused, looped = fused_logits(model.eval()), looped_logits(model)
    images = digits_yardstick().images.flatten(0, 1)
    torch.testing.assert_close(
        fused(parameters, buffers, images), looped(parameters, buffers, images), rtol=0, atol=1e-10
    )
    scores = [score(model, predict, parameters, buffers, digits_yardstick()) for predict in (fused, looped)]
    for one, other in zip(*scores, strict=True):
        assert one.cells == other.cells
        assert one.named == pytest.approx(other.named, abs=1e-5)


@architectures
def test_predictions_are_those_of_the_models_themselves_in_eval_mode(architecture: str) -> None:
    models = [model_of(architecture, seed) for seed in range(TRIALS)]
    parameters, buffers = stacked(models)
    images = validation().inputs
    found = fused_logits(model_of(architecture).eval())(parameters, buffers, images)
    for k, model in enumerate(models):
        torch.testing.assert_close(found[k], model.eval()(images).detach(), rtol=0, atol=1e-10)


@architectures
def test_scoring_puts_the_model_back_into_the_mode_it_was_in_and_leaves_buffers_alone(architecture: str) -> None:
    model = model_of(architecture)
    parameters, buffers = stacked([model, model])
    kept = {name: value.clone() for name, value in buffers.items()}
    for mode in (True, False):
        model.train(mode)
        score(model, fused_logits(model), parameters, buffers, digits_yardstick())
        weight_robustness(model, parameters, buffers, digits_yardstick())
        assert model.training is mode
    assert all(torch.equal(buffers[name], kept[name]) for name in kept)


def test_scores_name_every_kind_and_cells_hold_every_severity() -> None:
    model = model_of("mlp")
    (found,) = score(model, looped_logits(model), *stacked([model]), digits_yardstick())
    kinds = [kind.name for kind in digits_suite().kinds]
    assert list(found.cells) == ["clean", *kinds]
    assert [len(row) for row in found.cells.values()] == [1] + [5] * len(kinds)
    details = [
        f"{where}/{what}" for where in ("clean", "corrupted") for what in ("accuracy", "nll", "brier", "ece", "entropy")
    ]
    judged = ["clean", "robust", "worst_family", "drop"]
    assert sorted(found.named) == sorted([*judged, *details, *(f"kind/{kind}" for kind in kinds)])
    assert all(math.isfinite(value) for value in found.named.values())


def test_a_yardstick_is_the_clean_split_and_then_each_kind_at_each_severity() -> None:
    yardstick = digits_yardstick()
    assert yardstick.images.shape == (31, 150, 1, 8, 8)
    assert torch.equal(yardstick.images[0], validation().inputs)
    assert torch.equal(yardstick.images[1:], corrupted_images(digits_suite(), validation().inputs))


class Reading(nn.Module):
    """Takes images that are logits already, times a scale."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, images: Tensor) -> Tensor:
        return images * self.scale


def suite_of(*names_and_families: tuple[str, str]) -> Suite:
    kinds = tuple(Kind(name, family, (0.1, 0.2), (0.0, 0.0), True) for name, family in names_and_families)
    return replace(digits_suite(), kinds=kinds)


def answers(*labels: int) -> Tensor:
    """Logits of one set that give each sample's answer, of two, a probability of 4 in 5."""
    return torch.tensor([[math.log(4), 0.0] if label == 0 else [0.0, math.log(4)] for label in labels]).double()


LABELS = torch.tensor([0, 1, 0, 1])
RIGHT, HALF, THREE = answers(0, 1, 0, 1), answers(0, 1, 1, 0), answers(0, 1, 0, 0)
WRONG = answers(1, 0, 1, 0)
NATS = {True: -math.log(0.8), False: -math.log(0.2)}


def test_scores_of_known_predictions_are_those_worked_out_by_hand() -> None:
    # Accuracy above chance of two classes is 2 a - 1: 1, 0, .5 and (never below) 0.
    suite = suite_of(("gaussian", "noise"), ("speckle", "noise"), ("contrast", "tone"))
    images = torch.stack([RIGHT, RIGHT, THREE, HALF, WRONG, THREE, THREE])
    (found,) = score(Reading(), looped_logits(Reading()), *stacked([Reading()]), Yardstick(suite, images, LABELS, 2))
    assert found.cells == {"clean": [1.0], "gaussian": [1.0, 0.75], "speckle": [0.5, 0.0], "contrast": [0.75, 0.75]}
    named = found.named
    assert named["clean"] == 1.0
    assert (named["kind/gaussian"], named["kind/speckle"], named["kind/contrast"]) == pytest.approx((0.75, 0.0, 0.5))
    # noise: (.75 + 0) / 2; tone: .5; robust: their mean
    assert named["robust"] == pytest.approx(0.4375)
    assert named["worst_family"] == pytest.approx(0.375)
    assert named["drop"] == pytest.approx(0.5625)
    # mean over families of kinds of severities: ((.875 + .25) / 2 + .75) / 2
    share = 0.65625
    assert named["clean/accuracy"] == 1.0
    assert named["corrupted/accuracy"] == pytest.approx(share)
    assert named["clean/nll"] == pytest.approx(NATS[True])
    assert named["corrupted/nll"] == pytest.approx(share * NATS[True] + (1 - share) * NATS[False])
    assert named["clean/brier"] == pytest.approx(2 * 0.2**2)
    assert named["corrupted/brier"] == pytest.approx(share * 2 * 0.2**2 + (1 - share) * 2 * 0.8**2)
    entropy = 0.8 * NATS[True] + 0.2 * NATS[False]
    assert (named["clean/entropy"], named["corrupted/entropy"]) == pytest.approx((entropy, entropy))
    # Confidence is always .8; accuracies 1, 1, .75, .5, 0, .75, .75 leave gaps of
    assert named["clean/ece"] == pytest.approx(0.2)
    assert named["corrupted/ece"] == pytest.approx((((0.2 + 0.05) / 2 + (0.3 + 0.8) / 2) / 2 + 0.05) / 2)


def test_every_trial_of_a_cohort_is_scored_by_its_own_parameters() -> None:
    suite = suite_of(("contrast", "tone"))
    images = torch.stack([RIGHT, RIGHT, THREE])
    upright, turned = Reading(), Reading()
    turned.scale.data.mul_(-1)
    for predictor in (looped_logits, fused_logits):
        model = Reading()
        found = score(model, predictor(model), *stacked([upright, turned]), Yardstick(suite, images, LABELS, 2))
        assert [scores.cells["clean"] for scores in found] == [[1.0], [0.0]]
        assert [scores.cells["contrast"] for scores in found] == [[1.0, 0.75], [0.0, 0.25]]


def test_a_detail_that_is_the_same_on_every_set_is_its_own_mean_because_the_weights_sum_to_one() -> None:
    suite = digits_suite()
    assert len({len(kinds) for kinds in families(suite).values()}) > 1  # families of different sizes
    images = torch.stack([HALF] + [THREE] * 30)
    (found,) = score(Reading(), looped_logits(Reading()), *stacked([Reading()]), Yardstick(suite, images, LABELS, 2))
    assert found.named["corrupted/accuracy"] == pytest.approx(0.75)
    assert found.named["corrupted/brier"] == pytest.approx(0.75 * 2 * 0.2**2 + 0.25 * 2 * 0.8**2)


@architectures
def test_weights_perturbed_by_next_to_nothing_keep_their_clean_accuracy(architecture: str) -> None:
    tiny = replace(digits_yardstick(), suite=replace(digits_suite(), weight_strengths=(1e-12, 0.5)))
    models = [model_of(architecture, seed) for seed in range(TRIALS)]
    parameters, buffers = stacked(models)
    rows = weight_robustness(models[0], parameters, buffers, tiny)
    scores = score(models[0], looped_logits(models[0]), parameters, buffers, tiny)
    assert [row[0] for row in rows] == [scored.cells["clean"][0] for scored in scores]
    assert [row[1] for row in rows] != [row[0] for row in rows]


def test_weight_robustness_of_a_trial_does_not_depend_on_its_slot() -> None:
    models = [model_of("mlp", seed) for seed in range(TRIALS)]
    forth = weight_robustness(models[0], *stacked(models), digits_yardstick())
    back = weight_robustness(models[0], *stacked(models[::-1]), digits_yardstick())
    assert forth == back[::-1]
    assert [len(row) for row in forth] == [len(digits_suite().weight_strengths)] * TRIALS


def test_weights_rounded_to_few_bits_come_behind_those_pushed_and_to_many_change_nothing() -> None:
    suite = replace(digits_suite(), weight_bits=(24, 2))
    model = model_of("mlp")
    (row,) = weight_robustness(model, *stacked([model]), replace(digits_yardstick(), suite=suite))
    (scored,) = score(model, looped_logits(model), *stacked([model]), digits_yardstick())
    assert len(row) == len(suite.weight_strengths) + 2
    assert row[-2] == scored.cells["clean"][0]
    assert row[-1] != row[-2]
