from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from training_examples import EVERY_NOISE, NO_NOISE, bench, differing_keys, members, policies

from noise_search.evaluation import looped_logits, score
from noise_search.training import Job, Resolved, Result, Workbench, run_job
from noise_search.training.loop import make_trainer, open_cohort
from noise_search.training.state import State, initial_state

modes = pytest.mark.parametrize("mode", ["fused", "looped"])
TWO = tuple(members([EVERY_NOISE, NO_NOISE]))


def averaged(
    workbench: Workbench, start: int = 0, stop: int = 2, states: Sequence[State] | None = None
) -> list[Result]:
    return run_job(Job(TWO, start, stop, averaged=True), workbench, states)[0]


def weights_after_each_step(workbench: Workbench, epochs: int) -> list[dict[str, torch.Tensor]]:
    """Parameters and buffers of the cohort's first member, as the next batch finds them, and after the last."""
    found: list[dict[str, torch.Tensor]] = []
    states = [initial_state(workbench.model)] * len(TWO)
    cohort = open_cohort(workbench, states)

    def note() -> None:
        found.append({name: value[0].detach().clone() for name, value in (cohort.parameters | cohort.buffers).items()})

    train = make_trainer(TWO, workbench, on_batch=note)
    for epoch in range(epochs):
        train(cohort, epoch, None)
    note()
    return found[1:]


@pytest.mark.parametrize("model", ["mlp", "cnn batch"])
def test_the_scores_of_an_epoch_are_those_of_the_mean_of_its_steps(model: str) -> None:
    workbench = bench(model, "fused", epochs=3, dtype=torch.float64)
    steps = weights_after_each_step(workbench, 2)[5:]  # five steps an epoch
    mean = {
        name: torch.stack([step[name] for step in steps]).mean(0, keepdim=True)
        if value.is_floating_point()
        else value[None]
        for name, value in steps[-1].items()
    }
    names = dict(workbench.model.named_parameters())
    parameters = {name: value for name, value in mean.items() if name in names}
    buffers = {name: value for name, value in mean.items() if name not in names}
    expected = score(workbench.model, looped_logits(workbench.model), parameters, buffers, workbench.yardstick)[0]
    found = averaged(workbench, stop=2)[0]
    assert {name: found.scores[name] for name in expected.named} == pytest.approx(expected.named, abs=1e-9)


@modes
def test_the_last_epoch_and_every_state_are_those_of_a_training_without(mode: Resolved) -> None:
    workbench = bench("cnn batch", mode)
    plain, states = run_job(Job(TWO, 0, 2), workbench)
    results, same_states = run_job(Job(TWO, 0, 2, averaged=True), workbench)
    assert [differing_keys(one, other) for one, other in zip(same_states, states, strict=True)] == [[], []]
    assert [(one.scores, one.cells, one.history[-1]) for one in results] == [
        (one.scores, one.cells, one.history[-1]) for one in plain
    ]
    assert all(one.history[0] != other.history[0] for one, other in zip(results, plain, strict=True))


@modes
def test_scores_do_not_depend_on_where_jobs_end(mode: Resolved) -> None:
    workbench = bench("cnn batch", mode, epochs=4, score_every=1)
    whole = averaged(workbench, stop=3)
    _, between = run_job(Job(TWO, 0, 2, averaged=True), workbench)
    later = averaged(workbench, start=2, stop=3, states=between)
    assert [one.scores for one in later] == [one.scores for one in whole]
    assert [one.history for one in later] == [one.history[2:] for one in whole]


def test_scores_do_not_depend_on_the_width_of_a_cohort() -> None:
    workbench = bench("mlp", "fused", epochs=3)
    cohort = tuple(members(policies(8)))
    together, _ = run_job(Job(cohort, 0, 2, averaged=True), workbench)
    two, _ = run_job(Job(cohort[:2], 0, 2, averaged=True), workbench)
    assert [one.scores for one in two] == [one.scores for one in together[:2]]
