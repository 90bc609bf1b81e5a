"""Curves: plain functions of progress, no state, no randomness. They trust their input: `checks` judged it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

_STRAIGHT = 1e-16  # so little growth bends a line by less than float64 can show


def progress(steps: int) -> Tensor:
    """Fraction of training done at each step, from exactly 0 to exactly 1, shape (steps,), float64.

    >>> progress(3)
    tensor([0.0000, 0.5000, 1.0000], dtype=torch.float64)
    """
    return torch.arange(steps, dtype=torch.float64) / max(steps - 1, 1)


def constant(progress: Tensor) -> Tensor:
    """Factor 1 throughout.

    >>> constant(torch.tensor([0.0, 1.0]))
    tensor([1., 1.])
    """
    return torch.ones_like(progress)


def linear(progress: Tensor, a: float, b: float, start: float, stop: float) -> Tensor:
    """Factor moving from `a` to `b` along a straight line over [start, stop], flat outside.

    Args:
        progress: Fraction of training done, in [0, 1], shape (steps,).
        a, b: Factors of the magnitude before `start` and after `stop`.
        start, stop: Fractions of training, start < stop.

    >>> linear(torch.tensor([0.0, 0.5, 1.0]), a=0, b=1, start=0, stop=0.5)
    tensor([0., 1., 1.])
    """
    return a + (b - a) * _ramp(progress, start, stop)


def cosine(progress: Tensor, a: float, b: float, start: float, stop: float) -> Tensor:
    """Factor moving from `a` to `b` along half a cosine over [start, stop], flat outside and at both ends.

    Source: Loshchilov & Hutter 2017, arXiv:1608.03983, without restarts.

    >>> cosine(torch.tensor([0.0, 0.5, 1.0]), a=1, b=0.2, start=0, stop=1)
    tensor([1.0000, 0.6000, 0.2000])
    """
    return a + (b - a) * 0.5 * (1.0 - torch.cos(math.pi * _ramp(progress, start, stop)))


def power(progress: Tensor, q: float, direction: str) -> Tensor:
    """Factor t^q going up, (1 - t)^q going down: late and steep for q > 1, early and steep for q < 1.

    Args:
        progress: Fraction of training done, in [0, 1], shape (steps,).
        q: More than 0.
        direction: "up" or "down".

    >>> power(torch.tensor([0.0, 0.5, 1.0]), q=2, direction="up")
    tensor([0.0000, 0.2500, 1.0000])
    """
    return (progress if direction == "up" else 1.0 - progress) ** q


def exponential(progress: Tensor, g: float) -> Tensor:
    """Factor (e^(g t) - 1) / (e^g - 1): late for g > 0, early for g < 0, and the straight line t at g = 0.

    >>> exponential(torch.tensor([0.0, 0.5, 1.0]), g=2 * math.log(3))
    tensor([0.0000, 0.2500, 1.0000])
    """
    if abs(g) < _STRAIGHT:
        return progress
    # Divided element by element: a scalar of another routine could lift the last factor over 1 by rounding.
    return torch.expm1(g * progress) / torch.expm1(torch.full_like(progress, g))


def steps(progress: Tensor, k: int, direction: str) -> Tensor:
    """Factor of `k` stairs of equal length and heights 0, 1/(k-1), ..., 1, going up or down.

    A stair begins where the one before it ends: it owns its first moment, and the last one owns the end of training.

    >>> steps(torch.tensor([0.0, 0.4, 0.5, 1.0]), k=2, direction="down")
    tensor([1., 1., 0., 0.])
    """
    stair = torch.floor(progress * k).clamp(max=k - 1)
    return (stair if direction == "up" else k - 1 - stair) / (k - 1)


def warmup_hold(progress: Tensor, w: float) -> Tensor:
    """Factor min(1, t / w): up in a straight line over the first `w` of training, then held.

    >>> warmup_hold(torch.tensor([0.0, 0.25, 1.0]), w=0.5)
    tensor([0.0000, 0.5000, 1.0000])
    """
    return (progress / w).clamp(max=1.0)


def window(progress: Tensor, start: float, stop: float) -> Tensor:
    """Factor 1 inside [start, stop], both ends included, and 0 outside: late on, early off, off at the end.

    >>> window(torch.tensor([0.0, 0.5, 1.0]), start=0.5, stop=1)
    tensor([0., 1., 1.])
    """
    return ((progress >= start) & (progress <= stop)).to(progress.dtype)


def cyclic(progress: Tensor, c: int) -> Tensor:
    """Factor (1 - cos(2 pi c t)) / 2: `c` waves, each from 0 to 1 and back.

    >>> cyclic(torch.tensor([0.0, 0.25, 0.5]), c=1)
    tensor([0.0000, 0.5000, 1.0000])
    """
    return 0.5 * (1.0 - torch.cos(2.0 * math.pi * c * progress))


def table(progress: Tensor, values: Sequence[float]) -> Tensor:
    """Factor through `values` at equal spacing, the first at the beginning and the last at the end, linear between.

    Args:
        progress: Fraction of training done, in [0, 1], shape (steps,).
        values: At least two, in [0, 1].

    >>> table(torch.tensor([0.0, 0.25, 0.75, 1.0]), values=(0, 1, 0))
    tensor([0.0000, 0.5000, 0.5000, 0.0000])
    """
    heights = torch.tensor(values, dtype=progress.dtype)
    position = progress * (len(values) - 1)
    left = torch.floor(position).clamp(max=len(values) - 2)
    low, high = heights[left.long()], heights[left.long() + 1]
    return low + (high - low) * (position - left)


def knots(progress: Tensor, values: Sequence[float], monotone: str) -> Tensor:
    """Factor through knots at equal spacing: the `values` themselves, or their running sums as shares of the total.

    Args:
        progress: Fraction of training done, in [0, 1], shape (steps,).
        values: Heights of the knots, in [0, 1]; with a direction, how much each knot adds to the one before it.
        monotone: "free"; "up", which ends at 1; or "down", the same read from the end, which begins at 1.

    >>> knots(torch.tensor([0.0, 0.5, 1.0]), values=(1, 1, 2), monotone="up")
    tensor([0.2500, 0.5000, 1.0000])
    >>> knots(torch.tensor([0.0, 0.5, 1.0]), values=(1, 1, 2), monotone="down")
    tensor([1.0000, 0.7500, 0.5000])
    """
    if monotone == "free":
        return table(progress, values)
    heights = torch.tensor(values if monotone == "up" else values[::-1], dtype=progress.dtype).cumsum(0)
    shares = heights / (heights[-1] if heights[-1] > 0 else 1.0)  # no increments at all: no noise at all
    return table(progress, (shares if monotone == "up" else shares.flip(0)).tolist())


def _ramp(progress: Tensor, start: float, stop: float) -> Tensor:
    return ((progress - start) / (stop - start)).clamp(0.0, 1.0)
