"""The default sweep on one data set: how long it takes, and what its pick gains over no noise on fresh seeds.

Runs `noise-search sweep` as a user would, each time in a new store, and the same command again; then retrains the
pick, no noise and the best constant control on seeds the search never saw, scored on VALIDATION with the frozen suite.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measuring import RESULTS, header, spread, write_json
from noise_search.commands import front
from noise_search.config import build, compose
from noise_search.corruptions.suites import families
from noise_search.policy import Policy, policy_from_list
from noise_search.search.fronts import FrontRow
from noise_search.search.pick import pick_row
from noise_search.spec import SweepSpec
from noise_search.training import Job, Member, Resolved, Setup, make_workbench, run_job

FIRST_FRESH_SEED = 101  # the sweep trains on seed 0
SCORES = ("clean", "robust", "worst_family", "robust_weights")
Found = dict[str, dict[str, list[float]]]  # arm -> score -> one value a seed


@dataclass(frozen=True)
class Sweep:
    """A default sweep to be measured.

    Args:
        data: Name of the data set, for the claim and the file.
        script: That measures it.
        overrides: Of the configuration.
        runs: Timed sweeps, unless the command line says otherwise.
    """

    data: str
    script: str
    overrides: tuple[str, ...]
    runs: int


def timed_sweep(store: Path, overrides: Sequence[str]) -> tuple[float, str]:
    """Seconds of one whole `noise-search sweep`, as a process of its own, and the sweep's name."""
    started = time.perf_counter()
    command = [sys.executable, "-c", "from noise_search.cli import entry_point; entry_point()"]
    arguments = ["sweep", "--json", "--store", str(store), *overrides]
    finished = subprocess.run([*command, *arguments], check=True, stdout=subprocess.PIPE, text=True)
    return time.perf_counter() - started, json.loads(finished.stdout)["name"]


def retrain(spec: SweepSpec, arms: Mapping[str, Policy], seeds: Sequence[int]) -> Found:
    """Scores of every arm on every seed, trained as the sweep trains and scored on validation."""
    train, score = _resolved(spec.train.mode), _resolved(spec.train.score_mode)
    setup = Setup(spec.data, spec.model, spec.optimizer, spec.train, spec.suite, mode=train, score_mode=score)
    workbench = make_workbench(setup)
    found: Found = {}
    for name, policy in arms.items():
        members = tuple(Member(f"{name} {seed}", policy, seed) for seed in seeds)
        results, _ = run_job(Job(members, 0, spec.train.epochs), workbench)
        rows = [dict(result.scores) | _families(spec, result.scores) for result in results]
        kept = [key for key in rows[0] if key in SCORES or key.startswith(("kind/", "family/"))]
        found[name] = {score: [row[score] for row in rows] for score in kept}
    return found


def _resolved(mode: str) -> Resolved:
    if mode not in ("fused", "looped"):
        raise ValueError(f"train.mode: expected an experiment that names its modes, got {mode}")
    return "fused" if mode == "fused" else "looped"


def _families(spec: SweepSpec, scores: Mapping[str, float]) -> dict[str, float]:
    """Robust accuracy above chance of each family of corruptions: the mean over its kinds."""
    return {
        f"family/{family}": sum(scores[f"kind/{kind}"] for kind in kinds) / len(kinds)
        for family, kinds in families(spec.suite).items()
    }


def gains(found: Found, arm: str, against: str) -> dict[str, Any]:
    """Paired differences over seeds, in points of accuracy above chance."""
    return {
        score: spread([100 * (a - b) for a, b in zip(found[arm][score], found[against][score], strict=True)])
        for score in found[arm]
    }


def best_constant(rows: Sequence[FrontRow]) -> FrontRow:
    """Constant control with the highest searched score."""
    return max((row for row in rows if (row.control or "").startswith("constant")), key=lambda row: row.score)


def measure(sweep: Sweep, runs: int, fresh_seeds: int) -> dict[str, Any]:
    """Everything that goes into the JSON."""
    spec = build(compose(sweep.overrides))
    seeds = list(range(FIRST_FRESH_SEED, FIRST_FRESH_SEED + fresh_seeds))
    made = _made(sweep, spec, seeds)  # before the runs: the commit is that which they start from
    cold, again, rows = _timed_runs(sweep, runs)
    picked, constant = pick_row(rows, "best"), best_constant(rows)
    arms = {
        "pick": policy_from_list(picked.policy),
        "no_noise": Policy(),
        "best_constant_control": policy_from_list(constant.policy),
    }
    started = time.perf_counter()
    found = retrain(spec, arms, seeds)
    retraining = time.perf_counter() - started
    return {
        **made,
        "overrides": list(sweep.overrides),
        "trials": spec.budget.trials,
        "epochs": spec.train.epochs,
        "seconds": {"sweep": spread(cold), "same_command_again": spread(again), "retraining": round(retraining, 1)},
        "picked": {"trial": picked.trial, "policy": picked.policy, "searched": {s: getattr(picked, s) for s in SCORES}},
        "best_constant_control": {"control": constant.control, "policy": constant.policy},
        "retrained": {
            arm: {score: spread(values) for score, values in scores.items()} for arm, scores in found.items()
        },
        "gain_in_points": {
            "pick_over_no_noise": gains(found, "pick", "no_noise"),
            "pick_over_best_constant_control": gains(found, "pick", "best_constant_control"),
        },
    }


def _made(sweep: Sweep, spec: SweepSpec, seeds: Sequence[int]) -> dict[str, Any]:
    claim = "seconds, and gain of its pick on fresh seeds (validation, frozen suite)"
    return header(
        f"default sweep on {sweep.data}: {claim}",
        sweep.script,
        suite=spec.suite.digest,
        seeds={"search": spec.seed, "retrained": list(seeds)},
    )


def _timed_runs(sweep: Sweep, runs: int) -> tuple[list[float], list[float], list[FrontRow]]:
    cold, again = [], []
    with tempfile.TemporaryDirectory() as folder:
        for run in range(runs):
            store = Path(folder) / str(run)
            seconds, name = timed_sweep(store, sweep.overrides)
            cold.append(seconds)
            again.append(timed_sweep(store, sweep.overrides)[0])
            print(f"sweep {run + 1} of {runs}: {cold[-1]:.1f} s, again {again[-1]:.1f} s", file=sys.stderr)
        return cold, again, front(name, store=Path(folder) / "0")


def main(arguments: Sequence[str], sweep: Sweep) -> int:
    parser = argparse.ArgumentParser(prog=Path(sweep.script).name, description=__doc__)
    parser.add_argument("--runs", type=int, default=sweep.runs, help="timed sweeps (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=5, help="fresh seeds (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=RESULTS / f"{sweep.data}--cpu.json")
    parser.add_argument("overrides", nargs="*", help="more overrides of the configuration, for a trial run")
    options = parser.parse_args(arguments)
    asked = Sweep(sweep.data, sweep.script, (*sweep.overrides, *options.overrides), options.runs)
    content = measure(asked, options.runs, options.seeds)
    write_json(content, options.output)
    for against, gain in content["gain_in_points"].items():
        robust, clean = gain["robust"], gain["clean"]
        print(f"{against}: robust {robust['mean']:+.1f} (SD {robust['sd']}), clean {clean['mean']:+.1f}")
    print(f"wrote {options.output}")
    return 0
