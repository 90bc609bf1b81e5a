"""`noise-search stop`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from noise_search.cli.running import DONE, AddCommand
from noise_search.cli.show import print_json


def add_stop(command: AddCommand) -> None:
    """Add the command to the command line."""
    stop = command("stop", _stop, "stop a sweep that runs in another terminal; the job under way is lost")
    stop.add_argument("name", metavar="NAME")


def _stop(options: argparse.Namespace, _: Sequence[str]) -> int:
    from noise_search import commands

    found = commands.stop(options.name, store=options.store)
    if options.json:
        print_json({"name": options.name, "state": found})
    else:
        print(f"{options.name}: {found}")
    return DONE
