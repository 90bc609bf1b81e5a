"""What the contract tests need to know of each noise, and one way to run any of them through a cohort."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from noise_search.noises import NOISES, Batch, Noise, noisy_batch, noisy_gradients, noisy_weights
from noise_search.policy import Policy, Term, cohort_terms
from noise_search.seeds import generator

BATCH, CLASSES, STEPS = 32, 5, 400
IMAGE = (2, 3, 4)
PARAMETERS = {"weights": noisy_weights, "gradients": noisy_gradients}  # sites with a magnitude for the whole batch
Values = dict[str, Tensor]
Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class SetUp:
    """What a noise's contract depends on.

    Args:
        strong: Magnitude at which a chosen sample is sure to change.
        linear: Whether what it adds is proportional to the magnitude; shows the law of `level`.
        cuts: Whether a partial batch gives the first samples of the full one; no for mixing, whose partner must be in
            the batch.
        spared: Share of chosen samples that stay as they are even so.
    """

    strong: float
    linear: bool = True
    cuts: bool = True
    spared: float = 0.0


# One line for each noise in NOISES.
SETUPS: dict[Key, SetUp] = {
    # a permutation leaves one sample of a batch in its place on average
    ("inputs", "mixup"): SetUp(strong=2.0, linear=False, cuts=False, spared=1 / BATCH),
    ("inputs", "cutmix"): SetUp(strong=100.0, linear=False, cuts=False, spared=1 / BATCH),  # boxes of about a half
    ("inputs", "shot"): SetUp(strong=0.3, linear=False),
    ("inputs", "speckle"): SetUp(strong=0.5),
    ("inputs", "gaussian"): SetUp(strong=0.5),
    ("inputs", "uniform"): SetUp(strong=0.5),
    ("inputs", "impulse"): SetUp(strong=1.0, linear=False),
    ("inputs", "erase"): SetUp(strong=0.5, linear=False),
    ("weights", "relative"): SetUp(strong=0.5),
    ("weights", "additive"): SetUp(strong=0.5),
    ("weights", "dropconnect"): SetUp(strong=0.5, linear=False),
    ("targets", "label_flip"): SetUp(strong=1.0, linear=False),
    ("targets", "label_smoothing"): SetUp(strong=0.3),
    ("gradients", "gaussian"): SetUp(strong=0.5),
}
KEYS: list[Key] = [(site, name) for site, noises in NOISES.items() for name in noises]


def entry(key: Key) -> Noise[Any]:
    return NOISES[key[0]][key[1]]


def set_up(key: Key) -> SetUp:
    assert key in SETUPS, f"no set-up for {'.'.join(key)}: add one to {__file__}"
    return SETUPS[key]


def term(key: Key, magnitude: float, fraction: float = 1.0, level: str = "fixed") -> Term:
    """Term of a noise, without the knobs it does not have."""
    knobs = entry(key).knobs
    return Term(*key, magnitude, fraction if "fraction" in knobs else 1.0, level if "level" in knobs else "fixed")


def policy(*terms: Term) -> Policy:
    return Policy(terms)


def clean_values(site: str, dtype: torch.dtype, *, members: int = 1, batch: int = BATCH) -> Values:
    """What a noise at `site` acts on, with zeros of both signs in it: a batch, or parameters."""
    rng = generator(0, "clean", site)
    if site in PARAMETERS:
        shapes = {"conv.weight": (4, 3, 3, 3), "linear.weight": (12, 6), "bias": (12,), "scale": ()}
        parameters = {name: torch.randn(shape, generator=rng, dtype=torch.float64) for name, shape in shapes.items()}
        return {name: _repeated(_with_zeros(value), members, dtype) for name, value in parameters.items()}
    inputs = torch.rand((BATCH, *IMAGE), generator=rng, dtype=torch.float64)
    labels = torch.randint(CLASSES, (BATCH,), generator=rng)
    targets = torch.nn.functional.one_hot(labels, CLASSES).double()
    values = {"inputs": _with_zeros(inputs), "targets": torch.where(targets == 0, -0.0, targets)}
    return {name: _repeated(value[:batch], members, dtype) for name, value in values.items()}


def _with_zeros(value: Tensor) -> Tensor:
    flat = value.flatten().clone()
    flat[1::7], flat[2::7] = 0.0, -0.0
    return flat.reshape(value.shape)


def _repeated(value: Tensor, members: int, dtype: torch.dtype) -> Tensor:
    return value.to(dtype).expand(members, *value.shape).clone()


def run(
    site: str,
    policies: Sequence[Policy],
    values: Mapping[str, Tensor],
    *,
    step: int = 0,
    seeds: Sequence[int] | None = None,
    full_batch: int = BATCH,
    input_range: tuple[float, float] | None = None,
) -> Values:
    """`values` (members, ...) of a cohort after the noises that each member's policy has at `site`."""
    like = next(iter(values.values()))
    terms = cohort_terms(policies, seeds=seeds or [0] * len(policies), steps=STEPS, dtype=like.dtype)
    if site in PARAMETERS:
        return PARAMETERS[site](values, terms, step=step)
    batch = noisy_batch(
        Batch(values["inputs"], values["targets"]), terms, step=step, full_batch=full_batch, input_range=input_range
    )
    return {"inputs": batch.inputs, "targets": batch.targets}


def run_alone(key: Key, of: Term, *, dtype: torch.dtype = torch.float64, step: int = 0, seed: int = 0) -> Values:
    """One member with one noise; values without a member axis."""
    noisy = run(key[0], [policy(of)], clean_values(key[0], dtype), step=step, seeds=[seed])
    return {name: value[0] for name, value in noisy.items()}


def clean_alone(key: Key, dtype: torch.dtype = torch.float64) -> Values:
    return {name: value[0] for name, value in clean_values(key[0], dtype).items()}


def bits(value: Tensor) -> Tensor:
    """The bits of floating-point numbers as integers: tells 0 from -0."""
    return value.detach().contiguous().view(torch.int32 if value.dtype == torch.float32 else torch.int64)


def same_bits(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(bits(first[name]), bits(second[name])) for name in first)


def changed(before: Mapping[str, Tensor], after: Mapping[str, Tensor], site: str) -> Tensor:
    """Which units of a member's values changed, by more than rounding: samples of a batch, or the parameters as one."""
    differs = [
        ((before[name] - after[name]).abs() > 1e-5).reshape(len(before[name]) if before[name].dim() else 1, -1).any(1)
        for name in before
    ]
    if site in PARAMETERS:
        return torch.stack([part.any() for part in differs]).any().reshape(1)
    return torch.stack(differs).any(0)
