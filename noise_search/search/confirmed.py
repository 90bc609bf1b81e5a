"""Finished confirmations of a sweep and what they say, from what is stored alone: nothing is loaded or trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from noise_search.corruptions import CORRUPTIONS
from noise_search.metrics import counts_unpacked
from noise_search.policy import Policy, policy_from_list
from noise_search.search.arms import ORDERING
from noise_search.search.evidence import BEST_RANDOM, NO_NOISE, WINNER, Evidence, Yard, evidence, seen_families
from noise_search.search.learning_rates import RateCheck, rate_check
from noise_search.store import CHOOSE, MEASURE, ConfirmationRecord, Confirmed, Store


def finished_confirmations(store: Store, sweep_id: int) -> list[ConfirmationRecord]:
    """Confirmations of a sweep that are measured to their end, in the order they came to it."""
    found = [one for one in store.confirmations(sweep_id) if is_finished(one)]
    return sorted(found, key=lambda one: (one.finished_at or one.created_at, one.number))


def is_finished(record: ConfirmationRecord) -> bool:
    """Whether a confirmation is measured to its end; one of schema 0004 lacks what to read it by: see `mend_choice`."""
    return record.finished_at is not None and record.choice is not None and "classes" in record.choice


@dataclass(frozen=True, slots=True)
class Measured:
    """A finished confirmation.

    Args:
        record: As the store has it.
        trainings: Of both stages, as they were stored.
        arms: Of stage 2, the best random policy an arm of its own.
        yard: What these were scored on.
        evidence: What they say.
        learning_rates: What the check of learning rates found; None without it.
    """

    record: ConfirmationRecord
    trainings: tuple[Confirmed, ...]
    arms: tuple[Confirmed, ...]
    yard: Yard
    evidence: Evidence
    learning_rates: RateCheck | None

    @property
    def chosen(self) -> Mapping[str, str]:
        """Arm -> who it is among those that raced: `winner` -> `trial 3`."""
        return chosen_by(self.record)

    @property
    def winner(self) -> Policy:
        """Policy of the winner."""
        return policy_from_list(next(one.policy for one in self.arms if one.arm == WINNER))


def latest_measured(store: Store, sweep_id: int) -> Measured | None:
    """The latest finished confirmation of a sweep; None where there is none."""
    finished = finished_confirmations(store, sweep_id)
    return measured(store, finished[-1]) if finished else None


def measured(store: Store, record: ConfirmationRecord) -> Measured:
    """A confirmation every arm of which is measured."""
    trainings = store.confirmed(record.id)
    arms = _arms(record, trainings)
    winner = next(one for one in arms if one.arm == WINNER)
    raced = next(one for one in trainings if one.stage == CHOOSE)
    yard = _yard(record, winner, policy_from_list(winner.policy))
    rates = rate_check(record, trainings, _yard(record, raced, Policy()))
    return Measured(record, tuple(trainings), tuple(arms), yard, evidence(arms, yard), rates)


def _arms(record: ConfirmationRecord, trainings: Sequence[Confirmed]) -> list[Confirmed]:
    """Trainings of stage 2, in an order that does not depend on which of them ended first.

    The best random policy, trained once among the others, is an arm of its own as well.
    """
    choice = cast(Mapping[str, Mapping[str, object]], record.choice)
    order = list(dict.fromkeys([WINNER, NO_NOISE, *choice["policies"], *choice["randoms"], *ORDERING]))
    arms = sorted((one for one in trainings if one.stage == MEASURE), key=lambda one: (one.seed, order.index(one.arm)))
    best = chosen_by(record).get(BEST_RANDOM)
    return arms + [replace(one, arm=BEST_RANDOM) for one in arms if one.arm == best]


def chosen_by(record: ConfirmationRecord) -> Mapping[str, str]:
    """Whom stage 1 has chosen: arm of stage 2 -> `trial 3`, `constant 1`, `random 2`."""
    choice = cast(Mapping[str, Any], record.choice or {"chosen": {}})
    return cast(Mapping[str, str], choice["chosen"])


def _yard(record: ConfirmationRecord, one: Confirmed, winner: Policy) -> Yard:
    """What a training of a confirmation was scored on."""
    assert record.choice is not None
    return Yard(
        classes=cast(int, record.choice["classes"]),
        samples=len(counts_unpacked(next(iter(one.hits.values())))),
        cells={family: sum(len(one.cells[kind]) for kind in kinds) for family, kinds in kinds_of(one.cells).items()},
        seen=seen_families(winner),
    )


def kinds_of(cells: Mapping[str, Sequence[float]]) -> dict[str, list[str]]:
    """Families of the suite that cells are of, and the kinds of each, in the suite's order."""
    found: dict[str, list[str]] = {}
    for kind in cells:
        if kind in CORRUPTIONS:  # not `clean` and `weights`
            found.setdefault(CORRUPTIONS[kind].family, []).append(kind)
    return found
