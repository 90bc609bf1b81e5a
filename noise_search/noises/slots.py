"""One tensor of a cohort while noises act on it: each takes the slots that have it and puts them back."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Slots:
    """Values (trials, ...) of which some slots are changed, copied once at the end however many noises act.

    Args:
        values: Left alone; slots never put back are read from it.
    """

    def __init__(self, values: Tensor) -> None:
        self._values = values
        self._changed: dict[int, Tensor] = {}

    def take(self, slots: Sequence[int]) -> Tensor:
        """Values of `slots` (increasing) as they now are, shape (slots, ...); not to be written to."""
        if len(slots) == len(self._values) and not self._changed:
            return self._values
        rows = [self._row(slot) for slot in slots]
        return rows[0][None] if len(rows) == 1 else torch.stack(rows)

    def put(self, slots: Sequence[int], values: Tensor) -> None:
        """Put back `values` (slots, ...) for `slots`."""
        if len(slots) == len(self._values):
            self._values, self._changed = values, {}
        else:
            self._changed |= zip(slots, values.unbind(0), strict=True)

    def whole(self) -> Tensor:
        """All slots, (trials, ...): the very tensor that was given where nothing was put back."""
        if not self._changed:
            return self._values
        return torch.stack([self._row(slot) for slot in range(len(self._values))])

    def _row(self, slot: int) -> Tensor:
        return self._changed[slot] if slot in self._changed else self._values[slot]
