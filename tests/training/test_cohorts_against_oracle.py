from __future__ import annotations

from functools import cache

import pytest
import torch
from oracle import Trained, train_alone
from torch import Tensor
from training_examples import (
    ADAMW,
    EVERY_NOISE,
    NESTEROV,
    NO_NOISE,
    POLICIES,
    SHIPPED,
    bench,
    curve,
    dataset,
    members,
    run,
)

from noise_search.models import CnnParameters, MlpParameters
from noise_search.noises import NOISES
from noise_search.policy import Policy, Term, policy_to_list
from noise_search.spec import ModelSpec, OptimizerSpec
from noise_search.training import Resolved, Result

EPOCHS = 10  # of 5 steps, the last of each a partial batch
CLIP = 0.9
SMALL = {
    "mlp": ModelSpec("mlp", MlpParameters((32, 32))),
    "cnn group": ModelSpec("cnn", CnnParameters((8, 16), 32)),
    "cnn batch": ModelSpec("cnn", CnnParameters((8, 16), 32, "batch")),
}
OPTIMIZERS = {"adamw": ADAMW, "sgd": NESTEROV}
# Every noise of the registry at once, with every knob it has.
CATALOGUE = Policy(
    (
        Term("inputs", "mixup", 0.8, 0.5, schedule=curve("cosine", a=1.0, b=0.2, start=0.1, stop=0.9)),
        Term("inputs", "cutmix", 1.0, 0.5, schedule=curve("linear", a=0.5, b=1.0, start=0.0, stop=1.0)),
        Term("inputs", "shot", 0.1, 0.6, "uniform", curve("linear", a=0.0, b=1.0, start=0.0, stop=0.7)),
        Term("inputs", "speckle", 0.4, 0.6, "uniform", curve("cosine", a=0.2, b=1.0, start=0.0, stop=1.0)),
        Term("inputs", "gaussian", 0.2, 0.5, "uniform", curve("window", start=0.1, stop=0.9)),
        Term("inputs", "uniform", 0.2, 0.7),
        Term("inputs", "impulse", 0.2, 0.6, "uniform", curve("linear", a=1.0, b=0.0, start=0.0, stop=1.0)),
        Term("inputs", "erase", 0.3, 0.5, "uniform"),
        Term("weights", "relative", 0.05, 0.8, "uniform", curve("window", start=0.2, stop=0.9)),
        Term("weights", "additive", 0.02, 0.7, "uniform"),
        Term(
            "weights", "dropconnect", 0.2, level="uniform", schedule=curve("cosine", a=0.0, b=1.0, start=0.0, stop=1.0)
        ),
        Term("targets", "label_flip", 0.2, schedule=curve("linear", a=0.2, b=1.0, start=0.0, stop=0.5)),
        Term("targets", "label_smoothing", 0.2, 0.5, "uniform"),
        Term("gradients", "gaussian", 0.3, 0.7, "uniform", curve("linear", a=1.0, b=0.1, start=0.0, stop=1.0)),
    )
)
# Trials of which each has other noises: every third of the catalogue, three times.
THIRDS = tuple(Policy(CATALOGUE.terms[first::3]) for first in range(3))
COHORT = members(
    [EVERY_NOISE, *POLICIES[1:4], EVERY_NOISE, CATALOGUE, *THIRDS, CATALOGUE], seeds=[0, 0, 3, 0, 3, 3, 0, 3, 0, 0]
)

cases = pytest.mark.parametrize(
    ("model", "optimizer"), [(model, optimizer) for model in SMALL for optimizer in OPTIMIZERS]
)
modes = pytest.mark.parametrize("mode", ["fused", "looped"])


@cache
def oracle(model: str, optimizer: str, slot: int) -> Trained:
    setup = bench(SMALL[model], epochs=EPOCHS, optimizer=OPTIMIZERS[optimizer], clip=CLIP).setup
    return train_alone(
        policy_to_list(COHORT[slot].policy),
        seed=COHORT[slot].seed,
        dataset=dataset(),
        model=setup.model,
        train=setup.train,
        optimizer=setup.optimizer,
        dtype=torch.float64,
    )


@cache
def cohort(model: str, optimizer: str, mode: Resolved) -> tuple[list[Result], list[dict[str, Tensor]]]:
    spec: OptimizerSpec = OPTIMIZERS[optimizer]
    workbench = bench(
        SMALL[model], mode, epochs=EPOCHS, optimizer=spec, dtype=torch.float64, score_every=EPOCHS, clip=CLIP
    )
    return run(workbench, COHORT)


def values_of(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Parameters and buffers of a state, named as in a state_dict."""
    kept = {key.partition("/")[2]: value for key, value in state.items() if key.startswith(("parameters/", "buffers/"))}
    assert kept.keys()
    return kept


def largest_difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    assert one.keys() == other.keys()
    return max(float((one[name].double() - other[name].double()).abs().max()) for name in one)


def test_the_comparison_has_every_noise_of_the_registry() -> None:
    assert [(term.site, term.noise) for term in CATALOGUE.terms] == [
        (site, name) for site, noises in NOISES.items() for name in noises
    ]


@cases
@modes
def test_every_member_of_a_cohort_ends_where_the_oracle_ends_after_50_steps(
    model: str, optimizer: str, mode: Resolved
) -> None:
    _, states = cohort(model, optimizer, mode)
    for slot in range(len(COHORT)):
        expected = oracle(model, optimizer, slot)
        assert len(expected.losses) == 50
        assert largest_difference(values_of(states[slot]), expected.state) <= 1e-9


@cases
@modes
def test_training_loss_of_each_epoch_is_the_mean_over_samples_of_the_oracles(
    model: str, optimizer: str, mode: Resolved
) -> None:
    results, _ = cohort(model, optimizer, mode)
    sizes = [32, 32, 32, 32, 22]
    for slot, result in enumerate(results):
        losses = oracle(model, optimizer, slot).losses
        per_epoch = [
            sum(loss * size for loss, size in zip(losses[start : start + 5], sizes, strict=True)) / 150
            for start in range(0, 50, 5)
        ]
        assert [row["train/loss"] for row in result.history] == pytest.approx(per_epoch, abs=1e-9)


@cases
def test_the_comparison_has_steps_that_clip_and_steps_that_do_not(model: str, optimizer: str) -> None:
    norms = [norm for slot in range(len(COHORT)) for norm in oracle(model, optimizer, slot).norms]
    assert min(norms) < CLIP < max(norms)


@cases
def test_the_comparison_has_members_far_apart(model: str, optimizer: str) -> None:
    noisy, clean = (oracle(model, optimizer, slot).state for slot in (0, 1))
    assert COHORT[1].policy == NO_NOISE
    assert largest_difference(noisy, clean) > 1e-2


def test_shipped_models_in_float32_follow_the_oracle_for_an_epoch() -> None:
    for model, spec in SHIPPED.items():
        workbench = bench(model, epochs=1, optimizer=NESTEROV)
        _, states = run(workbench, members([EVERY_NOISE, NO_NOISE]))
        expected = train_alone(
            policy_to_list(EVERY_NOISE),
            seed=0,
            dataset=dataset(),
            model=spec,
            train=workbench.setup.train,
            optimizer=NESTEROV,
            dtype=torch.float32,
        )
        assert largest_difference(values_of(states[0]), expected.state) < 1e-5
