"""`noise-search mirror`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict

from noise_search.cli.running import DONE, FAILED, AddCommand, terminated_as_interrupted
from noise_search.cli.show import print_json

_SAYS = {
    "sent": "MLflow has everything, {messages} messages of it new",
    "behind": "MLflow still lacks {unsent} messages; once it answers, the same command again sends them",
    "busy": "somebody drives it, whose mirror sends by itself; MLflow lacks {unsent} messages",
    "off": "not tracked; the same sweep with tracking.enabled=true is",
}


def add_mirror(command: AddCommand) -> None:
    """Add the command to the command line."""
    mirror = command(
        "mirror", _mirror, "send MLflow what it lacks, as after its server was down", "Exit code 1 if it lags still."
    )
    mirror.add_argument("name", nargs="?", metavar="NAME", help="sweep; without it every tracked one of the store")


def _mirror(options: argparse.Namespace, _: Sequence[str]) -> int:
    from noise_search import commands

    with terminated_as_interrupted():
        found = [asdict(one) for one in commands.mirror(options.name, store=options.store)]
    if options.json:
        print_json(found if options.name is None else found[0])
    else:
        for one in found:
            print(f"{one['name']}: {_SAYS[one['mlflow']].format(**one)} ({one['address']})")
    return FAILED if any(one["mlflow"] == "behind" for one in found) else DONE
