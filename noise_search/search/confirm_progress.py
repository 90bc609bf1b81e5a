"""How far confirmations of a sweep have come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from noise_search.policy import policy_from_list
from noise_search.search.arms import ORDERING, has_schedule
from noise_search.search.confirmed import is_finished
from noise_search.search.confirming import Confirmation
from noise_search.search.evidence import NO_NOISE, WINNER
from noise_search.search.learning_rates import checked_arms, is_at_rate
from noise_search.store import CHOOSE, MEASURE, ConfirmationRecord, Confirmed, Store, SweepRecord

CHOSEN = "chosen"  # by stage 1, and test is unread
_STEPS = 1_000  # of a training, for the question whether a policy has a schedule


def confirmation_progress(store: Store, sweep: SweepRecord) -> list[dict[str, Any]]:
    """Number, state, stage, trials and trainings of each confirmation of a sweep, as plain data.

    `trials` are those that were complete when it began.

    `state` is `finished`, `running`, or `interrupted`: then the same command goes on. `stage` is `constants`, `choose`,
    `chosen` (where learning rates may be checked, and test is unread) or `measure`, the last of a finished one too;
    `trainings` counts those of the stage, of `at_most` so many; in the search among constant policies, a sweep of its
    own, it counts none.
    """
    held = store.held_generation(sweep.id)  # a sweep that goes on, pick and report take leases of their own
    records = store.confirmations(sweep.id)
    return [_progress(store, record, is_driven=held is not None and record.generation == held) for record in records]


def left_after_choice(confirmation: Confirmation, *, lr_check: bool) -> int:
    """Trainings that are left of a confirmation whose stage 1 has chosen: who dropped out of it trains no more."""
    found = confirmation.trainings.values()
    at_rates = len(checked_arms()) * confirmation.settings.seeds - sum(is_at_rate(one.arm) for one in found)
    measured = sum(one.stage == MEASURE for one in found)
    return (at_rates if lr_check else 0) + _measured(confirmation.record) - measured


def _progress(store: Store, record: ConfirmationRecord, *, is_driven: bool) -> dict[str, Any]:
    found = [one for one in store.confirmed(record.id) if not is_at_rate(one.arm)]
    stage = _stage(store, record, found)
    unfinished = "running" if is_driven else "interrupted"
    return {
        "number": record.number,
        "state": "finished" if is_finished(record) else unfinished,
        "stage": stage,
        "trials": record.settings["trials"],
        "trainings": sum(one.stage == stage for one in found),
        "at_most": _raced(record) if record.choice is None else _measured(record),
    }


def _stage(store: Store, record: ConfirmationRecord, found: Sequence[Confirmed]) -> str:
    if any(one.stage == MEASURE for one in found):
        return MEASURE
    if record.choice is not None:
        return CHOSEN
    return CHOOSE if _has_rival(store, record) else "constants"


def _has_rival(store: Store, record: ConfirmationRecord) -> bool:
    """Whether the search among constant policies has come to its end, or is none."""
    name, trials = cast(tuple[str, int], record.settings["constants"])
    sweep = store.find_sweep(name) if trials else None
    return not trials or (sweep is not None and sweep.state == "complete")


def _raced(record: ConfirmationRecord) -> int:
    top, randoms, seeds = (cast(int, record.settings[key]) for key in ("top", "randoms", "seeds"))
    return (2 * top + randoms) * seeds


def _measured(record: ConfirmationRecord) -> int:
    choice: Any = record.choice
    policies = choice["policies"]
    arms = {WINNER, NO_NOISE, *policies} | set(choice["randoms"])
    ordered = len(ORDERING) if has_schedule(policy_from_list(policies[WINNER]), _STEPS) else 0
    return (len(arms) + ordered) * cast(int, record.settings["measure_seeds"])
