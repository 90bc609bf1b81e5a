"""The card of a trial: its policy, the context it was tuned in, and the evidence there is.

Evidence is searched, the scores of the search itself, or confirmed, what stage 2 of a confirmation measured. Here what
the store calls `no noise` becomes what a card calls `no_noise`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch

import noise_search
from noise_search.corruptions.suites import uncalibrated
from noise_search.policy import Card, policy_from_list
from noise_search.policy.evidence import ARMS, CONFIRMED, SEARCHED, SPLITS
from noise_search.search.arm_scores import Interval, Numbers, arm_scores
from noise_search.search.arms import AT_MEAN, AT_RMS, REVERSED, SHUFFLED
from noise_search.search.confirmed import measured
from noise_search.search.evidence import (
    BEST_CONSTANT,
    BEST_RANDOM,
    NO_NOISE,
    PUBLISHED,
    RANDOM,
    WINNER,
    Comparison,
    Evidence,
    by_arm,
)
from noise_search.search.fronts import FrontRow
from noise_search.seeds import seeds_of
from noise_search.statistics import CONFIDENCE, PairedDifference
from noise_search.store import ConfirmationRecord, Store, SweepRecord

# Arms as the store has them -> as a card does.
CARD_ARMS: Mapping[str, str] = dict(
    zip((WINNER, NO_NOISE, BEST_CONSTANT, RANDOM, BEST_RANDOM, REVERSED, SHUFFLED, AT_MEAN, AT_RMS), ARMS, strict=True)
)
_DIGITS = 6


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
    found = measured(store, record)
    name, digest = cast(list[str], record.settings["held_out"])
    return {
        "kind": CONFIRMED,
        "split": SPLITS[CONFIRMED],
        "suite": {"name": name, "digest": digest},
        "seeds": sorted({one.seed for one in found.arms}),
        "test_reads": test_reads,
        "confidence": CONFIDENCE,
        "arms": {
            CARD_ARMS[arm]: {name: _rounded(one) for name, one in arm_scores(own, found.yard).items()}
            for arm, own in by_arm(found.arms).items()
        },
        "gains": _gains(found.evidence),
    }


def _seeds(sweep: SweepRecord) -> list[int]:
    return list(seeds_of(cast(int, sweep.identity["seed"]), cast(int, sweep.identity.get("budget.seeds", 1))))


def _suite(sweep: SweepRecord) -> dict[str, str]:
    config: Mapping[str, Any] = sweep.config
    return {"name": config["suite"]["name"], "digest": cast(str, sweep.identity["suite.digest"])}


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
    robust_gain = {"robust": _rounded(one.robust) | {"p_value": float(f"{one.p_adjusted:.3g}")}}
    return robust_gain | {name: _rounded(part) for name, part in parts.items() if part is not None}


def _rounded(found: Interval | PairedDifference) -> Numbers:
    return {name: round(getattr(found, name), _DIGITS) for name in ("mean", "low", "high")}
