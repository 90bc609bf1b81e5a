from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from training_examples import (
    EVERY_NOISE,
    NO_NOISE,
    SHIPPED,
    assert_same,
    bench,
    curve,
    differing_keys,
    fresh_states,
    members,
    policies,
    print_fingerprints,
    run,
    scaled,
)

from noise_search.optimizers import OPTIMIZERS
from noise_search.policy import Policy, Term
from noise_search.spec import OptimizerSpec
from noise_search.training import Resolved

models = pytest.mark.parametrize("model", SHIPPED)
modes = pytest.mark.parametrize("mode", ["fused", "looped"])

RATES = {"adadelta": 1.0, "adagrad": 0.02, "asgd": 0.05, "sgd": 0.05}
OPTIONS = {
    "sgd": (("momentum", 0.9),),
    "rmsprop": (("centered", True), ("momentum", 0.5)),
    "adam": (("amsgrad", True),),
    "adagrad": (("lr_decay", 0.1),),
    "asgd": (("t0", 3.0),),
}


@models
def test_a_fused_trial_gives_the_same_numbers_alone_and_in_a_cohort_of_sixteen(model: str) -> None:
    workbench = bench(model)
    cohort = members(policies(16))
    together = list(zip(*run(workbench, cohort), strict=True))
    for slot in (0, 7, 15):
        (alone,) = zip(*run(workbench, cohort[slot : slot + 1]), strict=True)
        assert_same(alone, together[slot])


@models
def test_a_fused_trial_gives_the_same_numbers_in_a_cohort_of_any_width(model: str) -> None:
    workbench = bench(model, epochs=1)
    cohort = members(policies(16))
    together = list(zip(*run(workbench, cohort), strict=True))
    for width in (2, 3, 4, 5, 6, 7, 8, 9, 11, 13):
        for slot, member in enumerate(zip(*run(workbench, cohort[:width]), strict=True)):
            assert_same(member, together[slot])


@models
def test_a_fused_trial_gives_the_same_numbers_in_another_slot_and_beside_others(model: str) -> None:
    workbench = bench(model)
    cohort = members(policies(16), seeds=[0, 4] * 8)
    together = list(zip(*run(workbench, cohort), strict=True))
    for order in ([15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0], [5, 0, 11], [3, 8]):
        again = zip(*run(workbench, [cohort[slot] for slot in order]), strict=True)
        for slot, member in zip(order, again, strict=True):
            assert_same(member, together[slot])


@models
def test_a_looped_trial_gives_the_same_numbers_alone_and_in_a_job_of_several(model: str) -> None:
    workbench = bench(model, "looped")
    cohort = members(policies(4), seeds=[0, 0, 4, 4])
    together = list(zip(*run(workbench, cohort), strict=True))
    for slot, member in enumerate(cohort):
        (alone,) = zip(*run(workbench, [member]), strict=True)
        assert_same(alone, together[slot])


def test_any_number_of_threads_gives_the_same_numbers_in_processes_of_their_own() -> None:
    one, two, six = (json.loads(started.communicate()[0]) for started in [fingerprints(n) for n in (1, 2, 6)])
    assert list(one) == [*SHIPPED, "wide mlp", "looped"]
    assert all(len(found["together"]) == 5 for found in one.values())
    assert one == two
    assert one == six
    for found in (one, two, six):
        assert all(numbers["alone"] == numbers["together"][:1] for numbers in found.values())


def fingerprints(threads: int) -> subprocess.Popen[str]:
    script = f"import training_examples; training_examples.{print_fingerprints.__name__}({threads})"
    # Passive, because threads that wait actively for a core take it from those they wait for.
    settings = {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "passive"}
    return subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, **settings, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdout=subprocess.PIPE,
        text=True,
    )


@models
@modes
def test_a_trial_continued_from_an_epoch_gives_the_same_numbers(model: str, mode: Resolved) -> None:
    assert_continues(model, mode, bench(model).setup.optimizer)


@pytest.mark.parametrize("name", OPTIMIZERS)
@modes
def test_a_trial_continues_with_what_its_optimiser_remembers(name: str, mode: Resolved) -> None:
    assert_continues("mlp", mode, OptimizerSpec(name, RATES.get(name, 3e-3), 0.0, OPTIONS.get(name, ())))


def assert_continues(model: str, mode: Resolved, optimizer: OptimizerSpec) -> None:
    workbench = bench(model, mode, epochs=3, optimizer=optimizer)
    cohort = members(policies(3), seeds=[0, 0, 4])
    whole, whole_states = run(workbench, cohort)
    first, between = run(workbench, cohort, stop=1)
    second, states = run(workbench, cohort, between, start=1)
    for slot in range(3):
        assert differing_keys(states[slot], whole_states[slot]) == []
        assert (second[slot].scores, second[slot].cells) == (whole[slot].scores, whole[slot].cells)
        assert first[slot].history + second[slot].history == whole[slot].history


def test_a_trial_may_continue_in_another_cohort() -> None:
    workbench = bench("cnn batch")
    cohort = members(policies(4))
    whole, whole_states = run(workbench, cohort)
    _, between = run(workbench, cohort, stop=1)
    (result,), (state,) = run(workbench, [cohort[2]], [between[2]], start=1)
    assert differing_keys(state, whole_states[2]) == []
    assert result.scores == whole[2].scores


@models
def test_a_neighbour_with_parameters_fifty_times_as_large_changes_nothing(model: str) -> None:
    workbench = bench(model)
    cohort = members(policies(4))
    states = fresh_states(workbench, [0] * 4)
    calm = list(zip(*run(workbench, cohort, states), strict=True))
    loud = list(zip(*run(workbench, cohort, [states[0], scaled(states[1], 50.0), *states[2:]]), strict=True))
    assert differing_keys(calm[1][1], loud[1][1]) != []
    for slot in (0, 2, 3):
        assert_same(calm[slot], loud[slot])


@models
@modes
def test_a_member_without_noise_is_the_same_among_noisy_ones_and_among_its_like(model: str, mode: Resolved) -> None:
    workbench = bench(model, mode)
    among_noisy = zip(*run(workbench, members([EVERY_NOISE, NO_NOISE, EVERY_NOISE])), strict=True)
    among_like = zip(*run(workbench, members([NO_NOISE, NO_NOISE, NO_NOISE])), strict=True)
    assert_same(list(among_noisy)[1], list(among_like)[1])


def late(kind_of_term: str) -> Policy:
    site, _, noise = kind_of_term.partition(".")
    return Policy((Term(site, noise, 0.3, schedule=curve("window", start=0.5, stop=1.0)),))


@pytest.mark.parametrize("noise", ["inputs.gaussian", "inputs.mixup", "weights.relative", "targets.label_smoothing"])
@modes
def test_a_policy_that_starts_late_equals_no_noise_until_then_and_may_fork_from_it(noise: str, mode: Resolved) -> None:
    workbench = bench("mlp", mode, epochs=4)  # 20 steps: progress reaches 0.5 at the eleventh
    cohort = members([late(noise), NO_NOISE])
    results, states = run(workbench, cohort, stop=2)
    assert differing_keys(states[0], states[1]) == []
    assert results[0].scores == results[1].scores

    _, forked = run(workbench, cohort, [states[1], states[1]], start=2)
    _, whole = run(workbench, cohort)
    assert differing_keys(forked[0], whole[0]) == []
    assert "parameters/network.1.weight" in differing_keys(whole[0], whole[1])


def test_members_of_different_seeds_start_and_end_apart() -> None:
    workbench = bench("mlp")
    _, states = run(workbench, members([NO_NOISE, NO_NOISE], seeds=[0, 1]))
    assert "parameters/network.1.weight" in differing_keys(*states)
