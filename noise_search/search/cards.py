"""The card of a trial: its policy, the context it was tuned in, and the evidence there is.

Evidence is searched, the scores of the search itself, or confirmed, what stage 2 of a confirmation measured. Here what
the store calls `no noise` becomes what a card calls `no_noise`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any, cast

import numpy as np
import torch
from scipy import special

import noise_search
from noise_search.corruptions.suites import uncalibrated
from noise_search.metrics import robust
from noise_search.policy import Card, policy_from_list
from noise_search.policy.evidence import ARMS, CONFIRMED, SCORES, SEARCHED, SPLITS
from noise_search.search.arms import AT_MEAN, AT_RMS, REVERSED, SHUFFLED
from noise_search.search.confirmed import kinds_of, measured_trainings, measured_yard
from noise_search.search.evidence import (
    BEST_CONSTANT,
    BEST_RANDOM,
    NO_NOISE,
    PUBLISHED,
    RANDOM,
    WINNER,
    Comparison,
    Evidence,
    Yard,
    by_arm,
    evidence,
    item_scores,
)
from noise_search.search.fronts import FrontRow
from noise_search.seeds import seeds_of
from noise_search.statistics import CONFIDENCE, PairedDifference, paired_difference
from noise_search.store import ConfirmationRecord, Confirmed, Store, SweepRecord

# Arms as the store has them -> as a card does.
CARD_ARMS: Mapping[str, str] = dict(
    zip((WINNER, NO_NOISE, BEST_CONSTANT, RANDOM, BEST_RANDOM, REVERSED, SHUFFLED, AT_MEAN, AT_RMS), ARMS, strict=True)
)
_DIGITS = 6
Numbers = dict[str, float]


def make_card(
    store: Store, sweep: SweepRecord, row: FrontRow, rule: str, confirmation: ConfirmationRecord | None = None
) -> Card:
    """Card of one trial.

    Args:
        store: That holds the sweep.
        sweep: Of the trial.
        row: The trial.
        rule: That picked it.
        confirmation: Whose winner it is, finished: its evidence is that of stage 2; None: what was searched.
    """
    reads = store.test_reads(cast(str, sweep.identity["data.digest"]))
    found = searched(sweep, row, reads) if confirmation is None else confirmed(store, confirmation, reads)
    return Card(policy_from_list(row.policy), _context(sweep, row, rule), found)


def _context(sweep: SweepRecord, row: FrontRow, rule: str) -> dict[str, Any]:
    config: Mapping[str, Any] = sweep.config
    return {
        "modality": sweep.identity["data.modality"],
        "input_range": sweep.identity["data.input_range"],
        "data": {
            key: sweep.identity[f"data.{key}"]
            for key in ("name", "split_seed", "limit")
            if f"data.{key}" in sweep.identity
        },
        "data_digest": sweep.identity["data.digest"],
        "model": dict(config["model"]),
        "epochs": config["train"]["epochs"],
        "batch_size": config["train"]["batch_size"],
        "clip": sweep.identity["train.clip"],
        "mode": sweep.train_mode,
        "score_mode": sweep.score_mode,
        "optimizer": dict(config["optimizer"]),
        "seed": config["seed"],
        "seeds": _seeds(sweep),
        "suite": _suite(sweep),
        **({"suite_note": note} if (note := uncalibrated(config["suite"])) else {}),
        "sweep": sweep.name,
        "trial": row.trial,
        "rule": rule,
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """What a card was made with."""
    return {"noise_search": noise_search.__version__, "torch": str(torch.__version__)}


def searched(sweep: SweepRecord, row: FrontRow, test_reads: int) -> dict[str, Any]:
    """Evidence of the search itself: scores on validation, means over the sweep's seeds.

    Args:
        sweep: Of the trial.
        row: The trial.
        test_reads: How often test of these data was read; see `Store.test_reads`.
    """
    return {
        "kind": SEARCHED,
        "split": SPLITS[SEARCHED],
        "suite": _suite(sweep),
        "seeds": _seeds(sweep),
        "test_reads": test_reads,
        "arms": {CARD_ARMS[WINNER]: {name: {"mean": round(getattr(row, name), _DIGITS)} for name in PUBLISHED}},
    }


def confirmed(store: Store, record: ConfirmationRecord, test_reads: int) -> dict[str, Any]:
    """Evidence of a finished confirmation: scores of every arm on test, and what the winner has more, with intervals.

    Args:
        store: That holds it.
        record: The confirmation.
        test_reads: How often test of these data was read; see `Store.test_reads`.
    """
    measured = measured_trainings(store, record)
    yard = measured_yard(record, measured)
    name, digest = cast(list[str], record.settings["held_out"])
    return {
        "kind": CONFIRMED,
        "split": SPLITS[CONFIRMED],
        "suite": {"name": name, "digest": digest},
        "seeds": sorted({one.seed for one in measured}),
        "test_reads": test_reads,
        "confidence": CONFIDENCE,
        "arms": {CARD_ARMS[arm]: _scores(own, yard) for arm, own in by_arm(measured).items()},
        "gains": _gains(evidence(measured, yard)),
    }


def _seeds(sweep: SweepRecord) -> list[int]:
    return list(seeds_of(cast(int, sweep.identity["seed"]), cast(int, sweep.identity.get("budget.seeds", 1))))


def _suite(sweep: SweepRecord) -> dict[str, str]:
    config: Mapping[str, Any] = sweep.config
    return {"name": config["suite"]["name"], "digest": cast(str, sweep.identity["suite.digest"])}


# --- scores of arms ---


def _scores(own: Sequence[Confirmed], yard: Yard) -> dict[str, Numbers]:
    """Scores of an arm as published, means over seeds, each with its interval.

    Means over samples have the half width that their item scores have over seeds and samples: what a published number
    cuts off at chance only makes it vary less. The others have a t interval over seeds.
    """
    by_seed = _by_seed(own, yard)
    halves = {name: _half(layout) for name, layout in _layouts(own, yard)}
    found = {}
    for name in (name for name in SCORES if name in by_seed[0]):
        values = [one[name] for one in by_seed]
        mean, half = fmean(values), halves.get(name, _half_over_seeds(values))
        found[name] = _rounded({"mean": mean, "low": mean - half, "high": mean + half})
    return found


def _layouts(own: Sequence[Confirmed], yard: Yard) -> Iterator[tuple[str, Any]]:
    """Item scores, (seeds, items), by the name of their mean."""
    items = item_scores(own, yard)
    yield "clean", items.clean
    for name, families in _parts(yard).items():
        rows = [index for index, family in enumerate(yard.cells) if family in families]
        yield name, items.robust[:, rows].mean(axis=1)


def _by_seed(own: Sequence[Confirmed], yard: Yard) -> list[Numbers]:
    """Published scores for each seed: of several trainings with one seed, as of random policies, their mean."""
    seeds = sorted({one.seed for one in own})
    found = []
    for seed in seeds:
        scores = [_published(one, yard) for one in own if one.seed == seed]
        found.append({name: fmean(one[name] for one in scores) for name in scores[0]})
    return found


def _published(one: Confirmed, yard: Yard) -> Numbers:
    cells = {kind: one.cells[kind] for kinds in kinds_of(one.cells).values() for kind in kinds}
    of_family = dict.fromkeys(yard.cells, 0.0) if one.diverged else robust(cells, kinds_of(one.cells), yard.classes)
    parts = {name: fmean(of_family[family] for family in own) for name, own in _parts(yard).items()}
    return parts | {name: one.scores[name] for name in PUBLISHED}


def _parts(yard: Yard) -> dict[str, list[str]]:
    """Families that each robust score is a mean over; none without families."""
    parts = {
        "robust": list(yard.cells),
        "robust_seen": [family for family in yard.cells if family in yard.seen],
        "robust_unseen": [family for family in yard.cells if family not in yard.seen],
    }
    return {name: families for name, families in parts.items() if families}


def _half(layout: Any) -> float:
    found = paired_difference(layout)
    return found.high - found.mean


def _half_over_seeds(values: Sequence[float]) -> float:
    error = float(np.std(values, ddof=1)) / len(values) ** 0.5
    return float(special.stdtrit(len(values) - 1, (1 + CONFIDENCE) / 2) * error)


# --- gains of the winner ---


def _gains(found: Evidence) -> dict[str, dict[str, Numbers]]:
    gains = {CARD_ARMS[one.arm]: _gain(one) for one in found.against}
    if CARD_ARMS[BEST_RANDOM] in gains:
        gains["search"] = {"robust": gains[CARD_ARMS[BEST_RANDOM]]["robust"]}
    if found.scheduling is not None and found.scheduling_against is not None:
        gains["scheduling"] = {"robust": gains[CARD_ARMS[found.scheduling_against]]["robust"]}
    return gains


def _gain(one: Comparison) -> dict[str, Numbers]:
    parts: dict[str, PairedDifference | None] = {
        "clean": one.clean,
        "robust_seen": one.seen,
        "robust_unseen": one.unseen,
    }
    robust_gain = {"robust": _difference(one.robust) | {"p_value": float(f"{one.p_adjusted:.3g}")}}
    return robust_gain | {name: _difference(part) for name, part in parts.items() if part is not None}


def _difference(found: PairedDifference) -> Numbers:
    return _rounded({"mean": found.mean, "low": found.low, "high": found.high})


def _rounded(numbers: Numbers) -> Numbers:
    return {name: round(value, _DIGITS) for name, value in numbers.items()}
