"""What a registry entry says of a noise, and the call signatures of the kinds of noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar

from torch import Tensor

from noise_search.seeds import Draws


class InputNoise(Protocol):
    """Changes each sample by itself: inputs (trials, batch, ...), magnitudes (trials, batch)."""

    def __call__(self, inputs: Tensor, magnitudes: Tensor, draws: Draws) -> Tensor: ...


class Mixing(NamedTuple):
    """How a batch was mixed with a permutation of itself, for the targets to follow as a convex combination.

    own: weight of the sample itself, shape (trials, batch): 0.5 to 1, less by what a box of whole pixels adds.
    partner: index in the batch of the other sample, shape (trials or 1, batch).
    """

    own: Tensor
    partner: Tensor


class MixingNoise(Protocol):
    """Mixes samples with each other: returns inputs and the mixing that the targets then follow."""

    def __call__(self, inputs: Tensor, magnitudes: Tensor, draws: Draws) -> tuple[Tensor, Mixing]: ...


class TargetNoise(Protocol):
    """Changes target probabilities: targets (trials, batch, classes), magnitudes (trials, batch)."""

    def __call__(self, targets: Tensor, magnitudes: Tensor, draws: Draws) -> Tensor: ...


class ParameterNoise(Protocol):
    """Changes weights or their gradients: each (trials, ...), magnitudes (trials,), one for the whole batch."""

    def __call__(self, tensors: Mapping[str, Tensor], magnitudes: Tensor, draws: Draws, /) -> dict[str, Tensor]: ...


F_co = TypeVar("F_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Noise(Generic[F_co]):
    """Registry entry of a noise.

    Args:
        site: Where it acts: inputs, weights, targets, gradients.
        name: Its name at that site.
        apply: The pure function; at magnitude 0 it is the bitwise identity.
        unit: Of the magnitude, before normalisation.
        search: Range of magnitude that the shipped search spaces use.
        log: Whether that range is searched on a log scale.
        limit: Largest magnitude that makes sense.
        knobs: Which of `fraction` and `level` it has.
        modalities: Kinds of data it can be used on.
        source: Paper, or "own".
        summary: One line for people choosing a noise.
    """

    site: str
    name: str
    apply: F_co
    unit: str
    search: tuple[float, float]
    log: bool
    limit: float
    knobs: frozenset[str]
    modalities: frozenset[str]
    source: str
    summary: str


ANY_DATA = frozenset({"images", "audio", "tabular"})
IMAGES_ONLY = frozenset({"images"})
BOTH_KNOBS = frozenset({"fraction", "level"})


def per_sample(magnitudes: Tensor, inputs: Tensor) -> Tensor:
    """View (trials, batch) magnitudes so that they broadcast over `inputs` (trials, batch, ...)."""
    return magnitudes.reshape(magnitudes.shape + (1,) * (inputs.dim() - magnitudes.dim()))


def per_trial(values: Tensor, like: Tensor) -> Tensor:
    """View (trials,) values so that they broadcast over `like` (trials, ...)."""
    return values.reshape((-1,) + (1,) * (like.dim() - 1))
