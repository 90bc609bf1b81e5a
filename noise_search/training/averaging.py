"""Weights averaged over the steps of an epoch: what a training is worth before its learning rate has fallen.

While the learning rate is high, weights jump about the bottom that they will settle in, and so do their scores. Their
mean lies near it: of two trials it tells much better which will end higher, and it costs one addition a step.

Source: Izmailov et al. 2018, arXiv:1803.05407; over one epoch at a time, so that nothing has to be kept between jobs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from noise_search.training.state import CohortState


class EpochMean:
    """Running mean of a cohort's parameters and buffers; those that are no floating-point numbers are the latest."""

    def __init__(self) -> None:
        self._steps = 0
        self._parameters: dict[str, Tensor] = {}
        self._buffers: dict[str, Tensor] = {}

    def add(self, cohort: CohortState) -> None:
        """Take in the cohort as it is after a step."""
        self._steps += 1
        _mix(self._parameters, cohort.parameters, 1 / self._steps)
        _mix(self._buffers, cohort.buffers, 1 / self._steps)

    def of(self, cohort: CohortState) -> CohortState:
        """The cohort with the means in place of its parameters and buffers: to be scored, not trained."""
        return replace(cohort, parameters=self._parameters, buffers=self._buffers)


@torch.no_grad()
def _mix(mean: dict[str, Tensor], latest: Mapping[str, Tensor], share: float) -> None:
    for name, value in latest.items():
        if name in mean and value.is_floating_point():
            mean[name].lerp_(value, share)
        else:
            mean[name] = value.detach().clone()
