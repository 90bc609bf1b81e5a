"""noise-search as somebody uses it who wants a score: the total of trials is raised until a trial has it.

Prints what the hand-written script prints: state and score of every trial, and when it ended.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from noise_search.commands import run_sweep
from noise_search.config import compose
from noise_search.store import locate, open_store


def ended_trials(folder: Path, name: str) -> list[dict[str, Any]]:
    """State and score of every trial, and when it ended, in seconds since 1970; of a stopped one the last score."""
    with open_store(locate(folder), create=False) as store:
        sweep_id = store.sweep(name).id
        members = [member for member in store.members(sweep_id) if member.number is not None]
        scores = {rung.member_id: rung.scores["score"] for rung in store.rung_scores(sweep_id)}  # the last one counts
    return [
        {"state": member.state.upper(), "score": scores.get(member.id), "ended": member.finished_at.timestamp()}
        for member in members
        if member.finished_at is not None
    ]


def reached(trials: Sequence[dict[str, Any]], score: float) -> bool:
    return any(trial["state"] == "COMPLETE" and trial["score"] >= score for trial in trials)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="search_until.py", description=__doc__)
    parser.add_argument("--store", type=Path, required=True, help="folder of the store")
    parser.add_argument("--totals", type=int, nargs="+", required=True, help="budget.trials, one after another")
    parser.add_argument("--until", type=float, default=math.inf, help="score after which the total is not raised")
    parser.add_argument("--overrides", nargs="*", default=[], help="configuration, as of noise-search sweep")
    options = parser.parse_args(arguments)
    trials: list[dict[str, Any]] = []
    for total in options.totals:
        outcome = run_sweep(compose([*options.overrides, f"budget.trials={total}"]), store=options.store)
        trials = ended_trials(options.store, outcome.name)
        if reached(trials, options.until):
            break
    print(json.dumps({"trials": trials}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
