"""Run a sweep, or continue it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from noise_search.commands.places import is_tracked, sweep_location
from noise_search.config import build, compose
from noise_search.corruptions.suites import uncalibrated
from noise_search.data import forget_loaded
from noise_search.policy import save_card
from noise_search.reports.contents import read
from noise_search.reports.page import PAGE, write_files
from noise_search.search.cards import make_card
from noise_search.search.driver import Reporter, StopRequested, drive
from noise_search.search.fronts import FrontRow, complete_rows, front_rows
from noise_search.search.importance import Importance, importance_in
from noise_search.search.leads import Lead, lead
from noise_search.search.mirroring import closed_entry
from noise_search.search.opening import OpenSweep, Plan, finished, make_plan, open_sweep
from noise_search.search.pick import pick_row
from noise_search.search.progress import STORED, left, progress, shown, state_reached
from noise_search.search.reporting import Silent
from noise_search.store import Location, OutboxEntry, SweepRecord, open_store
from noise_search.training import load_dataset


@dataclass(frozen=True, slots=True)
class SweepOutcome:
    """How a sweep stands after a run of it.

    Args:
        name: Of the sweep.
        state: `complete`; `interrupted` when the run was stopped from outside; `out_of_time` when budget.minutes was
            used up before the total was reached. The last two can be continued.
        changed: False when the total had been reached before and nothing was done.
        location: Of its store.
        front: As `front` gives it.
        picked: Best row of the front; None without a complete trial.
        files: Where the card and the report lie.
        suite_note: What to know of the suite: that its strengths are not calibrated; else empty.
        objective: What was maximised; the pick is the best score whatever that was.
        seeds: With which every trial was trained.
        over_a_constraint: Complete trials that are over a limit of the objective, and so not on the front.
        waiting: Trials that are to train on.
        not_asked: Trials that the total has and nobody has asked for yet.
        trials: How many there are by outcome.
        ended_because: Why trials were stopped, failed or infeasible, and how many each.
        lead: Of the best trial over the best control; None before both are complete.
        is_tracked: Whether MLflow is to have its runs.
        mlflow_behind: Messages that MLflow lacks, as when its server was down.
    """

    name: str
    state: str
    changed: bool
    location: Location
    front: list[FrontRow]
    picked: FrontRow | None
    files: Mapping[str, Path]
    suite_note: str = ""
    objective: str = "combined"
    seeds: int = 1
    over_a_constraint: int = 0
    waiting: int = 0
    not_asked: int = 0
    trials: Mapping[str, int] = field(default_factory=dict)
    ended_because: Mapping[str, int] = field(default_factory=dict)
    lead: Lead | None = None
    is_tracked: bool = False
    mlflow_behind: int = 0

    @property
    def all_failed(self) -> bool:
        """Whether there are trials, and every one of them has failed."""
        return 0 < self.trials.get("failed", 0) == sum(self.trials.values())


def sweep(
    overrides: Sequence[str] = (),
    *,
    store: str | Path | None = None,
    config_dir: str | Path | None = None,
    reporter: Reporter | None = None,
) -> SweepOutcome:
    """Run a sweep, or continue it, up to its total of trials.

    Args:
        overrides: Hydra overrides, as on the command line.
        store: Folder or URL of the store; None takes `store.url` of the configuration.
        config_dir: Folder with configuration groups of your own.
        reporter: Told of progress; None shows nothing.

    Raises:
        CallerError: For every mistake in the configuration, or a store that cannot be used.
    """
    config = compose(overrides, config_dir=config_dir)
    forget_loaded()  # data of one's own may have changed since
    return run_sweep(config, store=store, reporter=reporter)


def run_sweep(
    config: Mapping[str, Any], *, store: str | Path | Location | None = None, reporter: Reporter | None = None
) -> SweepOutcome:
    """Run a sweep from a composed configuration; see `sweep`."""
    spec = build(config)
    location = sweep_location(spec.store, store)
    plan = make_plan(spec, load_dataset(spec.data))
    if done := finished(plan, location):
        return _outcome(done, location, changed=False)
    with open_sweep(plan, location) as opened:
        state = _drive_to_the_end(opened, location, reporter or Silent())
    return _outcome(_record(plan, location), location, changed=True, state=state)


def _record(plan: Plan, location: Location) -> SweepRecord:
    with open_store(location, create=False, patient=True) as store:
        return store.sweep(plan.name)


def _drive_to_the_end(opened: OpenSweep, location: Location, reporter: Reporter) -> str:
    """Drive, and close the sweep in our store and in the mirror whatever happens."""
    state, reason = "failed", None
    try:
        drive(opened, reporter)
        state = state_reached(opened.store, opened.store.sweep(opened.sweep.name))
    except KeyboardInterrupt as error:
        state, reason = "interrupted", "a stop was asked for" if isinstance(error, StopRequested) else None
    finally:
        _close(opened, location, state, reason)
    return state


def _close(opened: OpenSweep, location: Location, state: str, reason: str | None) -> None:
    """Files first, the state last: a kill in between leaves a sweep that the next start closes again."""
    opened.writer.abandon_running_jobs()
    state = shown(opened.store.sweep(opened.sweep.name), state)
    found = importance_in(opened.store, opened.sweep) if state == "complete" else None
    files: list[tuple[Path, str]] = []
    try:
        files = _write_files(opened, state, found, location)
    except BaseException:
        state = "failed"
        raise
    finally:
        entries = _closing_entries(opened, state, files, found)
        stored = None if found is None else asdict(found)
        opened.writer.finish_sweep(STORED.get(state, state), entries, importance=stored)
        opened.observer.finished(state, reason)
        if opened.mirror is not None:
            opened.mirror.wake()


def _closing_entries(
    opened: OpenSweep, state: str, files: Sequence[tuple[Path, str]], found: Importance | None
) -> list[OutboxEntry]:
    if opened.mirror is None:
        return []
    shares = {} if found is None else {f"importance/{knob}": share for knob, share in found.shares.items()}
    tags = {"noise_search.reason": "budget.minutes is used up"} if state == "out_of_time" else {}
    return [
        closed_entry(
            opened.spec,
            opened.sweep,
            opened.writer.generation,
            state=STORED.get(state, state),
            metrics=_numbers(progress(opened.store, opened.sweep, is_driven=False)) | shares,
            tags=tags if found is None else {"noise_search.importance": found.sentence},
            files=files,
        )
    ]


def _numbers(found: Mapping[str, Any]) -> dict[str, float]:
    """Numbers of a sweep as metrics of its run: complete trials and the best of them; of the rest what there is."""
    counts: Mapping[str, int] = found["trials"]
    others = {f"trials_{state}": counts[state] for state in ("stopped", "infeasible", "failed", "waiting")}
    others |= {key: found[key] for key in ("over_a_constraint", "overused", "epochs_saved")}
    best = {} if found["best"] is None else {"best": found["best"]["score"]}
    return {"trials": float(counts["complete"])} | best | {key: float(n) for key, n in others.items() if n}


def _write_files(opened: OpenSweep, state: str, found: Importance | None, location: Location) -> list[tuple[Path, str]]:
    """Card and report of a sweep, each file with its folder in the mirror; nothing before the first complete trial."""
    rows = complete_rows(opened.store, opened.sweep.id)
    if not any(row.on_front for row in rows):
        return []
    record = opened.store.sweep(opened.sweep.name)
    importance = record.importance if found is None else asdict(found)
    paths = sweep_files(record.name, location)
    paths["card"].parent.mkdir(parents=True, exist_ok=True)
    save_card(make_card(opened.store, record, pick_row(rows, "best"), "best"), paths["card"])
    contents = read(opened.store, replace(record, importance=importance), state)
    return [(paths["card"], "card"), *((path, "report") for path in write_files(contents, paths["report"].parent))]


def sweep_files(name: str, location: Location) -> dict[str, Path]:
    """Where a sweep's card and report are written."""
    folder = location.sweep_folder(name)
    return {"card": folder / "card.yaml", "report": folder / "report" / PAGE}


def _outcome(record: SweepRecord, location: Location, *, changed: bool, state: str | None = None) -> SweepOutcome:
    with open_store(location, create=False, patient=True) as store:
        rows, (waiting, not_asked) = front_rows(store, record.id), left(store, record)
        found, behind = progress(store, record, is_driven=False), store.unsent_count(record.id)
        ahead = lead(store, record, rows)
    picked = pick_row(rows, "best") if any(row.on_front for row in rows) else None
    files = {key: path for key, path in sweep_files(record.name, location).items() if path.exists()}
    note = uncalibrated(record.config["suite"])
    return SweepOutcome(
        name=record.name,
        state=state or record.state,
        changed=changed,
        location=location,
        front=rows,
        picked=picked,
        files=files,
        suite_note=note,
        objective=str(record.identity.get("objective.name", "combined")),
        seeds=cast(int, record.identity.get("budget.seeds", 1)),
        over_a_constraint=found["over_a_constraint"],
        waiting=waiting,
        not_asked=not_asked,
        trials=found["trials"],
        ended_because=found["ended_because"],
        lead=ahead,
        is_tracked=is_tracked(record),
        mlflow_behind=behind,
    )
