"""What the latest finished confirmation of a sweep measured, from the store alone: no data are read, nothing trains."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, cast

from noise_search.corruptions import CORRUPTIONS
from noise_search.metrics import counts_unpacked, scores
from noise_search.policy import Policy, policy_from_list
from noise_search.search.confirming import MEASURE
from noise_search.search.evidence import BEST_RANDOM, WINNER, Evidence, Yard, evidence, seen_families
from noise_search.store import ConfirmationRecord, Confirmed, Store

MOST_CLASSES = 1_000  # that the number of classes is looked for among
_SAME = 1e-9


class Scored(Protocol):
    """Something with scores above chance, and the accuracies that they were made from."""

    @property
    def scores(self) -> Mapping[str, float]:
        """By name."""

    @property
    def cells(self) -> Mapping[str, Sequence[float]]:
        """Accuracy per severity, by kind of corruption; `clean` among them."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A finished confirmation.

    Args:
        record: As the store has it.
        trainings: Of both stages, as they were stored.
        arms: Of stage 2, the best random policy an arm of its own.
        yard: What these were scored on.
        evidence: What they say.
    """

    record: ConfirmationRecord
    trainings: tuple[Confirmed, ...]
    arms: tuple[Confirmed, ...]
    yard: Yard
    evidence: Evidence

    @property
    def chosen(self) -> Mapping[str, str]:
        """Arm -> who it is among those that raced: `winner` -> `trial 3`."""
        return cast(Mapping[str, Any], self.record.choice)["chosen"]  # type: ignore[no-any-return]

    @property
    def winner(self) -> Policy:
        """Policy of the winner."""
        return _winner(self.arms)


def latest_measured(store: Store, sweep_id: int) -> Measured | None:
    """The latest finished confirmation of a sweep; None where there is none.

    Raises:
        ValueError: Its numbers fit no number of classes.
    """
    finished = [record for record in store.confirmations(sweep_id) if record.finished_at is not None]
    if not finished:
        return None
    record = finished[-1]
    trainings = store.confirmed(record.id)
    arms = measured_arms(trainings, cast(Mapping[str, Any], record.choice))
    yard = _yard(arms)
    return Measured(record, tuple(trainings), tuple(arms), yard, evidence(arms, yard))


def measured_arms(trainings: Sequence[Confirmed], choice: Mapping[str, Any]) -> list[Confirmed]:
    """Trainings of stage 2; the best random policy, trained once among the random ones, comes again as its own arm."""
    measured = [one for one in trainings if one.stage == MEASURE]
    best = choice["chosen"][BEST_RANDOM]
    return measured + [replace(one, arm=BEST_RANDOM) for one in measured if one.arm == best]


def families_of(cells: Mapping[str, Sequence[float]]) -> dict[str, list[str]]:
    """Family -> its kinds, of the kinds of corruption among cells, in their order."""
    found: dict[str, list[str]] = {}
    for kind in cells:
        if kind in CORRUPTIONS:  # not the clean and the perturbed weights' accuracies
            found.setdefault(CORRUPTIONS[kind].family, []).append(kind)
    return found


def classes_of(scored: Iterable[Scored]) -> int:
    """How many classes the data have: the first number with which the accuracies of the cells give the stored scores.

    Where nothing is better than chance, or everything right, that is 2, and makes no difference to any score.

    Args:
        scored: Trainings that did not diverge, all on the same data.

    Raises:
        ValueError: No number does.
    """
    found = list(scored)
    for classes in range(2, MOST_CLASSES + 1):
        if all(_fits(one, classes) for one in found):
            return classes
    raise ValueError(f"classes: expected scores of at most {MOST_CLASSES} classes, got others")


def _fits(one: Scored, classes: int) -> bool:
    cells = {kind: row for kind, row in one.cells.items() if kind in CORRUPTIONS}
    found = scores(one.cells["clean"][0], cells, families_of(cells), classes)
    return all(abs(found[key] - one.scores[key]) < _SAME for key in ("clean", "robust"))


def _yard(arms: Sequence[Confirmed]) -> Yard:
    first = arms[0]
    cells = {
        family: sum(len(first.cells[kind]) for kind in kinds) for family, kinds in families_of(first.cells).items()
    }
    samples = len(counts_unpacked(next(iter(first.hits.values()))))
    return Yard(classes_of(one for one in arms if not one.diverged), samples, cells, seen_families(_winner(arms)))


def _winner(arms: Sequence[Confirmed]) -> Policy:
    return policy_from_list(next(one.policy for one in arms if one.arm == WINNER))
