"""noise_search: hyperparameter search for noise schedules.

import noise_search

outcome = noise_search.sweep(["model=mlp", "budget.trials=64"])
card = noise_search.load_card("card.yaml")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Imported on first use: a card needs torch, NumPy and PyYAML, and nothing that only a sweep needs.
_HOME = {
    "sweep": "commands",
    "status": "commands",
    "statuses": "commands",
    "front": "commands",
    "pick": "commands",
    "cards": "commands",
    "registered_card": "commands",
    "preview": "commands",
    "report": "commands",
    "confirm": "commands",
    "doctor": "commands",
    "migrate": "commands",
    "mirror": "commands",
    "rm": "commands",
    "stop": "commands",
    "train": "commands",
    "ui": "commands",
    "watch": "commands",
    "available": "commands",
    "load_card": "policy",
    "save_card": "policy",
    "Card": "policy",
    "Policy": "policy",
    "Term": "policy",
    "Schedule": "schedules",
    "CallerError": "errors",
}
# What is called otherwise at home: a module of the package has that name, and would take the function's place.
_AT_HOME = {"available": "listing"}

if TYPE_CHECKING:
    from noise_search.commands import (
        cards,
        confirm,
        doctor,
        front,
        migrate,
        mirror,
        pick,
        preview,
        registered_card,
        report,
        rm,
        status,
        statuses,
        stop,
        sweep,
        train,
        ui,
        watch,
    )
    from noise_search.commands import listing as available
    from noise_search.errors import CallerError
    from noise_search.policy import Card, Policy, Term, load_card, save_card
    from noise_search.schedules import Schedule

__all__ = [
    "CallerError",
    "Card",
    "Policy",
    "Schedule",
    "Term",
    "__version__",
    "available",
    "cards",
    "confirm",
    "doctor",
    "front",
    "load_card",
    "migrate",
    "mirror",
    "pick",
    "preview",
    "registered_card",
    "report",
    "rm",
    "save_card",
    "status",
    "statuses",
    "stop",
    "sweep",
    "train",
    "ui",
    "watch",
]


def __dir__() -> list[str]:
    return sorted(__all__)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'noise_search' has no attribute {name!r}")
    return getattr(importlib.import_module(f"noise_search.{_HOME[name]}"), _AT_HOME.get(name, name))
