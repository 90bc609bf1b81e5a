"""The gate `every`, under which any schedule can run: on for a share of each of a few equal intervals of training."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from noise_search.errors import raise_if_any
from noise_search.schedules.checks import gate_mistakes

_HAIR = 1e-9  # of an interval


@dataclass(frozen=True, slots=True)
class Gate:
    """On for the first share `on` of each of `cycles` equal intervals of training, off for the rest of it.

    Args:
        cycles: How many intervals, 1 to 1000.
        on: Share of each, in [0, 1].

    Raises:
        CallerError: For a value out of range.

    >>> Gate(2, 0.5).factors(torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0]))
    tensor([1., 0., 1., 0., 0.])
    """

    cycles: int
    on: float

    def __post_init__(self) -> None:
        raise_if_any(gate_mistakes("every", {"cycles": self.cycles, "on": self.on}))
        object.__setattr__(self, "cycles", int(self.cycles))
        object.__setattr__(self, "on", float(self.on))

    @property
    def opens(self) -> bool:
        """Whether it is on long enough for any step to meet it on."""
        return self.on > _HAIR

    def factors(self, progress: Tensor) -> Tensor:
        """1 where the gate is on and 0 where it is off, shape and type of `progress`."""
        position = progress * self.cycles
        # Rounded, a position may fall a hair short of where its interval begins, or where the gate shuts.
        begun = torch.floor(position + _HAIR).clamp(max=self.cycles - 1)
        return ((position - begun < self.on - _HAIR) | (self.on == 1.0)).to(progress.dtype)
