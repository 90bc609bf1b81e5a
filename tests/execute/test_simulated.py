from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import pytest
from sweep_examples import spec

from noise_search.execute import InlineExecutor, RecordedExecutor, Recording
from noise_search.execute.simulated import noisy_curves
from noise_search.policy import Policy, Term
from noise_search.training import Job, Member, Result, Setup, make_workbench

EPOCHS = 3
POLICIES = (Policy(), Policy((Term("inputs", "gaussian", 0.3), Term("weights", "relative", 0.1))))


@cache
def trained() -> InlineExecutor:
    one = spec(f"train.epochs={EPOCHS}", "train.score_every=1")
    bench = make_workbench(Setup(one.data, one.model, one.optimizer, one.train, one.suite, "looped", "looped"))
    return InlineExecutor(bench, "looped", "looped")


def job(from_epoch: int, to_epoch: int, *, keep: bool = False) -> Job:
    members = tuple(Member(f"slot {slot}", policy, 0) for slot, policy in enumerate(POLICIES))
    return Job(members, from_epoch, to_epoch, keep=keep)


@cache
def whole() -> list[Result]:
    return trained().run(job(0, EPOCHS), lambda _: None)


def recorded(*, diverged_from: int | None = None) -> RecordedExecutor:
    found = {
        repr(policy): Recording(result.history, result.correct, diverged_from)
        for policy, result in zip(POLICIES, whole(), strict=True)
    }
    return RecordedExecutor(lambda policy: found[repr(policy)], validation_samples=9, steps_per_epoch=7)


@pytest.mark.parametrize("to_epoch", [1, 2, 3])
def test_a_recorded_training_gives_at_every_epoch_what_training_up_to_there_gives(to_epoch: int) -> None:
    found = recorded().run(job(0, to_epoch), lambda _: None)
    for ours, theirs in zip(found, trained().run(job(0, to_epoch), lambda _: None), strict=True):
        scores = {key: value for key, value in theirs.scores.items() if key != "robust_weights"}
        assert {key: value for key, value in ours.scores.items() if key in scores} == scores
        assert replace(ours, scores={}, cells={}, seconds=0.0) == replace(theirs, scores={}, cells={}, seconds=0.0)
        assert ours.cells.keys() == theirs.cells.keys()
        assert math.isnan(ours.scores["robust_weights"])


def test_a_recorded_training_goes_on_from_a_rung() -> None:
    found = recorded().run(job(1, 3), lambda _: None)
    assert [[row["epoch"] for row in result.history] for result in found] == [[2, 3], [2, 3]]
    assert [list(result.correct) for result in found] == [[2, 3], [2, 3]]
    assert [result.scores["clean"] for result in found] == [result.scores["clean"] for result in whole()]


def test_a_recorded_training_that_diverged_is_sound_before_and_worst_from_then_on() -> None:
    executor = recorded(diverged_from=2)
    sound, broken = (executor.run(job(0, epoch), lambda _: None)[0] for epoch in (1, 2))
    assert not sound.diverged
    assert sound.scores["clean"] == whole()[0].history[0]["clean"]
    assert broken.diverged
    assert [broken.scores[name] for name in ("clean", "robust", "worst_family", "robust_weights")] == [0.0] * 4


def test_progress_of_recorded_trainings_adds_up_to_their_epochs_and_takes_no_time() -> None:
    executor, told = recorded(), list[int]()
    executor.run(job(1, 3, keep=True), told.append)
    assert (sum(told), executor.now()) == (len(POLICIES) * 2, 0.0)
    assert (executor.validation_samples, executor.steps_per_epoch) == (9, 7)


def test_of_closed_form_curves_all_can_diverge_but_those_without_noise() -> None:
    for seed in range(3):
        curve = noisy_curves(seed, epochs=EPOCHS, diverging=1.0)
        assert [curve(policy, 0, EPOCHS).diverged for policy in POLICIES] == [False, True]
