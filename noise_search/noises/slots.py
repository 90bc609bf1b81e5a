"""One tensor of a cohort while noises act on it: each takes the slots that have it and puts them back."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Slots:
    """Values (trials, ...) of which noises change some slots, copied once however many noises do.

    What is read is never written to but for that copy: neither what was given nor what a noise returned.
    """

    def __init__(self, values: Tensor) -> None:
        self._values = values
        self._is_own = False

    def take(self, slots: Sequence[int]) -> Tensor:
        """Values of `slots` (increasing) as they now are, shape (slots, ...); not to be written to."""
        if len(slots) == len(self._values):
            return self._values
        if slots[-1] - slots[0] == len(slots) - 1:
            return self._values[slots[0] : slots[-1] + 1]
        return torch.stack([self._values[slot] for slot in slots])

    def put(self, slots: Sequence[int], values: Tensor) -> None:
        """Put back `values` (slots, ...) for `slots`; what was taken before is then no longer to be read."""
        if len(slots) == len(self._values):
            # One layout, whichever slots were changed: kernels may give other last bits for another one.
            self._values, self._is_own = values.contiguous(), False
            return
        if not self._is_own:
            self._values, self._is_own = self._values.clone(memory_format=torch.contiguous_format), True
        for slot, value in zip(slots, values, strict=True):
            self._values[slot] = value

    def whole(self) -> Tensor:
        """All slots, (trials, ...): the very tensor that was given where nothing was put back."""
        return self._values
