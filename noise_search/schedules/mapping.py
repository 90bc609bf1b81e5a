"""A schedule as plain data: `{kind: linear, a: 0, b: 1, every: {cycles: 4, 'on': 0.5}}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from noise_search.errors import raise_if_any
from noise_search.schedules.checks import gate_mistakes, schedule_mistakes
from noise_search.schedules.gate import Gate
from noise_search.schedules.schedule import Schedule


def schedule_to_mapping(schedule: Schedule) -> dict[str, Any]:
    """Plain data of a schedule, as cards and the store keep it."""
    mapping: dict[str, Any] = {"kind": schedule.kind}
    mapping |= {name: list(v) if isinstance(v, tuple) else v for name, v in schedule.parameters}
    if schedule.every is not None:
        mapping["every"] = {"cycles": schedule.every.cycles, "on": schedule.every.on}
    return mapping


def schedule_from_mapping(mapping: Mapping[str, Any], where: str = "schedule") -> Schedule:
    """Schedule from plain data as `schedule_to_mapping` makes it.

    Raises:
        CallerError: With every mistake.

    >>> schedule_from_mapping({"kind": "steps", "k": 2, "every": {"cycles": 4, "on": 0.5}})
    Schedule(kind='steps', parameters=(('direction', 'up'), ('k', 2)), every=Gate(cycles=4, on=0.5))
    """
    raise_if_any(mapping_mistakes(where, mapping))
    parameters = tuple((name, value) for name, value in mapping.items() if name not in ("kind", "every"))
    every = Gate(**bare_on_read(mapping["every"])) if "every" in mapping else None
    return Schedule(mapping["kind"], parameters, every)


def mapping_mistakes(where: str, mapping: object) -> list[str]:
    """Everything wrong with a schedule given as plain data, each message beginning with `where`."""
    if not isinstance(mapping, Mapping) or "kind" not in mapping:
        return [f"{where}: expected a mapping with a 'kind', got {mapping!r:.80}"]
    parameters = {str(name): value for name, value in mapping.items() if name not in ("kind", "every")}
    gate = gate_mistakes(f"{where}.every", bare_on_read(mapping["every"])) if "every" in mapping else []
    return schedule_mistakes(where, mapping["kind"], parameters) + gate


def bare_on_read(gate: Any) -> Any:
    """A gate with its key `on`, which YAML 1.1 (PyYAML, OmegaConf) takes for true where it is written without quotes.

    Anything else, also a mapping that has both keys, is given back as it is.

    >>> bare_on_read({"cycles": 4, True: 0.5})
    {'cycles': 4, 'on': 0.5}
    """
    if not isinstance(gate, Mapping) or "on" in gate:
        return gate
    return {"on" if name is True else name: value for name, value in gate.items()}
