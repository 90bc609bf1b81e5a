"""All noises of a cohort at one step: which trials have them, how strongly, and in what order they act.

Each noise runs on the slice of trials where it does something at this step, and draws nothing where it does
nothing. The order is fixed: at inputs mixing first, then the rest in registry order, one clip at the end; at
targets flipping, softening, then the mixing of the inputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from noise_search.noises.gradients import GRADIENT_NOISES
from noise_search.noises.inputs import INPUT_NOISES
from noise_search.noises.mixing import MIXING_NOISES, mix
from noise_search.noises.registry import Noise, ParameterNoise
from noise_search.noises.slots import Slots
from noise_search.noises.targets import TARGET_NOISES
from noise_search.noises.weights import WEIGHT_NOISES
from noise_search.seeds import Draws

HOST = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class CohortTerm:
    """One noise at one site, for the members of a cohort that have it.

    Tensors lie on the CPU whatever the device of the training: who gets noise at a step is then known without
    waiting for a GPU.

    Args:
        site, noise: Key in the registry.
        slots: Which members have it, increasing.
        seeds: Their seeds.
        magnitudes: Their tables: magnitude times factor, shape (steps, members).
        fractions: Share of samples (at weights and gradients: of batches) that get it, shape (members,).
        uniform: Whether each sample draws U(0, m) in place of m, shape (members,), bool.
    """

    site: str
    noise: str
    slots: tuple[int, ...]
    seeds: tuple[int, ...]
    magnitudes: Tensor
    fractions: Tensor
    uniform: Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """Inputs (trials, batch, ...) in raw units and target probabilities (trials, batch, classes)."""

    inputs: Tensor
    targets: Tensor


class _Acting(NamedTuple):
    """A noise at this step: where it does something, and how strongly.

    slots: Members with a magnitude over 0.
    magnitudes: Theirs, (slots, batch) or (slots,), on the device.
    draws: Theirs.
    """

    noise: str
    slots: tuple[int, ...]
    magnitudes: Tensor
    draws: Draws


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
    inputs, targets = Slots(clean.inputs), Slots(clean.targets)
    like, size = clean.inputs, clean.inputs.shape[1]
    for name, slots, magnitudes, draws in _acting("targets", TARGET_NOISES, terms, step, like, (full_batch, size)):
        targets.put(slots, TARGET_NOISES[name].apply(targets.take(slots), magnitudes, draws))
    for name, slots, magnitudes, draws in _acting("inputs", MIXING_NOISES, terms, step, like, (full_batch, size)):
        mixed, mixing = MIXING_NOISES[name].apply(inputs.take(slots), magnitudes, draws)
        inputs.put(slots, mixed)
        targets.put(slots, mix(targets.take(slots), mixing))
    for name, slots, magnitudes, draws in _acting("inputs", INPUT_NOISES, terms, step, like, (full_batch, size)):
        inputs.put(slots, INPUT_NOISES[name].apply(inputs.take(slots), magnitudes, draws))
    noisy = inputs.whole()
    return Batch(noisy if input_range is None else noisy.clamp(*input_range), targets.whole())


def noisy_weights(parameters: Mapping[str, Tensor], terms: Sequence[CohortTerm], *, step: int) -> dict[str, Tensor]:
    """Parameters (trials, ...) with every weight noise of the cohort; untouched ones are the same tensors."""
    return _noisy_tensors("weights", WEIGHT_NOISES, parameters, terms, step)


def noisy_gradients(gradients: Mapping[str, Tensor], terms: Sequence[CohortTerm], *, step: int) -> dict[str, Tensor]:
    """Clipped gradients (trials, ...) with every gradient noise; untouched ones are the same tensors."""
    return _noisy_tensors("gradients", GRADIENT_NOISES, gradients, terms, step)


def _noisy_tensors(
    site: str,
    registry: Mapping[str, Noise[ParameterNoise]],
    tensors: Mapping[str, Tensor],
    terms: Sequence[CohortTerm],
    step: int,
) -> dict[str, Tensor]:
    held = {name: Slots(value) for name, value in tensors.items()}
    for noise, slots, magnitudes, draws in _acting(site, registry, terms, step, next(iter(tensors.values()))):
        taken = {name: values.take(slots) for name, values in held.items()}
        for name, value in registry[noise].apply(taken, magnitudes, draws).items():
            if value is not taken[name]:
                held[name].put(slots, value)
    return {name: values.whole() for name, values in held.items()}


def _acting(
    site: str,
    registry: Mapping[str, Noise[Any]],
    terms: Sequence[CohortTerm],
    step: int,
    like: Tensor,
    batch: tuple[int, int] | None = None,
) -> Iterator[_Acting]:
    """Noises of `registry` that do something at this step, in registry order.

    Args:
        like: Whose device and dtype the noises are to have.
        batch: Samples in a full batch and in this one, each with a magnitude of its own; None: one for the whole batch.
    """
    present = {term.noise: term for term in terms if term.site == site}
    full, size = batch or (1, 1)
    for noise in registry:
        term = present.get(noise)
        if term is None or not term.magnitudes[step].any():
            continue
        draws = Draws(term.seeds, site, noise, step, full, size, HOST, like.dtype)
        magnitudes = _magnitudes(term, step, draws, each_sample=batch is not None)
        hit = magnitudes.reshape(len(term.slots), -1).any(1).nonzero().flatten().tolist()
        if hit:
            own = replace(draws, seeds=tuple(term.seeds[k] for k in hit), device=like.device)
            slots = tuple(term.slots[k] for k in hit)
            strong = magnitudes if len(hit) == len(term.slots) else magnitudes[hit]
            yield _Acting(noise, slots, strong.to(like.device, non_blocking=like.is_cuda), own)


def _magnitudes(term: CohortTerm, step: int, draws: Draws, *, each_sample: bool) -> Tensor:
    """The table's row, thinned and levelled, for each sample (members, size) or for the whole batch (members,)."""
    trailing, size = ((1,), draws.size) if each_sample else ((), 1)
    draw = draws.sample_uniform if each_sample else (lambda name: draws.uniform(name, ()))
    magnitudes = term.magnitudes[step].reshape(-1, *trailing)
    if term.uniform.any():
        magnitudes = torch.where(term.uniform.reshape(-1, *trailing), magnitudes * draw("level"), magnitudes)
    if (term.fractions < 1).any():
        magnitudes = torch.where(draw("select") < term.fractions.reshape(-1, *trailing), magnitudes, 0.0)
    return magnitudes.expand(-1, size) if each_sample else magnitudes
