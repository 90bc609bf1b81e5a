"""What the JSON of every benchmark says of how it was made, and how it sums up what was measured."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

import noise_search

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results" / noise_search.__version__


def header(
    claim: str, command: str, *, suite: str | Mapping[str, str] | None, seeds: Mapping[str, Any]
) -> dict[str, Any]:
    """What was measured, by which command, from which commit, with which versions, where.

    Args:
        claim: What the numbers are, in a sentence.
        command: That makes them again.
        suite: Digest of the frozen suite that scored, or of several by name; None where nothing was scored on one.
        seeds: Every seed that went in, by what it was for.
    """
    return {
        "claim": claim,
        "command": command,
        "commit": commit(),
        "date": datetime.now(UTC).date().isoformat(),
        "device": device(),
        "versions": {
            "noise_search": noise_search.__version__,
            "torch": str(torch.__version__),
            "python": platform.python_version(),
        },
        "suite": dict(suite) if isinstance(suite, Mapping) else suite,
        "seeds": dict(seeds),
    }


@dataclass(frozen=True)
class Parts:
    """Finished runs in a folder, each taken from there if the same commit made it in the same way."""

    folder: Path

    def get(
        self,
        name: str,
        settings: Sequence[object],
        make: Callable[[], dict[str, Any]],
        *,
        any_commit: bool = False,
    ) -> dict[str, Any]:
        """A run, from the folder or made now and put there.

        Args:
            name: Of the run.
            settings: What it is made with; one made with others is made again.
            make: Makes it.
            any_commit: Whether one that another commit made will do.
        """
        key = {"commit": commit(), "settings": json.loads(json.dumps(settings))}
        path = self.folder / f"{name}.json"
        if path.exists():
            kept = json.loads(path.read_text(encoding="utf-8"))
            current = kept["key"]["commit"] == key["commit"] and not key["commit"].endswith("+changes")
            if kept["key"]["settings"] == key["settings"] and (current or any_commit):
                run: dict[str, Any] = kept["run"]
                return run
        run = make()
        write_json({"key": key, "run": run}, path)
        return run

    def commit_of(self, name: str) -> str:
        """Commit that made a run in the folder."""
        kept = json.loads((self.folder / f"{name}.json").read_text(encoding="utf-8"))
        return str(kept["key"]["commit"])


def device() -> str:
    """Processor or GPU, and how many cores there are."""
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{_processor()}, CPU only"
    return f"{name}, {os.cpu_count()} cores"


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def spread(values: Sequence[float]) -> dict[str, Any]:
    """n, median and quartiles, and mean with SD, rounded."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
    return {
        "n": len(values),
        "median": round(middle, 4),
        "iqr": [round(low, 4), round(high, 4)],
        "mean": round(statistics.fmean(values), 4),
        "sd": round(statistics.stdev(values), 4) if len(values) > 1 else None,
        "values": [round(value, 4) for value in values],
    }


def spreads(found: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Spread of each of several named numbers."""
    return {key: spread([one[key] for one in found]) for key in found[0]}


def portable(overrides: Sequence[str]) -> list[str]:
    """Overrides as a result names them: without where the data lie on this machine.

    >>> portable(["data=fashion_mnist", "data.root=/somewhere"])
    ['data=fashion_mnist', 'data.root=FOLDER']
    """
    return ["data.root=FOLDER" if one.startswith("data.root=") else one for one in overrides]


def commit() -> str:
    """Commit of the checkout, with a mark where code or configuration differ from it."""
    head = _git("rev-parse", "HEAD")
    changed = _git("status", "--porcelain", "--", "noise_search", "conf", "scripts")
    return head + ("+changes" if changed else "")


def _git(*arguments: str) -> str:
    finished = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return finished.stdout.strip()


def write_json(content: Mapping[str, Any], path: Path) -> None:
    """Write one benchmark's numbers, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    part.replace(path)
