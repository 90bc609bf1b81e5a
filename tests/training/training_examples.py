"""Small cohorts for the tests of this folder, and the means to compare them bit by bit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import cache
from typing import Any

import torch
import yaml
from torch import Tensor

from noise_search.config import config_folder
from noise_search.corruptions.suites import Suite, suite_from_mapping
from noise_search.data import DATASETS, Dataset, Split
from noise_search.models import CnnParameters, MlpParameters
from noise_search.policy import Policy, Term
from noise_search.schedules import Schedule
from noise_search.spec import DataSpec, ModelSpec, OptimizerSpec, TrainSpec
from noise_search.training import Job, Member, Resolved, Result, Setup, Workbench, make_workbench, run_job
from noise_search.training.job import skeleton
from noise_search.training.state import initial_state

States = list[dict[str, Tensor]]

SHIPPED = {
    "cnn group": ModelSpec("cnn", CnnParameters()),
    "cnn batch": ModelSpec("cnn", CnnParameters(norm="batch")),
    "mlp": ModelSpec("mlp", MlpParameters()),
}
ADAMW = OptimizerSpec("adamw", 5e-3, 0.01, warmup_fraction=0.1)
NESTEROV = OptimizerSpec(
    "sgd", 0.05, 5e-4, (("momentum", 0.9), ("nesterov", True)), warmup_fraction=0.1, final_fraction=0.1
)
NO_NOISE = Policy()


def curve(kind: str, **parameters: float) -> Schedule:
    """A schedule by keyword."""
    return Schedule(kind, tuple(sorted(parameters.items())))


EVERY_NOISE = Policy(
    (
        Term("inputs", "gaussian", 0.3, 0.6, "uniform", curve("linear", a=0.0, b=1.0, start=0.0, stop=0.7)),
        Term("inputs", "mixup", 0.8, 0.7, schedule=curve("cosine", a=1.0, b=0.2, start=0.1, stop=0.9)),
        Term("weights", "relative", 0.1, 0.8, "uniform", curve("window", start=0.2, stop=0.9)),
        Term("targets", "label_smoothing", 0.2, 0.5, "uniform", curve("linear", a=1.0, b=0.0, start=0.0, stop=1.0)),
    )
)
POLICIES = (
    EVERY_NOISE,
    NO_NOISE,
    Policy(
        (
            Term("inputs", "gaussian", 0.2),
            Term("targets", "label_smoothing", 0.1, 0.7, "fixed", curve("cosine", start=0.2, stop=0.8)),
        )
    ),
    Policy(
        (
            Term("inputs", "mixup", 0.2, 1.0, schedule=curve("window", start=0.3, stop=1.0)),
            Term("weights", "relative", 0.05, 1.0, "fixed", curve("cosine", a=0.0, b=1.0)),
        )
    ),
    Policy((Term("inputs", "gaussian", 0.5, 0.3, "uniform", curve("window", start=0.0, stop=0.6)),)),
)


def policies(count: int) -> tuple[Policy, ...]:
    """`count` policies: the examples in turn, each time round at other magnitudes."""
    return tuple(_weaker(POLICIES[i % len(POLICIES)], 1.0 / (1 + i // len(POLICIES))) for i in range(count))


def _weaker(policy: Policy, share: float) -> Policy:
    return Policy(tuple(replace(term, magnitude=term.magnitude * share) for term in policy.terms))


def members(chosen: Sequence[Policy], seeds: Sequence[int] = ()) -> tuple[Member, ...]:
    """One member a policy, named by its slot; of seed 0 where no seeds are given."""
    return tuple(Member(str(slot), policy, seeds[slot] if seeds else 0) for slot, policy in enumerate(chosen))


@cache
def suite() -> Suite:
    """The shipped suite of the digits, two kinds of two families and one draw of it."""
    whole = suite_from_mapping(yaml.safe_load((config_folder() / "suite" / "digits.yaml").read_text()), "suite")
    return replace(whole, kinds=(whole.kinds[0], whole.kinds[3]), weight_draws=1)


@cache
def dataset(train: int = 150, validation: int = 60) -> Dataset:
    """The first of the digits: with batches of 32, four full ones and one of 22."""
    digits: Dataset = DATASETS["digits"].load()
    return replace(digits, train=_first(digits.train, train), validation=_first(digits.validation, validation))


def _first(split: Split, samples: int) -> Split:
    return Split(split.inputs[:samples], split.labels[:samples])


def bench(
    model: str | ModelSpec = "mlp",
    mode: Resolved = "fused",
    *,
    epochs: int = 2,
    optimizer: OptimizerSpec = ADAMW,
    dtype: torch.dtype = torch.float32,
    data: Dataset | None = None,
    **train: Any,
) -> Workbench:
    """Workbench on the small data, clipping on, five steps an epoch."""
    spec = SHIPPED[model] if isinstance(model, str) else model
    options: dict[str, Any] = {"batch_size": 32, "clip": 0.5, "device": "cpu"} | train
    setup = Setup(DataSpec("digits"), spec, optimizer, TrainSpec(epochs, **options), suite(), mode, "looped")
    return make_workbench(setup, dataset=data or dataset(), dtype=dtype)


def run(
    workbench: Workbench,
    job_members: Sequence[Member],
    states: States | None = None,
    *,
    start: int = 0,
    stop: int | None = None,
) -> tuple[list[Result], States]:
    """Run a job from epoch `start` to `stop`, by default to the end."""
    end = workbench.setup.train.epochs if stop is None else stop
    return run_job(Job(tuple(job_members), start, end), workbench, states)


def fresh_states(workbench: Workbench, seeds: Sequence[int]) -> States:
    """States before the first step."""
    return [initial_state(skeleton(workbench.setup, workbench.dataset, seed=seed)) for seed in seeds]


def scaled(state: Mapping[str, Tensor], scale: float) -> dict[str, Tensor]:
    """A state with its parameters multiplied."""
    return {key: value * scale if key.startswith("parameters/") else value for key, value in state.items()}


def differing_keys(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> list[str]:
    """Keys whose tensors are not the same bit by bit, and keys only one side has."""
    shared = one.keys() & other.keys()
    return sorted(one.keys() ^ other.keys()) + sorted(key for key in shared if not torch.equal(one[key], other[key]))


def findings(result: Result) -> dict[str, Any]:
    """Everything a result says, but for its name and the time it took."""
    return {key: value for key, value in asdict(result).items() if key not in ("member", "seconds")}


def assert_same(one: tuple[Result, Mapping[str, Tensor]], other: tuple[Result, Mapping[str, Tensor]]) -> None:
    """Both members have the same numbers: state bit by bit, scores, cells and history."""
    assert differing_keys(one[1], other[1]) == []
    assert findings(one[0]) == findings(other[0])


def print_fingerprints(threads: int) -> None:
    """For shipped models, a wide one and a looped one: hashes of a cohort of five, and of its first member alone."""
    torch.set_num_threads(threads)
    # Batches large enough for torch to share them out among its threads.
    models = {**SHIPPED, "wide mlp": ModelSpec("mlp", MlpParameters((256, 256)))}
    data = dataset(384, 100)
    benches = {name: bench(model, epochs=1, data=data, batch_size=256) for name, model in models.items()}
    benches["looped"] = bench("cnn group", "looped", epochs=1, data=data, batch_size=256)
    print(json.dumps({model: _fingerprints(workbench) for model, workbench in benches.items()}))


def _fingerprints(workbench: Workbench) -> dict[str, list[str]]:
    cohort = members(policies(5))
    jobs = {"together": cohort, "alone": cohort[:1]}
    found = {name: zip(*run(workbench, job), strict=True) for name, job in jobs.items()}
    return {name: [_fingerprint(result, state) for result, state in pairs] for name, pairs in found.items()}


def _fingerprint(result: Result, state: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(json.dumps(findings(result), sort_keys=True).encode())
    for key in sorted(state):
        digest.update(key.encode() + state[key].contiguous().numpy().tobytes())
    return digest.hexdigest()
