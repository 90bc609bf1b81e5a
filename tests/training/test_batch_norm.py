"""Statistics of batch norm estimated anew: against means over batches by hand, and in the scores of a job."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from sweep_examples import spec
from torch import Tensor, nn

from noise_search.config import build, compose
from noise_search.evaluation import looped_logits, score
from noise_search.policy import Policy, Term
from noise_search.training import Job, Member, Setup, make_workbench, run_job
from noise_search.training.batch_norm import has_batch_norm, reestimated
from noise_search.training.state import stack_part


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2), nn.BatchNorm1d(2))


def stacked(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.stack([tensor, tensor]) for name, tensor in tensors.items()}


def test_statistics_are_means_over_batches_of_several_samples_and_no_dropout_acts() -> None:
    model, inputs = network(), torch.randn(13, 3)
    parameters = stacked(dict(model.named_parameters()))
    parameters["0.weight"][1] *= 2
    found = reestimated(model, parameters, stacked(dict(model.named_buffers())), inputs, batch_size=4)
    for trial in (0, 1):
        weight, bias = parameters["0.weight"][trial], parameters["0.bias"][trial]
        batches = [
            inputs[start : start + 4] @ weight.T + bias for start in (0, 4, 8)
        ]  # the last one is a single sample
        mean = torch.stack([batch.mean(dim=0) for batch in batches]).mean(dim=0)
        variance = torch.stack([batch.var(dim=0) for batch in batches]).mean(dim=0)
        torch.testing.assert_close(found["1.running_mean"][trial], mean)
        torch.testing.assert_close(found["1.running_var"][trial], variance)


def test_the_model_and_its_buffers_are_left_as_they_were() -> None:
    model = network().eval()
    buffers = stacked(dict(model.named_buffers()))
    before = {name: tensor.clone() for name, tensor in buffers.items()}
    reestimated(model, stacked(dict(model.named_parameters())), buffers, torch.randn(8, 3), batch_size=4)
    assert not any(module.training for module in model.modules())
    assert isinstance(model[1], nn.BatchNorm1d)  # type: ignore[index]
    assert model[1].momentum == 0.1  # type: ignore[index]
    assert all(torch.equal(before[name], tensor) for name, tensor in buffers.items())


@pytest.mark.parametrize("mode", ["looped", "fused"])
def test_a_job_that_asks_for_hits_scores_both_ways(mode: str) -> None:
    own = build(compose(["model=cnn_bn", "train.epochs=1", "data.limit=300"]))
    setup = Setup(own.data, own.model, own.optimizer, own.train, own.suite, mode, mode)  # type: ignore[arg-type]
    bench = make_workbench(setup)
    members = tuple(Member(str(k), Policy((Term("inputs", "gaussian", k / 2),)), 0) for k in (0, 1))
    (_, noisy), states = run_job(Job(members, 0, 1, hits=True), bench)
    parameters = stack_part(states[1:], "parameters")
    buffers = reestimated(bench.model, parameters, stack_part(states[1:], "buffers"), bench.train.inputs, batch_size=64)
    (expected,) = score(bench.model, looped_logits(bench.model), parameters, buffers, bench.yardstick)
    for key in ("clean", "robust"):
        assert noisy.scores[f"{key}_reestimated"] == pytest.approx(expected.named[key], abs=1e-6)
    assert noisy.scores["clean_reestimated"] != noisy.scores["clean"]


def test_neither_other_models_nor_other_jobs_have_these_scores() -> None:
    plain = spec()
    setup = Setup(plain.data, plain.model, plain.optimizer, plain.train, plain.suite, "looped", "looped")
    bench = make_workbench(setup)
    assert not has_batch_norm(bench.model)
    job = Job((Member("0", Policy(), 0),), 0, 1, hits=True)
    assert not any("reestimated" in name for name in run_job(job, bench)[0][0].scores)
    own = build(compose(["model=cnn_bn", "train.epochs=1", "data.limit=300"]))
    setup = Setup(own.data, own.model, own.optimizer, own.train, own.suite, "looped", "looped")
    assert has_batch_norm(make_workbench(setup).model)
    assert not any(
        "reestimated" in name for name in run_job(replace(job, hits=False), make_workbench(setup))[0][0].scores
    )
