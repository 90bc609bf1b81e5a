"""What goes into the store and comes out of it: plain frozen data."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TypedDict


@dataclass(frozen=True, slots=True)
class SweepRecord:
    """One sweep.

    Args:
        id: Key in the store.
        name: Unique in the store.
        digest, identity: Hash of what the sweep is, and that written out.
        config: Whole configuration as composed.
        state: `running`, `complete`, `interrupted` or `failed`.
        train_mode, score_mode: How cohorts train and are scored; None until measured.
        bitwise: Whether a trial gives the same bits in every cohort; None until probed.
        budget_trials: Total of searched trials.
        stop_requested: Whether somebody asked its driver to stop.
        created_at, finished_at: In UTC.
        seconds: Sum over its jobs that are done or failed; what was given up within a job is not counted.
        importance: Of its knobs when it last reached its total; None before, and of few trials.
    """

    id: int
    name: str
    digest: str
    identity: dict[str, object]
    config: dict[str, object]
    state: str
    train_mode: str | None
    score_mode: str | None
    bitwise: bool | None
    budget_trials: int
    stop_requested: bool
    created_at: datetime
    finished_at: datetime | None
    seconds: float
    importance: dict[str, object] | None


class SweepChanges(TypedDict, total=False):
    """What `Writer.update_sweep` may set."""

    state: str
    train_mode: str | None
    score_mode: str | None
    bitwise: bool | None
    budget_trials: int
    stop_requested: bool
    config: dict[str, object]
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class NewMember:
    """A trial or a control to be trained; exactly one of `number` and `control` is set.

    Args:
        number: Optuna's number of the trial.
        control: Name of the control.
        parameters: What was asked for, by parameter name.
        policy: Its terms, as in a card.
    """

    number: int | None
    control: str | None
    parameters: dict[str, object]
    policy: list[dict[str, object]]

    def __post_init__(self) -> None:
        if (self.number is None) == (self.control is None):
            raise ValueError(f"member: expected a number or a control, got {self.number!r} and {self.control!r}")


@dataclass(frozen=True, slots=True)
class MemberRecord:
    """A trial or control of a sweep.

    Args:
        id, sweep_id: Keys in the store.
        number, control, parameters, policy: As in `NewMember`.
        state: `waiting`, `running`, `complete`, `stopped`, `infeasible` or `failed`.
        reason: Why it stopped, failed or diverged.
        told: Whether Optuna knows its outcome.
        target_epoch: Epoch up to which it may train so far; 0 for the first rung, of a control the last.
        attempts: How often it has failed alone, by what went wrong.
        overuse: Why its noise is called overused; None where it is not.
        constraints: By name, violated where positive.
        started_at: Start of its first job, in UTC.
        finished_at: When it reached one of the last four states, in UTC.
    """

    id: int
    sweep_id: int
    number: int | None
    control: str | None
    parameters: dict[str, object]
    policy: list[dict[str, object]]
    state: str
    reason: str | None
    told: bool
    target_epoch: int
    attempts: dict[str, int]
    overuse: str | None
    constraints: dict[str, float]
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class NewResult:
    """Scores of one member at one epoch, and the state they leave it in.

    Args:
        member_id: Key of the member.
        epoch: Epoch it was scored after.
        seed: Seed it was trained with.
        state, reason: Those of the member from now on.
        scores: Named numbers (`clean`, `robust`, ...); any may be NaN or infinite.
        cells: Accuracy per severity, by kind of corruption.
        history: One entry per epoch trained in this job.
        seconds: Its share of the job.
        overuse: Why the member's noise is called overused from now on; None leaves what was said before.
        constraints: Of the member from now on.
        shared: Whether it was taken from the no-noise control, not trained.
        checkpoint: Where the state after this epoch lies; see `checkpoints`.
        correct: Which validation samples were classified rightly, by epoch; see `overuse`.
    """

    member_id: int
    epoch: int
    seed: int
    state: str
    reason: str | None
    scores: dict[str, float]
    cells: dict[str, list[float]]
    history: list[dict[str, float]]
    seconds: float
    overuse: str | None = None
    constraints: dict[str, float] = field(default_factory=dict)
    shared: bool = False
    checkpoint: dict[str, str] | None = None
    correct: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ResultRecord:
    """Scores of one member at one epoch, as in `NewResult`; `created_at` in UTC."""

    id: int
    member_id: int
    epoch: int
    seed: int
    scores: dict[str, float]
    cells: dict[str, list[float]]
    history: list[dict[str, float]]
    seconds: float
    created_at: datetime
    shared: bool
    checkpoint: dict[str, str] | None
    correct: dict[str, str]


@dataclass(frozen=True, slots=True)
class RungScores:
    """What a driver needs of a `ResultRecord`: no history, no cells."""

    member_id: int
    epoch: int
    seed: int
    scores: dict[str, float]
    checkpoint: dict[str, str] | None


@dataclass(frozen=True, slots=True)
class JobRecord:
    """Members trained together from one rung to another.

    Args:
        id, sweep_id: Keys in the store.
        members, seeds: Keys of the members, and the seeds they train with, in slot order.
        from_epoch, to_epoch: Epochs before and after.
        state: `running`, `done`, `abandoned` or `failed`.
        started_at, finished_at: In UTC.
        epochs_trained, samples_scored: Summed over members; of a failed job the epochs that are known.
        error: Why it failed.
    """

    id: int
    sweep_id: int
    members: tuple[int, ...]
    seeds: tuple[int, ...]
    from_epoch: int
    to_epoch: int
    state: str
    started_at: datetime
    finished_at: datetime | None
    epochs_trained: int
    samples_scored: int
    error: str | None


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """Something the tracking mirror is to show; `key` is unique in its sweep."""

    key: str
    kind: str
    payload: dict[str, object]


@dataclass(frozen=True, slots=True)
class OutboxRecord:
    """An `OutboxEntry` in the store. Its `id` changes when its payload is replaced."""

    id: int
    sweep_id: int
    key: str
    kind: str
    payload: dict[str, object]


@dataclass(frozen=True, slots=True)
class Confirmed:
    """One training of an arm in a confirmation.

    Args:
        stage: `choose`, scored on validation, or `measure`, scored on test.
        arm: Name of the policy among those that are compared.
        seed: Seed it was trained with.
        policy: Its terms, as in a card.
        scores: Named numbers after the last epoch.
        cells: Accuracy per severity, by kind of corruption.
        correct: Which clean samples were classified rightly; see `metrics.packed`.
        hits: Family -> in how many of its cells each sample was classified rightly; see `metrics.counts_packed`.
        diverged: Whether it diverged; scores are then the finite worst.
    """

    stage: str
    arm: str
    seed: int
    policy: list[dict[str, object]]
    scores: dict[str, float]
    cells: dict[str, list[float]]
    correct: str
    hits: dict[str, str]
    diverged: bool


@dataclass(frozen=True, slots=True)
class ConfirmationRecord:
    """A confirmation of a sweep's front.

    Args:
        id, sweep_id: Keys in the store.
        number: Of the confirmation within the sweep, from 1 on.
        settings: What it does: arms, seeds, suites.
        choice: What the first stage has chosen; None until it has.
        finished_at: When the second stage ended, in UTC; None until it has.
        created_at: In UTC.
        seconds: Sum over its jobs.
        generation: Of the lease under which it was last begun; None of one begun by an earlier version.
    """

    id: int
    sweep_id: int
    number: int
    settings: dict[str, object]
    choice: dict[str, object] | None
    finished_at: datetime | None
    created_at: datetime
    seconds: float
    generation: int | None


@dataclass(frozen=True, slots=True)
class NewCard:
    """A card to be registered.

    Args:
        rule: That picked its trial, or control.
        trial: Optuna's number of it; None for a control, which the rule names.
        kind: Of its evidence: `searched` or `confirmed`.
        confirmation: Number of the confirmation that the evidence is from; None for searched.
        digest: SHA-256 of `content`.
        content: The file.
        versions: Of noise_search and torch.
    """

    rule: str
    trial: int | None
    kind: str
    confirmation: int | None
    digest: str
    content: str
    versions: dict[str, str]


@dataclass(frozen=True, slots=True)
class CardRecord:
    """A `NewCard` in the store; `version` counts the cards of its sweep from 1 on, `created_at` is in UTC."""

    id: int
    sweep_id: int
    version: int
    rule: str
    trial: int | None
    kind: str
    confirmation: int | None
    digest: str
    content: str
    versions: dict[str, str]
    created_at: datetime

    @property
    def name(self) -> str:
        """Whose it is: `trial 3`, or `control constant_1`."""
        return self.rule.replace("=", " ") if self.trial is None else f"trial {self.trial}"
