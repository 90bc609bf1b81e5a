"""Policies in a few words, for tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_SHOWN_VALUES = 6


def policy_text(policy: Sequence[Mapping[str, Any]]) -> str:
    """A policy in a few words: `inputs.gaussian 0.18 linear(a=0, b=1, start=0, stop=0.7)`."""
    return "\n".join(_term_text(term) for term in policy) or "no noise"


def _term_text(term: Mapping[str, Any]) -> str:
    share = f" on {term['fraction']:.0%}" if term.get("fraction", 1.0) < 1.0 else ""
    level = " uniform" if term.get("level") == "uniform" else ""
    return f"{term['site']}.{term['noise']} {term['magnitude']:.3g}{level}{share} {_schedule_text(term['schedule'])}"


def _schedule_text(schedule: Mapping[str, Any]) -> str:
    """A curve and its gate in a few words: `steps(direction=up, k=3) every(cycles=4, on=0.5)`."""
    values = {name: value for name, value in schedule.items() if name not in ("kind", "every")}
    gate = f" every({_values_text(schedule['every'])})" if "every" in schedule else ""
    return f"{schedule['kind']}({_values_text(values)}){gate}" if values else f"{schedule['kind']}{gate}"


def _values_text(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={_value_text(value)}" for name, value in values.items())


def _value_text(value: object) -> str:
    if isinstance(value, list):
        shown = ", ".join(_value_text(entry) for entry in value[:_SHOWN_VALUES])
        return f"[{shown}{f', ... {len(value)}' if len(value) > _SHOWN_VALUES else ''}]"
    return f"{value:.2g}" if isinstance(value, float) else str(value)
