"""What a registry entry says of a corruption."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

Apply: TypeAlias = Callable[[Tensor, float, torch.Generator], Tensor]


@dataclass(frozen=True, slots=True)
class Corruption:
    """A kind of test-time shift.

    Args:
        name: Key in `CORRUPTIONS`.
        family: Kinds of one family are averaged before families are.
        modality: Kind of data it is for.
        apply: Pure function of (data, strength, generator); base draws depend on the generator alone.
        unit: What the strength measures.
        literature: Five published strengths, used where calibration cannot reach half of clean accuracy.
        search: Strengths calibration may choose from; the first is the identity.
        source: Paper, or "own".
        channels: How many channels images must have for it; None where any number will do.
    """

    name: str
    family: str
    modality: str
    apply: Apply
    unit: str
    literature: tuple[float, float, float, float, float]
    search: tuple[float, float]
    source: str
    channels: int | None = None
