"""`noise-search rm`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict

from noise_search.cli.running import DONE, AddCommand
from noise_search.cli.show import print_json
from noise_search.errors import CallerError


def add_rm(command: AddCommand) -> None:
    """Add the command to the command line."""
    rm = command("rm", _rm, "remove a sweep: its trials, study, files and MLflow runs")
    rm.add_argument("name", metavar="NAME")
    runs = "leave its runs in MLflow; else they are deleted there, and mlflow gc frees their files"
    rm.add_argument("--keep-runs", action="store_true", help=runs)
    rm.add_argument("--keep-files", action="store_true", help="leave its card, report, log and checkpoints")
    rm.add_argument("--yes", action="store_true", help="do not ask; needed where there is no terminal")


def _rm(options: argparse.Namespace, _: Sequence[str]) -> int:
    from noise_search import commands

    one = commands.status(options.name, store=options.store)  # an unknown name is told before anything is asked
    if not options.yes and not _agreed(f"{options.name}, {one['trials']['complete']} complete trials"):
        print("nothing was removed", file=sys.stderr)
        return DONE
    kept = {"keep_runs": options.keep_runs, "keep_files": options.keep_files}
    removal = commands.rm(options.name, store=options.store, **kept)
    if options.json:
        print_json(asdict(removal))
    else:
        print(f"removed {removal.name}: {removal.members} trials and controls, {removal.runs} MLflow runs")
        for name in removal.left:
            print(f"{name}, which it was confirmed against, stays; a sweep of its own: noise-search rm {name}")
    return DONE


def _agreed(what: str) -> bool:
    if not sys.stdin.isatty():
        raise CallerError("rm: expected --yes, as there is no terminal to ask at")
    print(f"remove {what}, for good? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
