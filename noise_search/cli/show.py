"""What commands print on standard output: tables for people, JSON for programs."""

from __future__ import annotations

import json
import math
import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from noise_search.commands import Preview, SweepOutcome
    from noise_search.search.fronts import FrontRow
    from noise_search.store import Location

_WIDTH = 160  # columns of a table that goes into a file or a pipe
_MINUTES_FROM, _HOURS_FROM = 120, 120  # seconds, minutes: in less, the smaller unit


def print_json(content: object) -> None:
    """Print JSON alone."""
    print(json.dumps(content, indent=2))


def row_json(row: FrontRow) -> dict[str, Any]:
    """A row of the front as plain data; scores that there are not are null."""
    return {key: None if value != value else value for key, value in asdict(row).items()}  # NaN differs from itself


def outcome_json(outcome: SweepOutcome) -> dict[str, Any]:
    """A sweep's outcome as plain data."""
    return {
        "name": outcome.name,
        "state": outcome.state,
        "changed": outcome.changed,
        "front": [row_json(row) for row in outcome.front],
        "picked": outcome.picked and row_json(outcome.picked),
        "files": {key: str(path) for key, path in outcome.files.items()},
        "suite_note": outcome.suite_note,
        "objective": outcome.objective,
        "seeds": outcome.seeds,
        "over_a_constraint": outcome.over_a_constraint,
        "waiting": outcome.waiting,
        "not_asked": outcome.not_asked,
        "trials": dict(outcome.trials),
        "ended_because": dict(outcome.ended_because),
        "lead": outcome.lead and asdict(outcome.lead),
        "mlflow_behind": outcome.mlflow_behind,
    }


def print_outcome(outcome: SweepOutcome, overrides: Sequence[str] = ()) -> None:
    """Print the front of a sweep, what was picked, and where to look next.

    Args:
        outcome: Of the sweep.
        overrides: What tells it from the others of its command line.
    """
    print_front(outcome.front)
    if outcome.picked is not None:
        _print_pick(outcome, outcome.picked)
    _print_other_outcomes(outcome)
    if outcome.over_a_constraint:
        print(f"over a constraint: {_plural(outcome.over_a_constraint, 'complete trial')}, not on the front")
    if not outcome.changed:
        print(f"sweep {outcome.name}: the total was reached before, nothing to do")
    print(f"sweep:  {outcome.name}{_made_with(overrides)}")
    if outcome.suite_note:
        print(f"suite:  {outcome.suite_note}")
    for key, path in outcome.files.items():
        print(f"{key + ':':<7} {path}")
    _print_tracking(outcome)
    _print_rest(outcome)
    if outcome.picked is not None:
        print(f"next:   {_command(f'confirm {outcome.name}', outcome.location)}")
    if outcome.location.is_shared:
        print("        (the password of the store is taken from PGPASSWORD or ~/.pgpass)")


def _command(words: str, store: Location | str | None) -> str:
    """A command of ours as it can be copied: the program from where the caller stands, and the store."""
    where = "" if store is None else f" --store {shlex.quote(str(store))}"
    return f"{program('noise-search')} {words}{where}"


def _made_with(overrides: Sequence[str]) -> str:
    return f" ({' '.join(overrides)})" if overrides else ""


def _print_pick(outcome: SweepOutcome, picked: FrontRow) -> None:
    seeds = "one seed" if outcome.seeds == 1 else f"means of {outcome.seeds} seeds"
    print(f"picked by score: trial {picked.trial} (searched on validation, {seeds}: optimistic)")
    if outcome.objective == "pareto":
        print("objective=pareto: the card has the best score all the same; --rule knee or min-clean=X takes another")
    if outcome.lead is not None:
        _print_lead(outcome.name, asdict(outcome.lead), outcome.seeds, outcome.location)


def _print_lead(name: str, found: Mapping[str, Any], seeds: int, store: Location | str | None) -> None:
    """Warn of a lead over the best control that says nothing; a larger one is not worth a line."""
    from noise_search.search.leads import Lead, lead_text

    said = lead_text(Lead(**found))
    if said is None:
        return
    if found["by"] <= -found["error"]:
        command = _command(f"pick {name} --rule control={found['control']}", store)
        take = "train without noise" if found["control"] == "no_noise" else f"take the control: {command}"
        print(f"{said}; search on, or {take}")
    else:
        print(f"{said}; confirm it: {_command(f'confirm {name}', store)}")
        scored = f"with {_plural(seeds, 'seed')} on about {found['samples']:,} samples"
        print(f"  {scored} a difference of two such scores has a standard error of up to {found['error']:.3f}")


def _print_other_outcomes(outcome: SweepOutcome) -> None:
    """Print what became of trials that are not complete."""
    counts = {state: count for state, count in outcome.trials.items() if count}
    if counts.keys() - {"complete"}:
        causes = f"; ended early: {_counts_text(outcome.ended_because)}" if outcome.ended_because else ""
        print(f"trials: {_counts_text(counts)}{causes}")
    if not counts.get("complete"):
        print("no trial is complete: there is nothing to pick")


def _print_rest(outcome: SweepOutcome) -> None:
    """Print what is left to do and how to go on, where time ran out."""
    if outcome.state == "out_of_time":
        print(
            f"time:   budget.minutes is used up; {outcome.waiting} trials wait, {outcome.not_asked} are not "
            "asked yet; the same command with a larger budget.minutes goes on, with budget.minutes=null to the end"
        )


def _print_tracking(outcome: SweepOutcome) -> None:
    if not outcome.is_tracked:
        return
    print(f"MLflow: {_command(f'ui {outcome.name}', outcome.location)}")
    if outcome.mlflow_behind:
        print(_behind_text(outcome.name, outcome.mlflow_behind, outcome.location))


def program(name: str) -> str:
    """How to call a program of this environment from where the caller stands."""
    beside = Path(sys.executable).parent / name
    if shutil.which(name) or not beside.exists():
        return name
    near = os.path.relpath(beside)
    return shlex.quote(str(beside) if near.startswith("..") else near)


def print_front(rows: Sequence[FrontRow]) -> None:
    """Print rows of a front as a table."""
    from noise_search.policy.words import policy_text

    print_table(
        [
            {
                "trial": (row.control or str(row.trial)) + ("" if row.state == "complete" else f" ({row.state})"),
                "clean": _score_text(row.clean),
                "robust": _score_text(row.robust),
                "worst family": _score_text(row.worst_family),
                "score": _score_text(row.score),
                "policy": policy_text(row.policy),
            }
            for row in rows
        ]
    )


def _score_text(score: float) -> str:
    return "" if math.isnan(score) else f"{score:.3f}"


def print_preview(found: Preview, overrides: Sequence[str] = ()) -> None:
    """Print what a sweep would do, and what tells it from the others of its command line."""
    print_table([{"parameter": name, "searched": values} for name, values in found.parameters.items()])
    print(f"sweep:    {found.name}{_made_with(overrides)}")
    print(f"trials:   {found.trials}, and {found.controls} controls, each with {_plural(found.seeds, 'seed')}")
    if found.ended or found.waiting:
        spent = duration(found.seconds_spent)
        print(f"so far:   {found.ended} trials ended, {found.waiting} wait, after {spent}; what follows is left")
    print(f"rungs:    {_rungs_text(found.rungs)}")
    print(f"epochs:   {found.epochs_expected:,} expected, {found.epochs_at_most:,} at most, over all of them")
    print(f"training: {found.train_mode}, scoring: {found.score_mode}")
    print(f"time:     about {duration(found.seconds_expected)} here, from timing a few steps")
    if found.minutes is not None:
        print(f"limit:    {found.minutes:g} minutes over all runs, after which no job is started (budget.minutes)")


def _rungs_text(rungs: Sequence[int]) -> str:
    if len(rungs) == 1:
        return f"none, every trial trains for {_plural(rungs[0], 'epoch')}"
    return f"after {', '.join(str(rung) for rung in rungs)} epochs"


def _counts_text(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {what}" for what, count in counts.items())


def _plural(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")


def duration(seconds: float) -> str:
    """Time in a few words.

    >>> duration(95), duration(7300)
    ('95 s', '2 h 2 min')
    """
    if seconds < _MINUTES_FROM:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < _HOURS_FROM else f"{minutes // 60} h {minutes % 60} min"


def print_statuses(found: Sequence[dict[str, Any]], store: str | None) -> None:
    """Print how sweeps stand as a table, and which of them MLflow is behind with.

    Args:
        found: Of each sweep.
        store: As the caller named it, for the commands that are named; None where it is the usual one.
    """
    print_table(
        [
            {
                "sweep": one["name"],
                "seed": "" if one["seed"] is None else str(one["seed"]),
                "state": one["state"].replace("_", " "),
                "trials": f"{one['trials']['complete']} of {one['budget']['trials']}",
                "other outcomes": _counts_text({k: n for k, n in one["trials"].items() if n and k != "complete"}),
                "epochs": str(one["epochs_trained"]),
                "samples scored": f"{one['samples_scored']:,}",
                "seconds": f"{one['seconds']:.1f}",
                "best": "" if one["best"] is None else f"{one['best']['score']:.3f} (trial {one['best']['trial']})",
            }
            for one in found
        ]
    )
    for one in found:
        if one["mlflow_behind"] and one["state"] != "running":  # while it runs, its own mirror sends
            print(_behind_text(one["name"], one["mlflow_behind"], store))


def _behind_text(name: str, messages: int, store: Location | str | None) -> str:
    """What to do about messages that MLflow has not taken."""
    return f"MLflow lacks {_plural(messages, 'message')} of {name}: {_command(f'mirror {name}', store)} sends them"


def print_more(found: dict[str, Any], store: str | None) -> None:
    """Print what one sweep has to say beside its row: why trials ended, what was saved, what mattered.

    Args:
        found: Of the sweep.
        store: As the caller named it, for the commands that are named; None where it is the usual one.
    """
    if found["state"] == "out_of_time":
        print("out of time: budget.minutes is used up; the sweep command with a larger one goes on")
    if found["state"] == "failed":
        print(f"failed: sweeps/{found['name']}/log.jsonl in the store's folder says why; the sweep command goes on")
    if found["budget"]["seeds"] > 1:
        print(f"every trial trains with {found['budget']['seeds']} seeds")
    if lost := {state: found["controls"][state] for state in ("infeasible", "failed") if found["controls"][state]}:
        print(f"controls without scores: {_counts_text(lost)}")
    if found["ended_because"]:
        print(f"ended early: {_counts_text(found['ended_because'])}")
    if found["over_a_constraint"]:
        print(f"over a constraint: {_plural(found['over_a_constraint'], 'complete trial')}, not on the front")
    if found["overused"]:
        print(f"overuse of noise: flagged in {_plural(found['overused'], 'trial')}, complete ones counted too")
    if found["epochs_saved"]:
        print(f"epochs saved: {found['epochs_saved']}, taken from the no-noise control where noise begins later")
    for one in found["confirmations"]:
        print(_confirmation_text(one))
    if found["lead"] is not None and found["state"] != "running" and not _is_confirmed(found):
        _print_lead(found["name"], found["lead"], found["budget"]["seeds"], store)
    if found["importance"] is not None:
        _print_importance(found["importance"])


def _is_confirmed(found: Mapping[str, Any]) -> bool:
    """Whether a confirmation is finished that knew all trials there are."""
    complete = found["trials"]["complete"]
    return any(one["state"] == "finished" and one["trials"] == complete for one in found["confirmations"])


def _print_importance(found: Mapping[str, Any]) -> None:
    """Print which knobs stand out from chance, with their shares; those of the others say nothing and are not shown."""
    from noise_search.search.importance import LIKELY_BY_CHANCE

    shares, chance = found["shares"], found["chance"]
    beyond = [knob for knob in shares if chance[knob] <= LIKELY_BY_CHANCE]
    parts = [f"{knob} {_percent(shares[knob])} ({_percent(chance[knob])} of shuffles show as much)" for knob in beyond]
    if rest := [knob for knob in shares if knob not in beyond]:
        parts.append(f"no more than chance: {', '.join(rest)}")
    print(f"importance for the score: {'; '.join(parts)}")
    print(found["sentence"])


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _confirmation_text(one: Mapping[str, Any]) -> str:
    """How a confirmation stands: `confirmation 1: interrupted in stage 1, 6 of at most 33 trainings`."""
    if one["state"] == "finished":
        return f"confirmation {one['number']}: finished"
    from noise_search.search.confirm_mirroring import STAGES  # late: it takes torch along

    between = {"constants": "in the search among constant policies", "chosen": "after stage 1, test is unread"}
    if one["stage"] in between:
        return f"confirmation {one['number']}: {one['state']} {between[one['stage']]}"
    counts = f"{one['trainings']} of at most {one['at_most']} trainings"
    return f"confirmation {one['number']}: {one['state']} in {STAGES[one['stage']]}, {counts}"


def print_table(rows: Sequence[dict[str, Any]]) -> None:
    """Print rows with the same keys; as wide as the terminal, or 160 columns into a file."""
    from rich import box
    from rich.console import Console
    from rich.table import Column, Table

    if not rows:
        print("nothing yet")
        return
    table = Table(*(Column(name, overflow="fold") for name in rows[0]), box=box.SIMPLE_HEAD)
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    terminal = sys.stdout.isatty()
    Console(markup=False, highlight=False, emoji=False, width=None if terminal else _WIDTH).print(table)
