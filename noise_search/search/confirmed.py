"""Finished confirmations of a sweep and what they say, from what is stored alone: nothing is loaded or trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from noise_search.corruptions import CORRUPTIONS
from noise_search.metrics import counts_unpacked
from noise_search.policy import policy_from_list
from noise_search.search.evidence import BEST_RANDOM, WINNER, Evidence, Yard, evidence, seen_families
from noise_search.store import ConfirmationRecord, Confirmed, Store

MEASURE = "measure"  # stage 2, on test


def finished_confirmations(store: Store, sweep_id: int) -> list[ConfirmationRecord]:
    """Confirmations of a sweep that are measured to their end, in the order they came to it."""
    found = [one for one in store.confirmations(sweep_id) if one.finished_at is not None]
    return sorted(found, key=lambda one: (one.finished_at or one.created_at, one.number))


def evidence_of(store: Store, record: ConfirmationRecord) -> Evidence:
    """What stage 2 of a confirmation says; every arm must be measured."""
    measured = measured_arms(store, record)
    return evidence(measured, yard_of(measured))


def measured_arms(store: Store, record: ConfirmationRecord) -> list[Confirmed]:
    """Trainings of stage 2; the best random policy, trained once among the others, is an arm of its own as well."""
    measured = [one for one in store.confirmed(record.id) if one.stage == MEASURE]
    best = chosen_by(record).get(BEST_RANDOM)
    return measured + [replace(one, arm=BEST_RANDOM) for one in measured if one.arm == best]


def chosen_by(record: ConfirmationRecord) -> Mapping[str, str | None]:
    """Whom stage 1 has chosen: arm of stage 2 -> `trial 3`, `constant 1`, `random 2`."""
    choice = cast(Mapping[str, Any], record.choice or {"chosen": {}})
    return cast(Mapping[str, str | None], choice["chosen"])


def winner_of(record: ConfirmationRecord) -> int:
    """Number of the trial that stage 1 has chosen."""
    return int(str(chosen_by(record)[WINNER]).rpartition(" ")[2])


def yard_of(measured: Sequence[Confirmed]) -> Yard:
    """What stage 2 measured on, read off what it has measured."""
    winner = next(one for one in measured if one.arm == WINNER)
    return Yard(
        classes=_classes(measured),
        samples=len(counts_unpacked(next(iter(winner.hits.values())))),
        cells={family: sum(len(winner.cells[kind]) for kind in kinds) for family, kinds in kinds_of(winner).items()},
        seen=seen_families(policy_from_list(winner.policy)),
    )


def kinds_of(one: Confirmed) -> dict[str, list[str]]:
    """Families of the suite that a training was scored with, and the kinds of each, in the suite's order."""
    found: dict[str, list[str]] = {}
    for kind in one.cells:
        if kind in CORRUPTIONS:  # not `clean` and `weights`
            found.setdefault(CORRUPTIONS[kind].family, []).append(kind)
    return found


def _classes(measured: Sequence[Confirmed]) -> int:
    """Classes of the data: an accuracy a and what it is above chance, n, tell how many there are.

    K = (1 - n) / (a - n), also of means over cells. In a cell under chance n is cut off at 0, which makes K come out
    too large: the least is right. With no cell between chance and all right K plays no part.
    """
    return round(min((k for one in measured if not one.diverged for k in _classes_by(one)), default=2.0))


def _classes_by(one: Confirmed) -> Iterator[float]:
    for name, kind in {"clean": "clean", **{f"kind/{kind}": kind for kind in one.cells}}.items():
        score, accuracies = one.scores.get(name, 0.0), one.cells[kind]
        accuracy = sum(accuracies) / len(accuracies)
        if score > 0 and accuracy > score:
            yield (1 - score) / (accuracy - score)
