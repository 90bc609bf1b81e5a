"""Confirm a front: choose on validation with fresh seeds, then measure on test with others, once.

    stage 1   candidates train with seed after seed, all of a seed in jobs together, who is behind drops out;
              the pick rule names the winner, the best scores name the constant and the random arm to beat, and the
              spread between seeds says which gains stage 2 can show
    stage 2   winner, no noise, best constant, random policies, and the winner's noise otherwise distributed in time
              train with other seeds, their number fixed beforehand; test and the held-out suite are read here alone

Every job is stored when it is done; a run that was cut short goes on where it was.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import cast

import numpy as np

from noise_search.execute import Executor, trained
from noise_search.metrics import combined
from noise_search.policy import Policy, policy_from_list, policy_to_list
from noise_search.search.arms import ordering_arms
from noise_search.search.choosing import CONSTANT, FRONT, RANDOM, Candidate, choose, still_racing
from noise_search.search.evidence import BEST_CONSTANT, BEST_RANDOM, NO_NOISE, WINNER, Yard, yard_of
from noise_search.search.foresight import smallest_gain
from noise_search.search.fronts import FrontRow
from noise_search.seeds import stable_hash
from noise_search.spec import SweepSpec
from noise_search.store import (
    CHOOSE,
    MEASURE,
    ConfirmationRecord,
    Confirmed,
    Store,
    Writer,
    add_confirmed,
    store_choice,
)
from noise_search.training import Job, Member, Result

Training = tuple[str, Policy, int]  # arm, what it trains with, seed


@dataclass(frozen=True, slots=True)
class ConfirmSettings:
    """What a confirmation does; all of it is fixed before it begins.

    Args:
        trials: Of the sweep that are complete: with more of them it has another front, and so another confirmation.
        rule: That picks the winner; see `pick`.
        top: Policies of each front that race.
        randoms: Policies drawn at random.
        seeds: Fresh seeds of stage 1.
        measure_seeds: Other seeds of stage 2.
        constants: Name of the sweep that searched among constant policies, and its trials.
        held_out: Name and digest of the suite of stage 2.
    """

    trials: int
    rule: str
    top: int
    randoms: int
    seeds: int
    measure_seeds: int
    constants: tuple[str, int]
    held_out: tuple[str, str]

    def stored(self) -> dict[str, object]:
        """As the store keeps it."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class Sizes:
    """Numbers of the data, known before any corruption of them is drawn.

    Args:
        classes: Of the data.
        steps_per_epoch: Of a training.
        validation_samples, test_samples: Of what stage 1 and stage 2 score on.
    """

    classes: int
    steps_per_epoch: int
    validation_samples: int
    test_samples: int


@dataclass(slots=True)
class Confirmation:
    """A confirmation under way.

    Args:
        spec: Of the sweep.
        settings: Of the confirmation.
        store, writer, record: Where it is kept.
        executors: Gives the executor of a stage, at a multiple of the learning rate; that of stage 2 opens test, and is
            asked for there alone, and only where something is to be trained.
        on_epoch: Told of finished member-epochs.
        sizes: Of the data.
    """

    spec: SweepSpec
    settings: ConfirmSettings
    store: Store
    writer: Writer
    record: ConfirmationRecord
    executors: Callable[[str, float], Executor]
    on_epoch: Callable[[int], None]
    sizes: Sizes
    trainings: dict[tuple[str, str, int], Confirmed] = field(init=False)

    def __post_init__(self) -> None:
        found = self.store.confirmed(self.record.id)
        self.trainings = {(one.stage, one.arm, one.seed): one for one in found}

    def of(self, stage: str, arm: str) -> list[Confirmed]:
        """Trainings of an arm in a stage, by seed."""
        own = [one for (at, name, _), one in self.trainings.items() if (at, name) == (stage, arm)]
        return sorted(own, key=lambda one: one.seed)


def stage_seeds(confirmation: Confirmation, stage: str) -> list[int]:
    """Seeds of a stage: those of no other stage, confirmation or search."""
    settings, number = confirmation.settings, confirmation.record.number
    count = settings.seeds if stage == CHOOSE else settings.measure_seeds
    return [stable_hash(confirmation.spec.seed, "confirm", number, stage, index) % 2**63 for index in range(count)]


# --- stage 1 ---


def run_choosing(confirmation: Confirmation, racers: Sequence[Candidate], front: Sequence[FrontRow]) -> None:
    """Train who races, and store who is chosen; nothing happens where it is.

    Args:
        confirmation: Under way.
        racers: From `choosing.candidates`.
        front: Rows of the sweep's front.
    """
    if confirmation.record.choice is not None:
        return
    left, seeds = list(racers), stage_seeds(confirmation, CHOOSE)
    for count, seed in enumerate(seeds, start=1):
        train_missing(confirmation, CHOOSE, [(one.name, one.policy, seed) for one in left])
        left = _left(confirmation, left, seeds[:count])
    confirmation.record = store_choice(
        confirmation.writer, confirmation.record.id, _choice(confirmation, racers, left, front)
    )


def mend_choice(confirmation: Confirmation) -> None:
    """Add what stores of schema 0004 lack of a choice, without training anything again."""
    if "classes" not in (confirmation.record.choice or {}):
        more: dict[str, object] = {"classes": confirmation.sizes.classes, "smallest_gain": None}
        confirmation.record = store_choice(confirmation.writer, confirmation.record.id, more)


def _left(confirmation: Confirmation, racers: Sequence[Candidate], seeds: Sequence[int]) -> list[Candidate]:
    """Who may still win, of every group; by another rule than the best score everybody may."""
    if confirmation.settings.rule != "best":
        return list(racers)
    left: list[Candidate] = []
    for group in (FRONT, CONSTANT, RANDOM):
        own = [one for one in racers if one.group == group]
        scores = np.array([[_score(confirmation, one, seed) for seed in seeds] for one in own])
        left += [one for one, races in zip(own, still_racing(scores) if own else [], strict=True) if races]
    return left


def _score(confirmation: Confirmation, one: Candidate, seed: int) -> float:
    return confirmation.trainings[CHOOSE, one.name, seed].scores["score"]


def _choice(
    confirmation: Confirmation, racers: Sequence[Candidate], left: Sequence[Candidate], front: Sequence[FrontRow]
) -> dict[str, object]:
    """Arms of stage 2 that stage 1 chooses, with their policies, and how everybody did."""
    names = {one.name for one in left if one.group == FRONT}
    rows = [row for row in front if row.on_front and row.name in names]
    found = {name: confirmation.of(CHOOSE, name) for name in names}
    best = {group: _best(confirmation, [one for one in left if one.group == group]) for group in (CONSTANT, RANDOM)}
    chosen = {WINNER: choose(rows, found, confirmation.settings.rule), BEST_RANDOM: best[RANDOM]}
    chosen |= {BEST_CONSTANT: best[CONSTANT]} if best[CONSTANT] else {}
    policies = {one.name: policy_to_list(one.policy) for one in racers}
    return {
        "chosen": chosen,
        "policies": {arm: policies[name] for arm, name in chosen.items() if name is not None and arm != BEST_RANDOM},
        "randoms": {one.name: policies[one.name] for one in racers if one.group == RANDOM},
        "classes": confirmation.sizes.classes,
        "dropped": [one.name for one in racers if one not in left],
        "smallest_gain": _smallest_gain(confirmation, left),
    }


def _best(confirmation: Confirmation, group: Sequence[Candidate]) -> str | None:
    """Name of the best of a group by its mean score; None of nobody."""
    means = {one.name: np.mean([t.scores["score"] for t in confirmation.of(CHOOSE, one.name)]) for one in group}
    return max(means, key=lambda name: float(means[name]), default=None)


def _smallest_gain(confirmation: Confirmation, left: Sequence[Candidate]) -> float | None:
    """That stage 2 shows, from those who trained with every seed."""
    arms = {one.name: confirmation.of(CHOOSE, one.name) for one in left}
    seeds, items = confirmation.settings.measure_seeds, confirmation.sizes.test_samples
    return smallest_gain(arms, choosing_yard(confirmation), seeds=seeds, items=items)


def choosing_yard(confirmation: Confirmation) -> Yard:
    """What stage 1 is scored on."""
    sizes = confirmation.sizes
    return yard_of(confirmation.spec.suite, classes=sizes.classes, samples=sizes.validation_samples, winner=Policy())


# --- stage 2 ---


def run_measuring(confirmation: Confirmation) -> None:
    """Train every arm of stage 2 with every seed, and score it on test; what is stored is not trained again."""
    for seed in stage_seeds(confirmation, MEASURE):
        arms = measured_arms(confirmation, seed)
        train_missing(confirmation, MEASURE, [(name, policy, seed) for name, policy in arms.items()])


def measured_arms(confirmation: Confirmation, seed: int) -> dict[str, Policy]:
    """Policies that are compared, by name, as they train with a seed."""
    assert confirmation.record.choice is not None
    choice = cast(Mapping[str, Mapping[str, object]], confirmation.record.choice)
    chosen = {arm: policy_from_list(policy) for arm, policy in choice["policies"].items()}
    randoms = {name: policy_from_list(policy) for name, policy in choice["randoms"].items()}
    epochs = confirmation.spec.train.epochs
    steps = epochs * confirmation.sizes.steps_per_epoch
    ordered = ordering_arms(chosen[WINNER], steps=steps, epochs=epochs, seed=seed)
    return {WINNER: chosen[WINNER], NO_NOISE: Policy(), **chosen, **randoms, **ordered}


# --- training ---


def train_missing(confirmation: Confirmation, stage: str, wanted: Iterable[Training], *, multiple: float = 1.0) -> None:
    """Train what is not stored yet, at a multiple of the learning rate, in jobs of the sweep's width; store each."""
    left = [one for one in wanted if (stage, one[0], one[2]) not in confirmation.trainings]
    if not left:
        return
    executor = confirmation.executors(stage, multiple)
    width = min(confirmation.spec.driver.cohort, math.ceil(len(left) / executor.places))
    parts = [left[first : first + width] for first in range(0, len(left), width)]
    clock = executor.now()
    for number, results in trained(executor, [_job(confirmation, part) for part in parts], confirmation.on_epoch):
        since, clock = clock, executor.now()
        _keep(confirmation, stage, parts[number], results, seconds=clock - since)


def _job(confirmation: Confirmation, part: Sequence[Training]) -> Job:
    members = tuple(Member(str(slot), policy, seed) for slot, (_, policy, seed) in enumerate(part))
    return Job(members, 0, confirmation.spec.train.epochs, hits=True)


def _keep(
    confirmation: Confirmation, stage: str, part: Sequence[Training], results: Sequence[Result], *, seconds: float
) -> None:
    weight = confirmation.spec.objective.weight
    found = [_confirmed(stage, one, result, weight) for one, result in zip(part, results, strict=True)]
    add_confirmed(confirmation.writer, confirmation.record.id, found, [], seconds=seconds)
    confirmation.trainings |= {(one.stage, one.arm, one.seed): one for one in found}


def _confirmed(stage: str, training: Training, result: Result, weight: float) -> Confirmed:
    arm, policy, seed = training
    scores = dict(result.scores)
    return Confirmed(
        stage=stage,
        arm=arm,
        seed=seed,
        policy=policy_to_list(policy),
        scores={**scores, "score": combined(scores["clean"], scores["robust"], weight)},
        cells=dict(result.cells),
        correct=result.correct[result.epoch],
        hits=dict(result.hits),
        diverged=result.diverged,
    )
