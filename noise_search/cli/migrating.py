"""`noise-search migrate`: the databases of a store made, or brought up to date."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict

from noise_search.cli.running import DONE, AddCommand
from noise_search.cli.show import print_json, print_table


def add_migrate(command: AddCommand) -> None:
    """Add the command to the command line."""
    command("migrate", _migrate, "make the databases of a store, or bring them up to date; PostgreSQL needs it once")


def _migrate(options: argparse.Namespace, _: Sequence[str]) -> int:
    from noise_search import commands

    made = commands.migrate(store=options.store)
    if options.json:
        print_json(asdict(made) | {"changed": made.changed})
        return DONE
    print_table(
        [
            {"database": name, "schema before": made.before[name] or "none", "now": after or "none"}
            for name, after in made.after.items()
        ]
    )
    print(f"store {made.store}: {'made or brought up to date' if made.changed else 'is up to date'}")
    return DONE
