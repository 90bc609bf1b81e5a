"""Training of cohorts: jobs in, results and states out."""

from __future__ import annotations

from noise_search.training.continuing import run_from_checkpoints
from noise_search.training.job import (
    Job,
    Member,
    Resolved,
    Result,
    ScoredOn,
    Setup,
    Workbench,
    load_dataset,
    make_workbench,
    provisional_workbench,
    resolve_device,
)
from noise_search.training.loop import run_job

__all__ = [
    "Job",
    "Member",
    "Resolved",
    "Result",
    "ScoredOn",
    "Setup",
    "Workbench",
    "load_dataset",
    "make_workbench",
    "provisional_workbench",
    "resolve_device",
    "run_from_checkpoints",
    "run_job",
]
