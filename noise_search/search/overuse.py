"""Overuse: a trial's noise costs accuracy on clean data, or training has begun to make its predictions worse.

It is flagged, at any epoch that was scored after the first quarter of training, when

- clean accuracy lies under that of the no-noise control at the same epoch by more than a point, and by more than two
  standard errors of the difference, paired by validation sample; or
- the loss (NLL) on the fixed corrupted images has risen at three scorings running.

In the first quarter nothing is flagged: there noise slows training down, which says little of how it ends.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from noise_search.metrics import unpacked

POINTS = 0.01
STANDARD_ERRORS = 2.0
RISES = 3
QUIET_SHARE = 0.25  # of training, in which nothing is flagged
_LOSS = "corrupted/nll"

Correct = Mapping[int, Sequence[str]]


def overuse(
    correct: Correct, control: Correct, history: Sequence[Mapping[str, float]], *, samples: int, epochs: int
) -> str | None:
    """Why a trial's noise is called overused; None where it is not.

    Args:
        correct: Epoch -> which validation samples the trial has right, one text a seed; see `metrics.packed`.
        control: The same of the no-noise control.
        history: Of the trial from its first epoch on, one row an epoch.
        samples: Of the validation split.
        epochs: Of the whole training.
    """
    for epoch in sorted(correct.keys() & control.keys()):
        if epoch < QUIET_SHARE * epochs:
            continue
        if reason := _costs_accuracy(correct[epoch], control[epoch], epoch, samples):
            return reason
    return _rises(history, epochs)


def _costs_accuracy(own: Sequence[str], control: Sequence[str], epoch: int, samples: int) -> str | None:
    pairs = [
        unpacked(theirs)[:samples].astype(float) - unpacked(ours)[:samples]
        for ours, theirs in zip(own, control, strict=True)
    ]
    difference = np.mean(pairs, axis=0)  # over seeds: samples are what is drawn
    loss, error = float(difference.mean()), float(difference.std(ddof=1)) / math.sqrt(samples)
    if loss <= POINTS or loss <= STANDARD_ERRORS * error:
        return None
    return f"clean accuracy {100 * loss:.1f} points under no noise after {epoch} epochs (SE {100 * error:.1f})"


def _rises(history: Sequence[Mapping[str, float]], epochs: int) -> str | None:
    scored = [(int(row["epoch"]), row[_LOSS]) for row in history if _LOSS in row]
    late = [(epoch, loss) for epoch, loss in scored if epoch >= QUIET_SHARE * epochs]
    rising = 0
    for (_, before), (epoch, after) in pairwise(late):
        rising = rising + 1 if after > before else 0
        if rising == RISES:
            return f"loss on corrupted images risen at {RISES} scorings running, the last after {epoch} epochs"
    return None
