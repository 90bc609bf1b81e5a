"""Common random numbers: every draw comes from a fresh generator named by what it is for.

A draw depends on (seed, purpose, step) alone, never on the trial, its slot in a cohort, the cohort's width or
the executor. Two policies of one seed therefore see the same initial weights, batch order and base noise, and
differ only by what the policy makes of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


def stable_hash(*parts: str | int) -> int:
    """63-bit integer of `parts`, the same in every process, Python version and platform.

    >>> stable_hash(0, "order", 3) == stable_hash(0, "order", 3)
    True
    """
    digest = hashlib.blake2b(json.dumps(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def seeds_of(seed: int, count: int) -> tuple[int, ...]:
    """Seeds for `count` trainings of one trial: the sweep's own first, more of them the same whatever their number.

    >>> seeds_of(5, 1)
    (5,)
    """
    return (seed, *(stable_hash(seed, "training", index) for index in range(1, count)))


def generator(seed: int, *purpose: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """Fresh torch generator for one purpose; two calls with the same arguments give the same draws."""
    return torch.Generator(device=device).manual_seed(stable_hash(seed, *purpose))


def numpy_generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """Fresh NumPy generator for one purpose, for distributions torch cannot draw from a generator."""
    return np.random.Generator(np.random.PCG64(stable_hash(seed, *purpose)))


@dataclass(frozen=True, slots=True)
class Draws:
    """Base draws of one noise at one step, for the trials that have it.

    Args:
        seeds: Seed of each trial, in order; trials of one seed share every draw.
        site, noise: What the draws are for.
        step: Training step.
        batch: Samples in a full batch. Draws are made for all of them, then cut.
        size: Samples in this batch, at most `batch`.
        device, dtype: Of the tensors returned.
    """

    seeds: tuple[int, ...]
    site: str
    noise: str
    step: int
    batch: int
    size: int
    device: torch.device
    dtype: torch.dtype

    def normal(self, draw: str, shape: Sequence[int]) -> Tensor:
        """Standard normal numbers, shape (trials or 1, *shape); 1 where all trials share one seed."""
        return self._stacked(
            draw, lambda rng: torch.randn(tuple(shape), generator=rng, device=self.device, dtype=self.dtype)
        )

    def uniform(self, draw: str, shape: Sequence[int]) -> Tensor:
        """Uniform numbers in [0, 1), shape (trials or 1, *shape); 1 where all trials share one seed."""
        return self._stacked(
            draw, lambda rng: torch.rand(tuple(shape), generator=rng, device=self.device, dtype=self.dtype)
        )

    def sample_normal(self, draw: str, trailing: Sequence[int] = ()) -> Tensor:
        """Standard normal numbers for each sample of the batch, shape (trials or 1, size, *trailing)."""
        return self.normal(draw, (self.batch, *trailing))[:, : self.size]

    def sample_uniform(self, draw: str, trailing: Sequence[int] = ()) -> Tensor:
        """Uniform numbers for each sample of the batch, shape (trials or 1, size, *trailing)."""
        return self.uniform(draw, (self.batch, *trailing))[:, : self.size]

    def each_trial(self, draw: str) -> list[np.random.Generator]:
        """Fresh generator for every trial, all in the state their seed gives.

        For draws whose distribution depends on a trial's magnitude: trials of one seed start alike and
        then consume as many numbers as they need.
        """
        return [numpy_generator(seed, self.site, self.noise, draw, self.step) for seed in self.seeds]

    def generators(self, draw: str) -> list[torch.Generator]:
        """Fresh torch generator on the device for every trial, as `each_trial` gives NumPy's."""
        return [self._generator(seed, draw) for seed in self.seeds]

    def _stacked(self, draw: str, make: Callable[[torch.Generator], Tensor]) -> Tensor:
        unique = list(dict.fromkeys(self.seeds))
        if len(unique) == 1:
            return make(self._generator(unique[0], draw))[None]
        made = torch.stack([make(self._generator(seed, draw)) for seed in unique])
        return made[torch.tensor([unique.index(seed) for seed in self.seeds], device=self.device)]

    def _generator(self, seed: int, draw: str) -> torch.Generator:
        return generator(seed, self.site, self.noise, draw, self.step, device=self.device)
