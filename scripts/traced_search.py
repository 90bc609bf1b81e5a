"""One search, by noise-search or by the hand-written script, with an account of its CPU time by what it was for.

python scripts/traced_search.py REPORT noise_search ARGUMENTS...    as of noise-search
python scripts/traced_search.py REPORT handwritten ARGUMENTS...     as of handwritten_search.py
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from spans import Spans, install, time_imports

IMPORTS = "imports"
SETUP = "set-up: configuration, data, suite, probes"
DATABASES = "making the databases"
TRAINING = "training"
NOISES = "noises"
SCORING = "scoring"
SAMPLER = "sampler"
STUDY = "Optuna's database"
STORE = "store"
TRACKING = "tracking"
CLOSING = "front, card and figure"
DRIVER = "driver, and all else"
TORCH = "torch's own threads: training, noises, scoring"
# What is neither training, scoring and what they need, nor imports.
OVERHEAD = (SAMPLER, STUDY, STORE, TRACKING, DRIVER, CLOSING, DATABASES)

ON_BOTH_SIDES = {
    STUDY: ["optuna.storages:RDBStorage.*"],
    DATABASES: [
        "optuna.storages:RDBStorage.__init__",
        "mlflow.store.tracking.sqlalchemy_store:SqlAlchemyStore.__init__",
    ],
    SAMPLER: ["optuna.samplers:TPESampler.*"],
}
PLACES = {
    "noise_search": {
        **ON_BOTH_SIDES,
        SETUP: [
            "noise_search.commands.sweeping:build",
            "noise_search.config:collect",
            "noise_search.commands.sweeping:load_dataset",
            "noise_search.commands.sweeping:make_plan",
            "noise_search.search.opening:provisional_workbench",
            "noise_search.search.opening:refuse_unfusable",
            "noise_search.search.opening:resolve_modes",
            "noise_search.search.opening:slots_are_bitwise",
        ],
        DATABASES: [
            *ON_BOTH_SIDES[DATABASES],
            "noise_search.store.repository:create_schema",
            "noise_search.search.opening:create_tracking_schema",
        ],
        TRAINING: ["noise_search.execute.inline:run_from_checkpoints", "noise_search.training.loop:_run_group"],
        NOISES: ["noise_search.training.loop:noisy_batch", "noise_search.training.loop:noisy_weights"],
        SCORING: ["noise_search.training.loop:score", "noise_search.training.loop:weight_robustness"],
        SAMPLER: [
            *ON_BOTH_SIDES[SAMPLER],
            "noise_search.search.asking:Study.ask",
            "noise_search.search.asking:Study.tell",
        ],
        STORE: ["noise_search.store:Writer.*", "noise_search.store:Store.*"],
        TRACKING: [
            "noise_search.tracking.mirror:Mirror._run",
            "noise_search.search.working:member_entries",
            "noise_search.search.opening:opened_entry",
            "noise_search.commands.sweeping:closed_entry",
        ],
        CLOSING: ["noise_search.commands.sweeping:_write_files", "noise_search.commands.sweeping:_outcome"],
    },
    "handwritten": {
        **ON_BOTH_SIDES,
        SETUP: ["handwritten_search:load_task"],
        TRAINING: ["handwritten_search:train_trial"],
        NOISES: [
            "handwritten_training:noisy_batch",
            "handwritten_training:perturb_weights",
            "handwritten_training:restore_weights",
        ],
        SCORING: ["handwritten_training:evaluate", "handwritten_training:evaluate_weights"],
        SAMPLER: [*ON_BOTH_SIDES[SAMPLER], "handwritten_search:suggest_policy", "optuna.study:Study.ask"],
        TRACKING: [
            "mlflow:log_metrics",
            "mlflow:log_metric",
            "mlflow:log_params",
            "mlflow:start_run",
            "mlflow:ActiveRun.__exit__",
            "mlflow:set_tracking_uri",
            "mlflow:set_experiment",
        ],
    },
}


def main(arguments: Sequence[str]) -> int:
    report, side, *rest = arguments
    spans = Spans(outside=DRIVER)
    spans.begin(before=IMPORTS)
    time_imports(spans, IMPORTS)
    with spans.span(IMPORTS):
        install(spans, PLACES[side])
    if side == "noise_search":
        from noise_search.cli import main as run
    else:
        from handwritten_search import main as run
    code = run(rest)
    spans.end()
    cpu = time.process_time()
    seconds = spans.seconds | {TORCH: max(0.0, cpu - sum(spans.seconds.values()))}
    found = {"cpu": cpu, "spans_cost": spans.count * seconds_per_span(), "seconds": seconds}
    Path(report).write_text(json.dumps(found), encoding="utf-8")
    return code


def seconds_per_span(tries: int = 10_000) -> float:
    """What measuring costs, by spans around nothing."""
    nothing = Spans(outside=DRIVER).wrapped(lambda: None, DRIVER)
    started = time.thread_time()
    for _ in range(tries):
        nothing()
    return (time.thread_time() - started) / tries


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
