"""What stage 2 of a confirmation says, against sums by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from noise_search.corruptions import CORRUPTIONS
from noise_search.metrics import counts_packed, packed
from noise_search.noises import NOISES
from noise_search.policy import Policy, Term
from noise_search.search.evidence import (
    BEST_CONSTANT,
    NO_NOISE,
    RANDOM,
    WINNER,
    Yard,
    evidence,
    seen_families,
)
from noise_search.seeds import stable_hash
from noise_search.statistics import holm, paired_difference
from noise_search.store import Confirmed

CELLS = {"noise": 10, "blur": 5}
SAMPLES, CLASSES, SEEDS = 40, 4, (3, 1, 2)
YARD = Yard(CLASSES, SAMPLES, CELLS, frozenset({"noise"}))


def training(arm: str, seed: int, *, level: float, diverged: bool = False) -> Confirmed:
    """An arm that is right in a share of about `level` of everything."""
    rng = np.random.default_rng(stable_hash(arm, seed) % 2**32)
    hits = {family: torch.tensor(rng.binomial(cells, level, SAMPLES)) for family, cells in CELLS.items()}
    correct = torch.tensor(rng.random(SAMPLES) < level)
    scores = dict.fromkeys(("clean", "robust", "worst_family", "robust_weights"), level)
    packed_hits = {family: counts_packed(own) for family, own in hits.items()}
    return Confirmed("measure", arm, seed, [], scores, {}, packed(correct), packed_hits, diverged)


def trainings(**levels: float) -> list[Confirmed]:
    return [training(arm.replace("_", " "), seed, level=level) for arm, level in levels.items() for seed in SEEDS]


def item_scores(found: Sequence[Confirmed], arm: str, families: Sequence[str]) -> Any:
    """(seeds, items): the mean over families of the share of right answers, above chance."""
    rows = []
    for one in sorted((one for one in found if one.arm == arm), key=lambda one: one.seed):
        shares = [np.frombuffer(bytes.fromhex(one.hits[family]), dtype=np.uint8) / CELLS[family] for family in families]
        rows.append((sum(shares) / len(shares) - 1 / CLASSES) / (1 - 1 / CLASSES))
    return np.array(rows)


def test_differences_are_those_of_item_scores_with_the_intervals_of_the_statistics() -> None:
    found = trainings(winner=0.8, no_noise=0.6, best_constant=0.75, random_1=0.7)
    said = evidence(found, YARD)
    for arm, families, part in (
        (NO_NOISE, ["noise", "blur"], "robust"),
        (NO_NOISE, ["noise"], "seen"),
        (NO_NOISE, ["blur"], "unseen"),
        (BEST_CONSTANT, ["noise", "blur"], "robust"),
    ):
        expected = paired_difference(item_scores(found, WINNER, families) - item_scores(found, arm, families))
        assert getattr(said.over(arm), part).mean == pytest.approx(expected.mean)
        assert getattr(said.over(arm), part).low == pytest.approx(expected.low)
    assert said.over(NO_NOISE).families["blur"].mean == pytest.approx(said.over(NO_NOISE).unseen.mean)  # type: ignore[union-attr]


def test_p_values_are_adjusted_over_all_arms() -> None:
    said = evidence(trainings(winner=0.8, no_noise=0.6, best_constant=0.79, random_1=0.7), YARD)
    assert [one.arm for one in said.against] == [NO_NOISE, BEST_CONSTANT, RANDOM]
    assert [one.p_adjusted for one in said.against] == pytest.approx(holm([one.robust.p_value for one in said.against]))


def test_random_policies_are_one_arm_that_is_their_mean() -> None:
    found = trainings(winner=0.8, no_noise=0.6, random_1=0.5, random_2=0.7)
    own = [item_scores(found, f"random {number}", list(CELLS)) for number in (1, 2)]
    expected = paired_difference(item_scores(found, WINNER, list(CELLS)) - (own[0] + own[1]) / 2)
    said = evidence(found, YARD)
    assert said.over(RANDOM).robust.mean == pytest.approx(expected.mean)
    assert said.means[RANDOM]["robust"] == pytest.approx(0.6)


def test_the_gain_of_scheduling_is_over_the_best_of_the_constant_arms() -> None:
    levels = {"winner": 0.8, "no noise": 0.6, "best constant": 0.7, "constant at its mean": 0.76}
    found = [training(arm, seed, level=level) for arm, level in levels.items() for seed in SEEDS]
    said = evidence(found, YARD)
    assert said.scheduling_against == "constant at its mean"
    assert said.scheduling is not None
    assert said.scheduling == said.over("constant at its mean").robust


def test_a_winner_without_a_schedule_has_no_gain_of_scheduling() -> None:
    said = evidence(trainings(winner=0.8, no_noise=0.6, best_constant=0.7), YARD)
    assert (said.scheduling, said.scheduling_against) == (None, None)


def test_clean_accuracy_has_a_margin_of_a_point_against_no_noise() -> None:
    said = evidence(trainings(winner=0.99, no_noise=0.2), YARD)
    assert said.clean.margin == 0.01
    assert said.clean.holds
    assert not evidence(trainings(winner=0.2, no_noise=0.99), YARD).clean.holds


def test_a_training_that_diverged_counts_as_chance_everywhere() -> None:
    found = trainings(winner=0.8) + [training(NO_NOISE, seed, level=0.6, diverged=True) for seed in SEEDS]
    expected = paired_difference(item_scores(found, WINNER, list(CELLS)))
    assert evidence(found, YARD).over(NO_NOISE).robust.mean == pytest.approx(expected.mean)


def test_families_of_noises_that_were_not_trained_with_are_unseen() -> None:
    said = evidence(trainings(winner=0.8, no_noise=0.6), Yard(CLASSES, SAMPLES, CELLS, frozenset()))
    assert said.over(NO_NOISE).seen is None
    assert said.over(NO_NOISE).unseen == said.over(NO_NOISE).robust


def test_noises_at_inputs_make_their_families_seen_and_others_none() -> None:
    mixed = Policy((Term("inputs", "gaussian", 0.1), Term("inputs", "mixup", 0.1), Term("gradients", "gaussian", 0.1)))
    assert seen_families(mixed) == {"noise"}
    assert seen_families(Policy((Term("inputs", "erase", 0.1),))) == {"occlusion"}
    assert seen_families(Policy((Term("gradients", "gaussian", 0.1), Term("weights", "relative", 0.1)))) == frozenset()


def test_every_family_that_can_be_seen_is_one_of_corruptions() -> None:
    found = seen_families(Policy(tuple(Term("inputs", name, 0.1) for name in NOISES["inputs"])))
    assert found == {"noise", "occlusion"}
    assert found <= {kind.family for kind in CORRUPTIONS.values()}
