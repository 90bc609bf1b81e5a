"""Schedules: pure curves from training progress in [0, 1] to a factor in [0, 1] of a noise's magnitude.

A schedule is data: a name in `SCHEDULES`, the values of its parameters, and perhaps a gate. Before training it is
tabulated in float64, one trial at a time, into a `(steps,)` curve. The training loop only reads rows of that table,
so any mix of schedules trains in one cohort, resuming is an index, and a card rescales to another number of steps by
tabulating again.
"""

from __future__ import annotations

from noise_search.schedules.checks import is_number, parameter_mistakes, schedule_mistakes
from noise_search.schedules.curves import progress
from noise_search.schedules.gate import Gate
from noise_search.schedules.mapping import (
    bare_on_read,
    mapping_mistakes,
    schedule_from_mapping,
    schedule_to_mapping,
)
from noise_search.schedules.parameters import Number, Numbers, Parameter, Setting, Word
from noise_search.schedules.registry import GATE, SCHEDULES, Curve
from noise_search.schedules.schedule import Schedule

__all__ = [
    "GATE",
    "SCHEDULES",
    "Curve",
    "Gate",
    "Number",
    "Numbers",
    "Parameter",
    "Schedule",
    "Setting",
    "Word",
    "bare_on_read",
    "is_number",
    "mapping_mistakes",
    "parameter_mistakes",
    "progress",
    "schedule_from_mapping",
    "schedule_mistakes",
    "schedule_to_mapping",
]
