"""Simulated jobs that find as many numbers as real ones, scored after every epoch: driver and store handle them all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from noise_search.execute import SimulatedExecutor, SimulatedPlaces
from noise_search.execute.simulated import Curve
from noise_search.training import Job, Member, Result

DETAILS = ("accuracy", "nll", "brier", "ece", "entropy")  # of clean and of corrupted images, at every scoring


def more_scores(kinds: Mapping[str, int]) -> dict[str, float]:
    """Numbers that no curve gives, the same everywhere, so that no loss rises."""
    names = [f"{side}/{detail}" for side in ("clean", "corrupted") for detail in DETAILS]
    return dict.fromkeys([*(f"kind/{kind}" for kind in kinds), *names], 1 / 3)


def full(member: Member, result: Result, more: Mapping[str, float]) -> Result:
    """A simulated result with every number and, for every epoch, which samples were classified rightly."""
    scores = {**result.scores, **more}
    every = {f"magnitude/{term.key}": term.magnitude / 3 for term in member.policy.terms}
    every |= {key: value for key, value in scores.items() if key != "robust_weights"}
    return replace(
        result,
        scores=scores,
        history=tuple({**row, "lr": 1 / 3, "train/loss": 1 / 3, **every} for row in result.history),
        correct={int(row["epoch"]): result.correct[result.epoch] for row in result.history},
    )


class FullRows(SimulatedExecutor):
    """One simulated worker with full results."""

    def __init__(self, curve: Curve, kinds: Mapping[str, int]) -> None:
        super().__init__(curve, kinds)
        self._more = more_scores(kinds)

    def run(self, job: Job, on_epoch: Callable[[int], None]) -> list[Result]:
        """Results with every number."""
        found = zip(job.members, super().run(job, on_epoch), strict=True)
        return [full(member, result, self._more) for member, result in found]


class FullRowsOfPlaces(SimulatedPlaces):
    """Many simulated workers with full results; see `SimulatedPlaces`."""

    def __init__(self, curve: Curve, kinds: Mapping[str, int], **options: Any) -> None:
        super().__init__(curve, kinds, **options)
        self._more = more_scores(kinds)

    def run(self, job: Job, on_epoch: Callable[[int], None]) -> list[Result]:
        """Results with every number."""
        found = zip(job.members, super().run(job, on_epoch), strict=True)
        return [full(member, result, self._more) for member, result in found]
