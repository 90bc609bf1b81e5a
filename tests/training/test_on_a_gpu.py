"""What holds on a CPU, on a GPU; skipped, with the reason, where torch finds none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from test_every_model import SMALL
from test_every_noise_in_cohorts import MIXED
from test_jobs_from_checkpoints import FOUR, numbers, with_checkpoints
from training_examples import SHIPPED, assert_same, bench, members, policies, run, scaled

from noise_search.spec import ModelSpec
from noise_search.training import Job, Resolved, run_from_checkpoints, run_job
from noise_search.training.fusability import unfusable
from noise_search.training.groups import initial_states

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that torch can use")

FUSABLE: dict[str, ModelSpec] = {name: spec for name, spec in (SHIPPED | SMALL).items() if name != "gru"}
RESIDUAL = {name: spec for name, spec in SMALL.items() if spec.name == "resnet"}
modes = pytest.mark.parametrize("mode", ["fused", "looped"])


@pytest.mark.parametrize("model", FUSABLE)
def test_fused_and_looped_trials_end_in_the_same_place(model: str) -> None:
    benches = [bench(FUSABLE[model], mode, dtype=torch.float64, device="cuda") for mode in ("fused", "looped")]
    ends = [run(workbench, MIXED)[1] for workbench in benches]
    for fused, looped in zip(*ends, strict=True):
        assert fused.keys() == looped.keys()
        assert all(value.is_cuda for key, value in fused.items() if key.startswith("parameters/"))
        assert max(float((value.double() - looped[key].double()).abs().max()) for key, value in fused.items()) <= 1e-9


@modes
@pytest.mark.parametrize("model", SHIPPED | RESIDUAL)
def test_the_same_job_gives_the_same_numbers_again(model: str, mode: Resolved) -> None:
    workbench = bench((SHIPPED | RESIDUAL)[model], mode, device="cuda")
    first, again = (list(zip(*run(workbench, MIXED), strict=True)) for _ in range(2))
    for one, other in zip(first, again, strict=True):
        assert_same(one, other)
    assert not torch.backends.cudnn.deterministic  # as it was


@modes
def test_trained_in_two_jobs_a_trial_gives_the_numbers_of_one(mode: Resolved, tmp_path: Path) -> None:
    workbench = bench("cnn group", mode, device="cuda")
    whole, _ = run_job(Job(FOUR, 0, 2), workbench)
    half = run_from_checkpoints(Job(FOUR, 0, 1, str(tmp_path), keep=True), workbench, lambda _: None)
    later = run_from_checkpoints(Job(with_checkpoints(half), 1, 2, str(tmp_path)), workbench, lambda _: None)
    assert [one.retrained for one in later] == [0, 0, 0, 0]
    assert numbers(later) == numbers(whole)


@modes
def test_a_member_that_diverges_changes_no_bit_of_the_others(mode: Resolved) -> None:
    workbench, cohort, slot = bench("cnn batch", mode, device="cuda"), members(policies(16)), 6
    states = [dict(state) for state in initial_states(cohort, workbench)]
    calm = list(zip(*run(workbench, cohort, states), strict=True))
    states[slot] = scaled(states[slot], 1e30)
    found = list(zip(*run(workbench, cohort, states), strict=True))
    assert [result.diverged for result, _ in found] == [other == slot for other in range(16)]
    for other in set(range(16)) - {slot}:
        assert_same(found[other], calm[other])


def test_a_gru_is_looped_because_its_kernel_takes_one_trial() -> None:
    reason = unfusable(bench(SMALL["gru"], device="cuda"))
    assert reason is not None
    assert "layer 'network.gru' (GRU)" in reason
