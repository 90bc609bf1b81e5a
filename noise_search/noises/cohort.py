"""All noises of a cohort at one step: which trials have them, how strongly, and in what order they act.

Each noise runs on the slice of trials that has it. The order is fixed: at inputs mixing first, then the rest
in registry order, one clip at the end; at targets softening, then the mixing of the inputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from noise_search.noises.inputs import INPUT_NOISES
from noise_search.noises.mixing import MIXING_NOISES, mix
from noise_search.noises.targets import TARGET_NOISES
from noise_search.noises.weights import WEIGHT_NOISES
from noise_search.seeds import Draws


@dataclass(frozen=True, slots=True)
class CohortTerm:
    """One noise at one site, for the members of a cohort that have it.

    Args:
        site, noise: Key in the registry.
        slots: Which members have it, shape (members,), int64, increasing.
        seeds: Their seeds.
        magnitudes: Their tables: magnitude times factor, shape (steps, members).
        fractions: Share of samples (at weights: of batches) that get it, shape (members,).
        uniform: Whether each sample draws U(0, m) in place of m, shape (members,), bool.
    """

    site: str
    noise: str
    slots: Tensor
    seeds: tuple[int, ...]
    magnitudes: Tensor
    fractions: Tensor
    uniform: Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """Inputs (trials, batch, ...) in raw units and target probabilities (trials, batch, classes)."""

    inputs: Tensor
    targets: Tensor


def noisy_batch(
    clean: Batch,
    terms: Sequence[CohortTerm],
    *,
    step: int,
    full_batch: int,
    input_range: tuple[float, float] | None,
) -> Batch:
    """Apply every input and target noise of the cohort to one batch.

    Args:
        clean: The batch, the same samples for all trials of one seed.
        terms: Terms of the cohort; those at other sites are passed over.
        step: Training step, counted from 0 over the whole training.
        full_batch: Samples in a full batch: draws are made for it, then cut to this one.
        input_range: Inputs are clipped to it at the end; None for data without bounds.
    """
    inputs, targets = clean.inputs, clean.targets
    for term in _at("targets", TARGET_NOISES, terms):
        draws = _draws(term, step, full_batch, inputs)
        magnitudes = _sample_magnitudes(term, step, draws)
        noisy = TARGET_NOISES[term.noise].apply(targets[term.slots], magnitudes, draws)
        targets = targets.index_copy(0, term.slots, noisy)
    for term in _at("inputs", MIXING_NOISES, terms):
        draws = _draws(term, step, full_batch, inputs)
        magnitudes = _sample_magnitudes(term, step, draws)
        mixed, mixing = MIXING_NOISES[term.noise].apply(inputs[term.slots], magnitudes, draws)
        inputs = inputs.index_copy(0, term.slots, mixed)
        targets = targets.index_copy(0, term.slots, mix(targets[term.slots], mixing))
    for term in _at("inputs", INPUT_NOISES, terms):
        draws = _draws(term, step, full_batch, inputs)
        magnitudes = _sample_magnitudes(term, step, draws)
        noisy = INPUT_NOISES[term.noise].apply(inputs[term.slots], magnitudes, draws)
        inputs = inputs.index_copy(0, term.slots, noisy)
    return Batch(inputs if input_range is None else inputs.clamp(*input_range), targets)


def noisy_weights(parameters: Mapping[str, Tensor], terms: Sequence[CohortTerm], *, step: int) -> dict[str, Tensor]:
    """Parameters (trials, ...) with every weight noise of the cohort; untouched ones are the same tensors."""
    noisy = dict(parameters)
    for term in _at("weights", WEIGHT_NOISES, terms):
        draws = _draws(term, step, 1, next(iter(noisy.values())))
        sliced = {name: weight[term.slots] for name, weight in noisy.items()}
        changed = WEIGHT_NOISES[term.noise].apply(sliced, _batch_magnitudes(term, step, draws), draws)
        for name, weight in changed.items():
            if weight is not sliced[name]:
                noisy[name] = noisy[name].index_copy(0, term.slots, weight)
    return noisy


def _at(site: str, registry: Mapping[str, object], terms: Sequence[CohortTerm]) -> list[CohortTerm]:
    """Terms of `site` whose noise is in `registry`, in registry order."""
    found = {term.noise: term for term in terms if term.site == site}
    return [found[name] for name in registry if name in found]


def _draws(term: CohortTerm, step: int, full_batch: int, like: Tensor) -> Draws:
    size = min(like.shape[1], full_batch) if like.dim() > 1 else 1
    return Draws(term.seeds, term.site, term.noise, step, full_batch, size, like.device, like.dtype)


def _sample_magnitudes(term: CohortTerm, step: int, draws: Draws) -> Tensor:
    """Magnitude for each sample, shape (members, size): the table's row, thinned and levelled."""
    chosen = draws.sample_uniform("select") < term.fractions[:, None]
    level = torch.where(term.uniform[:, None], draws.sample_uniform("level"), 1.0)
    return torch.where(chosen, term.magnitudes[step][:, None] * level, 0.0)


def _batch_magnitudes(term: CohortTerm, step: int, draws: Draws) -> Tensor:
    """Magnitude for the whole batch, shape (members,)."""
    chosen = draws.uniform("select", ()) < term.fractions
    level = torch.where(term.uniform, draws.uniform("level", ()), 1.0)
    return torch.where(chosen, term.magnitudes[step] * level, 0.0)
