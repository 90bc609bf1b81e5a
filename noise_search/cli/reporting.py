"""`noise-search report`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict

from noise_search.cli.running import DONE, AddCommand
from noise_search.cli.show import print_json

_MLFLOW = {
    "sent": "MLflow: in the folder report of the sweep's run",
    "behind": "MLflow: behind; noise-search mirror sends it, as does the next run, pick or report of the sweep",
    "busy": "MLflow: not told, for another process is at work on the sweep; ask again when that has ended",
}


def add_report(command: AddCommand) -> None:
    """Add the command to the command line."""
    report = command("report", _report, "write one page about a sweep: its front, what is confirmed, what it cost")
    report.add_argument("name", metavar="NAME")
    report.add_argument("-o", "--output", metavar="REPORT.html", help="file to write (default: NAME.html)")


def _report(options: argparse.Namespace, _: Sequence[str]) -> int:
    from noise_search import commands

    written = commands.report(options.name, output=options.output, store=options.store)
    if options.json:
        print_json(asdict(written) | {"path": str(written.path)})
        return DONE
    print(f"wrote {written.path}")
    if written.mlflow in _MLFLOW:
        print(_MLFLOW[written.mlflow], file=sys.stderr)
    return DONE
