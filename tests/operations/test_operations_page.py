"""docs/operations.md names every event and every metric."""

from __future__ import annotations

import json
import re
from pathlib import Path

from noise_search.operations import METRICS
from noise_search.operations.journal import NO_EVENT

CHECKOUT = Path(__file__).resolve().parents[2]
PAGE = (CHECKOUT / "docs" / "operations.md").read_text(encoding="utf-8")
EVENT = re.compile(r'(?:note|about)\(\s*"([a-z_]+)"|event = "([a-z_]+)" if .* else "([a-z_]+)"')


def rows(heading: str) -> set[str]:
    """Names in the first column of the table under a heading, without their labels."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    first = [line.split("|")[1] for line in section.splitlines() if line.startswith("|")]
    return {name for cell in first[2:] for name in re.findall(r"`([a-z_]+)(?:\{state\})?`", cell)}


def test_every_metric_is_explained() -> None:
    assert rows("The metrics") == set(METRICS)


def test_every_event_is_explained() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (CHECKOUT / "noise_search" / "search").glob("*.py")]
    events = {name for text in sources for found in EVENT.findall(text) for name in found if name}
    assert len(events) > 10
    assert rows("The log") == events | {NO_EVENT}


def test_the_lines_shown_are_lines_of_a_log() -> None:
    (block,) = re.findall(r"```json\n(.*?)```", PAGE, flags=re.DOTALL)
    lines = [json.loads(line) for line in block.splitlines()]
    assert all({"time", "level", "event", "sweep"} <= line.keys() for line in lines)
    assert {line["event"] for line in lines} <= rows("The log")
