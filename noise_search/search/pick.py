"""Pick one point of the front, and the card that carries it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch

import noise_search
from noise_search.corruptions.suites import uncalibrated
from noise_search.errors import CallerError, expected_one_of
from noise_search.policy import Card, policy_from_list
from noise_search.search.fronts import FrontRow
from noise_search.seeds import seeds_of
from noise_search.store import SweepRecord

RULES = ("best", "knee", "min-clean=X")


def pick_row(rows: Sequence[FrontRow], rule: str) -> FrontRow:
    """Row that `rule` picks among the trials on the front.

    Args:
        rows: As `fronts.front_rows` gives them; controls are passed over.
        rule: `best`: highest score. `knee`: farthest beyond the line between the ends of the front, both axes
            scaled to it. `min-clean=X`: most robust with clean, accuracy above chance, of at least X.

    Raises:
        CallerError: For an unknown rule, an empty front, or a bound that no trial meets.
    """
    choose = rule_named(rule)
    front = [row for row in rows if row.on_front]
    if not front:
        raise CallerError(
            "pick: expected a front with at least one complete trial, got none; run the sweep first, or with other "
            "limits than its objective.clean_drop and objective.family_drop if every trial is over them"
        )
    return choose(front)


def make_card(sweep: SweepRecord, row: FrontRow, rule: str) -> Card:
    """Card of one trial: its policy, the context it was tuned in, and its searched scores."""
    config: Mapping[str, Any] = sweep.config
    seeds = cast(int, sweep.identity.get("budget.seeds", 1))
    context = {
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
        "seeds": list(seeds_of(config["seed"], seeds)),
        "suite": {"name": config["suite"]["name"], "digest": sweep.identity["suite.digest"]},
        **({"suite_note": note} if (note := uncalibrated(config["suite"])) else {}),
        "sweep": sweep.name,
        "trial": row.trial,
        "rule": rule,
        "scores": {
            "kind": "searched, on validation: optimistic",
            "seeds": seeds,
            **{name: round(getattr(row, name), 4) for name in ("clean", "robust", "worst_family", "score")},
        },
        "versions": {"noise_search": noise_search.__version__, "torch": str(torch.__version__)},
    }
    return Card(policy_from_list(row.policy), context)


def rule_named(rule: str) -> Callable[[Sequence[FrontRow]], FrontRow]:
    """Function that picks by a rule among rows of a front.

    Raises:
        CallerError: For an unknown rule.
    """
    name, _, bound = rule.partition("=")
    if rule == "best":
        return _best
    if rule == "knee":
        return _knee
    if name == "min-clean" and bound:
        return _min_clean(bound)
    raise CallerError(expected_one_of("pick rule", RULES, rule))


def _best(front: Sequence[FrontRow]) -> FrontRow:
    return max(front, key=lambda row: (row.score, row.clean))


def _knee(front: Sequence[FrontRow]) -> FrontRow:
    low, high = min(row.clean for row in front), max(row.clean for row in front)
    bottom, top = min(row.robust for row in front), max(row.robust for row in front)
    if low == high or bottom == top:
        return _best(front)
    # On axes scaled to the front its ends are (0, 1) and (1, 0): the distance from their line goes with the sum.
    return max(front, key=lambda row: (row.clean - low) / (high - low) + (row.robust - bottom) / (top - bottom))


def _min_clean(bound: str) -> Callable[[Sequence[FrontRow]], FrontRow]:
    try:
        least = float(bound)
    except ValueError as error:
        raise CallerError(f"pick rule min-clean: expected a number in [0, 1], got {bound!r}") from error
    if not 0 <= least <= 1:
        raise CallerError(f"pick rule min-clean: expected a number in [0, 1], got {bound!r}")

    def choose(front: Sequence[FrontRow]) -> FrontRow:
        allowed = [row for row in front if row.clean >= least]
        if not allowed:
            reached = max(row.clean for row in front)
            raise CallerError(
                f"pick rule min-clean: expected a bound that a trial meets, got {least:g}; best is {reached:.4f}"
            )
        return max(allowed, key=lambda row: row.robust)

    return choose
