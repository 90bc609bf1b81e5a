"""Jobs that train nothing: scores come from learning curves, or are those that trainings have found before.

The driver, the store and Optuna are the real ones, so that thousands of trials show in seconds what they do: which
trials are stopped, what a sampler finds, what a kill leaves behind. The same seed gives the same sweep. Time is that of
a clock that only jobs move.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from noise_search.execute.one_by_one import OneByOne
from noise_search.metrics import above_chance, packed
from noise_search.policy import Policy
from noise_search.seeds import generator, stable_hash
from noise_search.training import Job, Member, Result
from noise_search.training.loop import WORST

Curve = Callable[[Policy, int, int], "Point"]
_TRAINING = ("epoch", "lr", "train/", "magnitude/")  # what a row of history has of training; the rest are scores
_KIND = "kind/"
STEPS_PER_EPOCH = 10
SAMPLES = 400
CLASSES = 10


@dataclass(frozen=True, slots=True)
class Point:
    """Accuracy of a trial at one epoch, on clean and on corrupted images; `diverged` where training broke down."""

    clean: float
    robust: float
    diverged: bool = False


class LookedUp(OneByOne):
    """Executor that trains nothing: it finds the result of each member by itself, and takes no time for it.

    Args:
        validation_samples: Samples of one scored set.
        steps_per_epoch: Batches of an epoch.
    """

    def __init__(self, *, validation_samples: int, steps_per_epoch: int) -> None:
        super().__init__()
        self.validation_samples, self.steps_per_epoch = validation_samples, steps_per_epoch

    def now(self) -> float:
        """Always 0."""
        return 0.0

    def run(self, job: Job, on_epoch: Callable[[int], None]) -> list[Result]:
        """Results of every member after the last epoch of the job."""
        for _ in range(job.from_epoch, job.to_epoch):
            on_epoch(len(job.members))
        return [self._result(member, job) for member in job.members]

    @abstractmethod
    def _result(self, member: Member, job: Job) -> Result:
        """What a member's training has found."""


def bare_history(job: Job) -> tuple[dict[str, float], ...]:
    """History of a training of which nothing is known but the scores at its end."""
    epochs = range(job.from_epoch + 1, job.to_epoch + 1)
    return tuple({"epoch": float(epoch), "lr": 0.0, "train/loss": 0.0} for epoch in epochs)


class SimulatedExecutor(LookedUp):
    """Executor that looks up learning curves, by a clock of its own.

    Args:
        curve: Accuracies of a policy, trained with a seed, after so many epochs.
        kinds: Kinds of corruption, with the number of severities of each.
        seconds_per_epoch: That a job of any width takes for an epoch, by the clock.
        before_job: Called before every job with its number from 0 on; what it raises, the job raises.
    """

    def __init__(
        self,
        curve: Curve,
        kinds: Mapping[str, int],
        *,
        seconds_per_epoch: float = 1.0,
        before_job: Callable[[int, Job], None] = lambda _number, _job: None,
    ) -> None:
        super().__init__(validation_samples=SAMPLES, steps_per_epoch=STEPS_PER_EPOCH)
        self._curve, self._kinds = curve, kinds
        self._seconds_per_epoch, self._before_job = seconds_per_epoch, before_job
        self._now, self._jobs = 0.0, 0

    def now(self) -> float:
        """Seconds that jobs have taken so far."""
        return self._now

    def run(self, job: Job, on_epoch: Callable[[int], None]) -> list[Result]:
        """Look up every member at the last epoch of the job."""
        number, self._jobs = self._jobs, self._jobs + 1
        self._before_job(number, job)

        def tick(epochs: int) -> None:
            self._now += self._seconds_per_epoch
            on_epoch(epochs)

        return super().run(job, tick)

    def _result(self, member: Member, job: Job) -> Result:
        point = self._curve(member.policy, member.seed, job.to_epoch)
        clean, robust = above_chance(point.clean, CLASSES), above_chance(point.robust, CLASSES)
        alive = 0.0 if point.diverged else 1.0
        scores = {"clean": alive * clean, "robust": alive * robust, "worst_family": alive * robust}
        scores |= {"drop": alive * (clean - robust), "robust_weights": alive * clean}
        cells = {kind: [point.robust] * severities for kind, severities in self._kinds.items()}
        return Result(
            member=member.name,
            epoch=job.to_epoch,
            seed=member.seed,
            scores=scores,
            cells={"clean": [point.clean], **cells, "weights": [point.clean]},
            history=bare_history(job),
            diverged=point.diverged,
            seconds=self._seconds_per_epoch * (job.to_epoch - job.from_epoch) / len(job.members),
            correct={job.to_epoch: _packed(point.clean)},
            checkpoint=_nowhere(member, job),
        )


def _packed(accuracy: float) -> str:
    """The first samples right, as many as the accuracy says.

    Paired differences are then all of one sign, and their standard error is smaller than between real trials: overuse
    is flagged sooner.
    """
    return packed(torch.arange(SAMPLES) < round(accuracy * SAMPLES))


def _nowhere(member: Member, job: Job) -> dict[str, str] | None:
    """Reference to a checkpoint that does not exist, where the job asks for one."""
    if not job.keep:
        return None
    return {"file": f"{member.name}-{member.seed}-{job.to_epoch}", "place": "nowhere", "sha256": ""}


@dataclass(frozen=True, slots=True)
class Recording:
    """What a training has found that was scored after every epoch.

    Args:
        history, correct: As in `Result`, from the first epoch on.
        diverged_from: Epoch in which it broke down; None where it did not.
    """

    history: Sequence[Mapping[str, float]]
    correct: Mapping[int, str]
    diverged_from: int | None = None


class RecordedExecutor(LookedUp):
    """Executor that finds again what trainings have found: what a rule would have done to them.

    Overuse is judged by the samples that they classified rightly, and by their losses. Not recorded are accuracies at
    each severity, in whose place each kind has its mean, and under perturbed weights, which are NaN: neither decides
    anything.

    Args:
        recording: What was found with a policy; every member of a job trains with the seed of the recordings.
        validation_samples, steps_per_epoch: Of the recorded trainings.
    """

    def __init__(
        self, recording: Callable[[Policy], Recording], *, validation_samples: int, steps_per_epoch: int
    ) -> None:
        super().__init__(validation_samples=validation_samples, steps_per_epoch=steps_per_epoch)
        self._recording = recording

    def _result(self, member: Member, job: Job) -> Result:
        found = self._recording(member.policy)
        epochs = range(job.from_epoch + 1, job.to_epoch + 1)
        history = tuple(row for row in found.history if row["epoch"] in epochs)
        scores = {key: value for key, value in history[-1].items() if not key.startswith(_TRAINING)}
        kinds = {key.removeprefix(_KIND): [value] for key, value in scores.items() if key.startswith(_KIND)}
        diverged = found.diverged_from is not None and found.diverged_from <= job.to_epoch
        return Result(
            member=member.name,
            epoch=job.to_epoch,
            seed=member.seed,
            scores={**scores, "robust_weights": math.nan, **(WORST if diverged else {})},
            cells={"clean": [scores["clean"]], **kinds, "weights": [math.nan]},
            history=history,
            diverged=diverged,
            seconds=0.0,
            correct={epoch: text for epoch, text in found.correct.items() if epoch in epochs},
            checkpoint=_nowhere(member, job),
        )


def noisy_curves(seed: int, *, epochs: int, spread: float = 0.01, diverging: float = 0.0) -> Curve:
    """Learning curves in closed form, over the terms of a policy.

    A term at inputs or weights adds robustness with its mean magnitude so far and costs clean accuracy with its
    magnitude at the moment; both saturate. Every trial rises as 1 - exp(-epoch / (epochs / 4)), and has an error of its
    own that is the same at every look.

    Args:
        seed: Of the errors.
        epochs: Of the whole training.
        spread: SD of a trial's error.
        diverging: Share of trials that diverge, at an epoch of their own; what has no noise never does.
    """

    def curve(policy: Policy, trial_seed: int, epoch: int) -> Point:
        tables = policy.tabulate(epochs * STEPS_PER_EPOCH)
        steps = epoch * STEPS_PER_EPOCH
        mean = sum(float(table[:steps].mean()) / (1.0 + float(table.max())) for table in tables.values())
        now = sum(float(table[steps - 1]) / (1.0 + float(table.max())) for table in tables.values())
        rng = generator(seed, "curve", stable_hash(repr(policy), trial_seed) % 2**31)
        errors = torch.randn(2, generator=rng) * spread
        when = torch.rand(2, generator=rng)
        risen = 1.0 - math.exp(-4.0 * epoch / epochs)
        clean = 0.1 + risen * (0.85 - 0.15 * now**2 + float(errors[0]))
        robust = 0.1 + risen * (0.45 + 0.35 * math.tanh(4.0 * mean) - 0.1 * mean**2 + float(errors[1]))
        diverges = bool(policy.terms) and float(when[0]) < diverging
        gone = diverges and epoch >= math.ceil(float(when[1]) * epochs)
        return Point(min(max(clean, 0.0), 1.0), min(max(robust, 0.0), 1.0), diverged=gone)

    return curve
