"""Whole searches, as `bench_stopping` records them, put under a rule that stops trials: what it would have done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from measuring import spread, spreads
from noise_search.execute import RecordedExecutor, Recording
from noise_search.policy import Policy, policy_from_list
from noise_search.search.fronts import pareto
from noise_search.search.hypervolume import front_hypervolume
from noise_search.search.progress import progress
from noise_search.search.simulating import simulate
from noise_search.spec import SweepSpec
from noise_search.store import locate, open_store
from noise_search.store.tables import decoded

FRONTS = ("front", "front_stopped", "front_of_volume", "front_of_volume_stopped")
Run = dict[str, Any]


def volume(run: Run, epochs: int, numbers: Collection[int] | None = None) -> float:
    """Hypervolume of a run's front over its own no-noise control.

    Args:
        run: Whose complete trials count.
        epochs: Of the whole training.
        numbers: Only these trials; None for all.
    """
    ends, control = _ends(run, epochs), next(one for one in run["members"] if one["control"] == "no_noise")
    return front_hypervolume(
        [end for number, end in ends.items() if numbers is None or number in numbers], _end(control, epochs)
    )


def _ends(run: Run, epochs: int) -> dict[int, tuple[float, float]]:
    return {trial["number"]: _end(trial, epochs) for trial in trials_of(run) if trial["state"] == "complete"}


def _end(member: Run, epochs: int) -> tuple[float, float]:
    """Clean and robust accuracy above chance after the last epoch."""
    _, clean, robust = member["curve"][str(epochs)]
    return clean, robust


def trials_of(run: Run) -> list[Run]:
    """Members that are no controls."""
    return [member for member in run["members"] if member["control"] is None]


def shares(trained: int, run: Run) -> dict[str, float]:
    """Epochs that a search has trained as shares of a whole one's: those of trials, and those of all members.

    Args:
        trained: Epochs of all members.
        run: The whole search, with the same controls, which train to the end in both.
    """
    whole, controls = run["status"]["epochs_trained"], _epochs_of_controls(run)
    return {"trials": (trained - controls) / (whole - controls), "all_members": trained / whole}


def _epochs_of_controls(run: Run) -> int:
    return sum(max(map(int, member["curve"])) for member in run["members"] if member["control"] is not None)


def first_trials(run: Run, stopped: Run, epochs: int) -> dict[str, float]:
    """What a whole search has after as many epochs of its trials as one that stops trials has trained in all.

    Returns:
        How many trials these are, and their share of its hypervolume.
    """
    count = (stopped["status"]["epochs_trained"] - _epochs_of_controls(stopped)) // epochs
    return {"trials": count, "hypervolume": volume(run, epochs, range(count)) / volume(run, epochs)}


def rank_correlations(run: Run, epochs: int) -> dict[str, dict[str, float]]:
    """Epoch -> Spearman's rank correlation of scores after it with those after the last one, over complete trials.

    Of clean and robust accuracy, and of their sum, as `clean`, `robust` and `both`.
    """
    curves = [trial["curve"] for trial in trials_of(run) if trial["state"] == "complete"]
    scores = {epoch: np.array([curve[str(epoch)][1:] for curve in curves]) for epoch in range(1, epochs + 1)}
    return {
        str(epoch): {
            what: float(spearmanr(scores[epoch] @ weights, scores[epochs] @ weights).statistic)
            for what, weights in {"clean": (1, 0), "robust": (0, 1), "both": (1, 1)}.items()
        }
        for epoch in range(1, epochs)
    }


@dataclass(frozen=True, slots=True)
class Replayed:
    """How a rule has left the trials of a whole search: in which states, why; and the epochs of all members."""

    states: dict[int, str]
    reasons: dict[int, str]
    epochs_trained: int


def replay(run: Run, spec: SweepSpec, folder: Path) -> Replayed:
    """Put the trials of a whole search, in their order, under a rule, with what their trainings have found.

    Args:
        run: The whole search.
        spec: The same with the rule.
        folder: Of a store of its own.
    """
    found = {repr(policy_from_list(member["policy"])): recording(member) for member in run["members"]}
    executor = RecordedExecutor(
        lambda policy: found[repr(policy)],
        validation_samples=run["validation_samples"],
        steps_per_epoch=run["steps_per_epoch"],
    )
    asked = [trial["parameters"] for trial in trials_of(run)]
    with open_store(locate(folder), create=True) as store:
        sweep = simulate(spec, "replayed", store, executor, asked=asked)
        members = [member for member in store.members(sweep.id) if member.number is not None]
        trained = progress(store, sweep, is_driven=False)["epochs_trained"]
    return Replayed(
        states={member.number: member.state for member in members},
        reasons={member.number: member.reason for member in members if member.reason is not None},
        epochs_trained=trained,
    )


def recording(member: Run) -> Recording:
    """What `run_arm` has kept of a member's training; of one without samples the scores, so that none is overused."""
    if "history" not in member:
        rows = [
            {"epoch": int(epoch), "clean/accuracy": accuracy, "clean": clean, "robust": robust, "worst_family": robust}
            for epoch, (accuracy, clean, robust) in member["curve"].items()
        ]
        return Recording(sorted(rows, key=lambda row: row["epoch"]), {})
    correct = {int(epoch): text for epoch, text in member["correct"].items()}
    return Recording(decoded(member["history"]), correct, member["diverged_from"])


def survival(run: Run, replayed: Replayed, epochs: int) -> dict[str, Any]:
    """What a rule keeps of the front of a whole search, and which of its trials it stops, by shape and by reason.

    Some of a front may cost too much clean accuracy, or add too little robustness, to have any hypervolume: what it has
    is counted apart, as `front_of_volume`.
    """
    states, ends = replayed.states, _ends(run, epochs)
    best = set(pareto(list(ends.values())))
    on_front = [number for number, end in ends.items() if end in best]
    lost = [number for number in on_front if states[number] != "complete"]
    complete = [number for number, state in states.items() if state == "complete"]
    of_volume = [number for number in on_front if volume(run, epochs, [number]) > 0]
    shapes = {trial["number"]: shape(policy_from_list(trial["policy"])) for trial in trials_of(run)}
    return {
        "front": len(on_front),
        "front_stopped": len(lost),
        "front_of_volume": len(of_volume),
        "front_of_volume_stopped": len(set(of_volume) & set(lost)),
        "front_by_shape": dict(Counter(shapes[number] for number in on_front)),
        "front_stopped_by_shape": dict(Counter(shapes[number] for number in lost)),
        "front_stopped_because": dict(Counter(_because(replayed.reasons[number]) for number in lost)),
        "trials_by_shape": dict(Counter(shapes.values())),
        "complete_by_shape": dict(Counter(shapes[number] for number in complete)),
        "hypervolume_kept": volume(run, epochs, complete) / volume(run, epochs),
        "share_of_epochs": shares(replayed.epochs_trained, run),
    }


def _because(reason: str) -> str:
    return "overuse" if reason.startswith("overuse") else "outranked"


def summary(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of several replays, what became of all their fronts, and what the rule alone keeps and trains."""
    counts = ("front_by_shape", "front_stopped_by_shape", "front_stopped_because")
    return {
        **{key: sum(one[key] for one in found) for key in FRONTS},
        **{key: dict(sum((Counter(one[key]) for one in found), Counter())) for key in counts},
        "replayed_hypervolume_kept": spread([one["hypervolume_kept"] for one in found]),
        "replayed_share_of_epochs": spreads([one["share_of_epochs"] for one in found]),
        "each": list(found),
    }


def verdict(found: Mapping[str, Any], how: str) -> str:
    """What replays of a rule come to, in a sentence.

    Args:
        found: Their summary.
        how: With or without protection.
    """
    stopped = found["front_stopped_by_shape"]
    by_shape = ", ".join(f"{name} {stopped.get(name, 0)} of {n}" for name, n in sorted(found["front_by_shape"].items()))
    kept, epochs = found["replayed_hypervolume_kept"], found["replayed_share_of_epochs"]["all_members"]
    return (
        f"{how}, the rule stops {found['front_stopped']} of {found['front']} trials of the fronts of whole searches "
        f"({by_shape}), of those of any volume {found['front_of_volume_stopped']} of {found['front_of_volume']}, "
        f"and keeps {100 * kept['median']:.0f} % of the hypervolume "
        f"with {100 * epochs['median']:.0f} % of the epochs"
    )


def shape(policy: Policy, steps: int = 1000) -> str:
    """How the noise of a policy runs: none, level, falling, rising, late or early, by the term that acts most."""
    tables = [table for table in policy.tabulate(steps).values() if float(table.sum()) > 0]
    if not tables:
        return "none"
    table = max(tables, key=lambda one: float(one.sum()))
    halves = float(table[: steps // 2].sum()), float(table[steps // 2 :].sum())
    if float(table[: steps // 3].sum()) < 0.1 * float(table.sum()):
        return "late"
    if float(table[-steps // 3 :].sum()) < 0.1 * float(table.sum()):
        return "early"
    if max(halves) < 1.1 * min(halves):
        return "level"
    return "rising" if halves[1] > halves[0] else "falling"
