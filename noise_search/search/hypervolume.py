"""Hypervolume of a front: how much of clean and robust accuracy it beats, over a point just below the control."""

from __future__ import annotations

from collections.abc import Sequence

CLEAN_MARGIN = 0.05  # below the no-noise control's clean accuracy: who loses more counts for nothing

Point = tuple[float, float]


def front_hypervolume(points: Sequence[Point], control: Point) -> float:
    """Area that the points beat over (A - 0.05, R) of the no-noise control.

    Args:
        points: Clean and robust accuracy above chance of each trial.
        control: The same of the no-noise control.

    >>> round(front_hypervolume([(0.9, 0.7), (0.8, 0.8)], control=(0.8, 0.6)), 6)
    0.02
    """
    clean, robust = control
    return hypervolume(points, (clean - CLEAN_MARGIN, robust))


def hypervolume(points: Sequence[Point], reference: Point) -> float:
    """Area of what some point is at least as good as in both, and the reference at most; larger is better.

    >>> hypervolume([(1.0, 2.0), (2.0, 1.0)], (0.0, 0.0))
    3.0
    """
    area, floor = 0.0, reference[1]
    for x, y in sorted(points, key=lambda point: (-point[0], -point[1])):
        if x > reference[0] and y > floor:
            area += (x - reference[0]) * (y - floor)
            floor = y
    return area
