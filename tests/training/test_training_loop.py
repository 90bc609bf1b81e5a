from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from torch import nn
from training_examples import (
    EVERY_NOISE,
    NO_NOISE,
    assert_same,
    bench,
    curve,
    differing_keys,
    fresh_states,
    members,
    policies,
    run,
    scaled,
)

from noise_search.models import MODELS, InputStatistics, MlpParameters, Model, build_model, mlp
from noise_search.policy import Policy, Term
from noise_search.spec import ModelSpec
from noise_search.training import Job, Resolved, run_job

modes = pytest.mark.parametrize("mode", ["fused", "looped"])


@modes
@pytest.mark.parametrize("scale", [math.nan, math.inf, 1e30])
def test_a_diverging_member_gets_the_finite_worst_and_leaves_the_others_alone(mode: Resolved, scale: float) -> None:
    workbench = bench("cnn batch", mode)
    cohort = members(policies(3))
    states = fresh_states(workbench, [0, 0, 0])
    calm = list(zip(*run(workbench, cohort, states), strict=True))
    struck = list(zip(*run(workbench, cohort, [states[0], scaled(states[1], scale), states[2]]), strict=True))
    assert [result.diverged for result, _ in struck] == [False, True, False]
    assert_same(struck[0], calm[0])
    assert_same(struck[2], calm[2])
    scores = struck[1][0].scores
    judged = ("clean", "robust", "worst_family", "drop", "robust_weights")
    assert [scores[name] for name in judged] == [0.0] * 5
    assert not any(result.diverged for result, _ in calm)


@modes
def test_a_member_that_diverged_stays_so_when_continued(mode: Resolved) -> None:
    workbench = bench("mlp", mode)
    cohort = members(policies(2))
    states = fresh_states(workbench, [0, 0])
    _, between = run(workbench, cohort, [scaled(states[0], math.nan), states[1]], stop=1)
    healthy = {**between[1], "alive": between[0]["alive"]}
    results, _ = run(workbench, cohort, [healthy, between[1]], start=1)
    assert [result.diverged for result in results] == [True, False]


def test_scores_come_every_so_many_epochs_and_at_the_last() -> None:
    workbench = bench("mlp", epochs=5, score_every=2)
    results, _ = run(workbench, members([EVERY_NOISE, NO_NOISE]))
    for result in results:
        assert [row["epoch"] for row in result.history] == [1, 2, 3, 4, 5]
        assert ["clean" in row for row in result.history] == [False, True, False, True, True]
        assert result.epoch == 5
        assert all(result.scores[name] == value for name, value in result.history[-1].items() if name in result.scores)


def test_a_job_that_ends_early_is_scored_where_it_ends() -> None:
    workbench = bench("mlp", epochs=5, score_every=4)
    results, _ = run(workbench, members([NO_NOISE]), stop=3)
    assert ["clean" in row for row in results[0].history] == [False, False, True]


def test_history_shows_the_mean_magnitude_of_each_epoch() -> None:
    policy = Policy(
        (
            Term("inputs", "gaussian", 0.4, 0.5, "uniform", curve("linear", a=0.0, b=1.0)),
            Term("weights", "relative", 0.2, schedule=curve("window", start=0.5, stop=1.0)),
        )
    )
    results, _ = run(bench("mlp", epochs=3), members([policy, NO_NOISE]))  # 15 steps, progress is step / 14
    rising = [sum(0.4 * step / 14 for step in range(first, first + 5)) / 5 for first in (0, 5, 10)]
    late = [0.0, 0.2 * 3 / 5, 0.2]  # steps 7, 8 and 9 of the second epoch
    history = results[0].history
    assert [row["magnitude/inputs.gaussian"] for row in history] == pytest.approx(rising)
    assert [row["magnitude/weights.relative"] for row in history] == pytest.approx(late)
    assert not any(key.startswith("magnitude/") for row in results[1].history for key in row)


def test_history_shows_the_learning_rate_of_each_epochs_last_step() -> None:
    results, _ = run(bench("mlp", epochs=2), members([NO_NOISE]))  # 10 steps, one of warm-up
    rates = [5e-3 * (1 + math.cos(math.pi * done / 9)) / 2 for done in (3, 8)]
    assert [row["lr"] for row in results[0].history] == pytest.approx(rates)


@modes
def test_the_caller_is_told_of_every_members_epoch_once(mode: Resolved) -> None:
    told: list[int] = []
    run_job(Job(members(policies(3)), 0, 2), bench("mlp", mode), on_epoch=told.append)
    assert sum(told) == 6
    told.clear()
    run_job(Job(members([NO_NOISE]), 0, 2), bench("mlp", mode), on_epoch=told.append)
    assert sum(told) == 2


def test_results_come_in_slot_order_with_the_names_and_seeds_of_the_members() -> None:
    results, states = run(bench("mlp"), members(policies(3), seeds=[5, 0, 5]))
    assert [(result.member, result.seed) for result in results] == [("0", 5), ("1", 0), ("2", 5)]
    assert len(states) == 3


def test_states_given_to_a_job_are_not_changed_by_it() -> None:
    workbench = bench("cnn batch")
    cohort = members(policies(2))
    _, given = run(workbench, cohort, stop=1)
    kept = [{key: value.clone() for key, value in state.items()} for state in given]
    run(workbench, cohort, given, start=1)
    assert [differing_keys(one, other) for one, other in zip(given, kept, strict=True)] == [[], []]


@modes
def test_a_job_leaves_the_global_generator_alone_and_does_not_depend_on_it(mode: Resolved) -> None:
    workbench = bench("mlp", mode)
    cohort = members([EVERY_NOISE, NO_NOISE])
    before = torch.get_rng_state()
    first = list(zip(*run(workbench, cohort), strict=True))
    assert torch.equal(torch.get_rng_state(), before)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(12345)
        second = list(zip(*run(workbench, cohort), strict=True))
    for one, other in zip(first, second, strict=True):
        assert_same(one, other)


def test_building_a_model_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    build_model("mlp", MlpParameters(), InputStatistics((1, 8, 8), 10, 0.3, 0.3), seed=1)
    assert torch.equal(torch.get_rng_state(), before)


def with_dropout(statistics: InputStatistics, parameters: MlpParameters) -> nn.Module:
    return nn.Sequential(nn.Dropout(0.3), mlp(statistics, parameters))


@pytest.fixture
def dropout() -> Iterator[ModelSpec]:
    MODELS["dropout"] = Model(MlpParameters, with_dropout)
    yield ModelSpec("dropout", MlpParameters((16, 16)))
    del MODELS["dropout"]


def test_a_model_that_draws_its_own_numbers_is_told_from_one_that_does_not(dropout: ModelSpec) -> None:
    assert bench(dropout).stochastic
    assert not any(bench(model).stochastic for model in ("mlp", "cnn group", "cnn batch"))


@modes
def test_dropout_is_the_same_in_any_slot_and_continued_and_beside_other_seeds(
    dropout: ModelSpec, mode: Resolved
) -> None:
    workbench = bench(dropout, mode)
    before = torch.get_rng_state()
    cohort = members(policies(4), seeds=[0, 7, 0, 7])
    together = list(zip(*run(workbench, cohort), strict=True))
    assert torch.equal(torch.get_rng_state(), before)
    for order in ([3, 2, 1, 0], [2], [1, 3]):
        for slot, member in zip(order, zip(*run(workbench, [cohort[k] for k in order]), strict=True), strict=True):
            assert_same(member, together[slot])
    _, between = run(workbench, cohort, stop=1)
    _, states = run(workbench, cohort, between, start=1)
    assert [differing_keys(state, together[slot][1]) for slot, state in enumerate(states)] == [[]] * 4


def test_dropout_masks_are_those_of_the_seed_whether_fused_or_looped(dropout: ModelSpec) -> None:
    cohort = members(policies(2))
    fused, looped = (run(bench(dropout, mode, dtype=torch.float64), cohort)[1] for mode in ("fused", "looped"))
    for one, other in zip(fused, looped, strict=True):
        for key in one:
            torch.testing.assert_close(one[key], other[key], rtol=0, atol=1e-10)
