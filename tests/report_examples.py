"""What pages say, of real sweeps and of one made up."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from confirm_examples import confirmed_store
from sweep_examples import NAME, finished_store

from noise_search.commands.reading import state_of
from noise_search.reports.contents import Contents, Life, read
from noise_search.store import SweepRecord, locate, open_store

TITLES = [
    "Front",
    "What was confirmed",
    "Schedules",
    "Robustness",
    "Survival",
    "Importance",
    "Overuse",
    "Cost",
    "How it was made",
]
HOSTILE = "</script><img src=//x.example/i.png onerror=alert(1)>\"'&<b>"
IMPORTANCE: dict[str, Any] = {
    "trials": 40,
    "shares": {"noise": 0.2, "magnitude": 0.5, "schedule": 0.3},
    "chance": {"noise": 0.4, "magnitude": 0.05, "schedule": 0.1},
    "sentence": "The shape of the schedule made no difference beyond noise (10 % of shuffles show as much).",
}
LIVES = (
    Life(0, "constant", 30, "complete", None, None),
    Life(1, "rising", 3, "stopped", "place 3 of 3, of which 1 go on", None),
    Life(2, "rising", 10, "stopped", "overuse: it cost too much", "clean accuracy 4.2 points under no noise"),
    Life(3, "falling", 0, "failed", "RuntimeError: out of luck", None),
    Life(4, "rising", 30, "complete", None, None),
)


def contents_in(folder: Path, name: str = NAME) -> Contents:
    """What there is to say of a sweep in a store."""
    with open_store(locate(folder), create=False) as store:
        sweep = store.sweep(name)
        return read(store, sweep, state_of(store, sweep))


@cache
def searched() -> Contents:
    """Of a sweep that is not confirmed."""
    return contents_in(finished_store())


@cache
def confirmed() -> Contents:
    """Of one that is."""
    return contents_in(confirmed_store()[0])


def nothing(name: str = "empty") -> Contents:
    """Of a sweep in which nothing has happened, whose texts come from anywhere."""
    node = {"name": name, "digest": "0" * 64, "kinds": []}
    config: dict[str, object] = {key: {"name": name} for key in ("data", "model", "optimizer", "objective", "sampler")}
    config |= {"stopping": {"name": "none"}, "suite": node, "train": {"epochs": 30, "batch_size": 64}}
    sweep = SweepRecord(
        id=1,
        name=name,
        digest="0" * 64,
        identity={"seed": 0, "suite.digest": "0" * 64, "model.name": name, "stopping.name": "none"},
        config=config,
        state="interrupted",
        train_mode=None,
        score_mode=None,
        bitwise=None,
        budget_trials=8,
        stop_requested=False,
        created_at=datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
        finished_at=None,
        seconds=0.0,
        importance=None,
    )
    numbers: dict[str, Any] = {"best": None, "trials": {"complete": 0}, "epochs_saved": 0}
    return Contents(
        sweep=sweep,
        state="interrupted",
        numbers=numbers,
        rows=(),
        picks={},
        lives=(),
        searched=None,
        measured=None,
        confirmed=None,
        cost=(),
        saved_by_stopping=0,
        importance=None,
        lead=None,
    )
