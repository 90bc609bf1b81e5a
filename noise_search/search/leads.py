"""How far the best trial of a search is ahead of the best control, and what a lead must be to say anything.

Accuracies are counts of samples, and those of two models on the same samples differ by chance. As if the two were
independent, the standard error of a difference between accuracies of about a on n samples is sqrt(2 a (1 - a) / n);
above chance, (a - 1/K) / (1 - 1/K) of K classes, it is 1 / (1 - 1/K) times that; models that are right about the same
samples have less. Neither holds what another seed changes, nor that the best of many trials is the luckiest of them: a
lead under this says nothing, one above it little. `confirm` measures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from noise_search.metrics import unpacked
from noise_search.search.board import NO_NOISE_CONTROL
from noise_search.search.fronts import FrontRow
from noise_search.store import ResultRecord, Store, SweepRecord


@dataclass(frozen=True, slots=True)
class Lead:
    """Of the best trial over the best control.

    Args:
        control: Name of the control.
        score: Of the control.
        by: Score of the trial minus that; under 0 where the control is ahead.
        error: Standard error that a difference between two such scores has at most, from the samples alone.
        samples: Of the validation split, up to seven too many.
    """

    control: str
    score: float
    by: float
    error: float
    samples: int


def lead_text(found: Lead) -> str | None:
    """What to know of a lead; None where it is larger than what chance makes.

    >>> lead_text(Lead("constant_5", 0.833, 0.003, 0.03, 360))
    'control constant_5 scores 0.833, 0.003 less: this lead says nothing'
    >>> lead_text(Lead("constant_5", 0.833, -0.1, 0.03, 360))
    'control constant_5 scores 0.833, 0.100 more: no trial beats it'
    """
    if found.by >= found.error:
        return None
    how_much = f"{abs(found.by):.3f} {'less' if found.by > 0 else 'more'}" if round(found.by, 3) else "as much"
    by_chance = "this lead says nothing" if found.by > 0 else "a difference that says nothing"
    judged = "no trial beats it" if found.by <= -found.error else by_chance
    return f"control {found.control} scores {found.score:.3f}, {how_much}: {judged}"


def lead(store: Store, sweep: SweepRecord, rows: Sequence[FrontRow]) -> Lead | None:
    """Lead of a sweep so far; None before a trial and a control are complete.

    Args:
        store: Open.
        sweep: In it.
        rows: From `fronts.front_rows`.
    """
    controls = [row for row in rows if row.control and row.state == "complete" and not row.over_constraint]
    trials = [row.score for row in rows if row.on_front]
    found = _of_no_noise(store, sweep)
    samples = max((len(unpacked(text)) for row in found for text in row.correct.values()), default=0)
    if not (controls and trials and samples):
        return None
    best = max(controls, key=lambda row: row.score)
    error = _standard_error(best.score, samples, _room(found))
    return Lead(str(best.control), best.score, max(trials) - best.score, error, samples)


def _of_no_noise(store: Store, sweep: SweepRecord) -> list[ResultRecord]:
    """Results of the control without noise, which is scored as trials are."""
    ids = [member.id for member in store.members(sweep.id) if member.control == NO_NOISE_CONTROL]
    return list(store.results(sweep.id, member_ids=ids))


def _room(found: Sequence[ResultRecord]) -> float:
    """1 - 1/K, by what an accuracy is above chance; of two classes where none tells."""
    told = [row.scores for row in found if 0 < row.scores["clean"] < 1 and "clean/accuracy" in row.scores]
    return min(((1 - one["clean/accuracy"]) / (1 - one["clean"]) for one in told), default=0.5)


def _standard_error(score: float, samples: int, room: float) -> float:
    """Of the difference between two independent scores above chance."""
    accuracy = 1 - room * (1 - score)
    return math.sqrt(2 * accuracy * (1 - accuracy) / samples) / room
