"""Scores of arms: the published numbers, with intervals by hand."""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean, stdev

import pytest
from report_examples import confirmed

from noise_search.search.arm_scores import Interval, arm_scores
from noise_search.search.confirmed import Measured
from noise_search.search.evidence import NO_NOISE, PUBLISHED, WINNER, by_arm, item_scores
from noise_search.statistics import paired_difference

T_OF_TWO = 12.706204736  # 97.5 % of Student's t with one degree of freedom


def measured() -> Measured:
    found = confirmed().measured
    assert found is not None
    return found


def test_means_are_the_published_ones_in_the_middle_of_their_intervals() -> None:
    found = measured()
    for arm, own in by_arm(found.arms).items():
        scores = arm_scores(own, found.yard)
        for name in PUBLISHED:
            assert scores[name].mean == pytest.approx(found.evidence.means[arm][name])
        for one in scores.values():
            assert one.high - one.mean == pytest.approx(one.mean - one.low)


def test_what_is_cut_off_at_chance_moves_the_mean_and_leaves_the_width_of_the_items() -> None:
    found = measured()
    own = [one for one in found.arms if one.arm == WINNER]
    cut = [replace(one, scores={**one.scores, "robust": one.scores["robust"] + 0.01}) for one in own]
    of_items, said = paired_difference(item_scores(own, found.yard).over_families()), arm_scores(cut, found.yard)
    assert said["robust"].mean == pytest.approx(fmean(one.scores["robust"] for one in own) + 0.01)
    assert said["robust"].high - said["robust"].low == pytest.approx(of_items.high - of_items.low)


def test_scores_that_are_no_means_over_samples_have_a_t_interval_over_seeds() -> None:
    found = measured()
    own = [one for one in found.arms if one.arm == WINNER]
    scores = arm_scores(own, found.yard)
    for name in ("worst_family", "robust_weights"):
        half = T_OF_TWO * stdev(one.scores[name] for one in own) / 2**0.5
        assert scores[name].high - scores[name].mean == pytest.approx(half)


def test_an_arm_every_training_of_which_diverged_is_at_chance_without_a_width() -> None:
    found = measured()
    lost = [
        replace(one, diverged=True, scores=dict.fromkeys(one.scores, 0.0)) for one in found.arms if one.arm == NO_NOISE
    ]
    assert set(arm_scores(lost, found.yard).values()) == {Interval(0.0, 0.0, 0.0)}
