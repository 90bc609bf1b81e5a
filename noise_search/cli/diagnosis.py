"""`noise-search doctor`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict

from noise_search.cli.running import DONE, FAILED, AddCommand
from noise_search.cli.show import print_json, print_table


def add_doctor(command: AddCommand) -> None:
    """Add the command to the command line."""
    doctor = command("doctor", _doctor, "what works here, and what to mend", "Exit code 1 if anything fails.")
    doctor.add_argument("--tracking-uri", metavar="URI", help="MLflow server to look at, besides those of the sweeps")
    doctor.add_argument("--ray-address", metavar="ADDRESS", help="Ray cluster to look at, besides those of the sweeps")


def _doctor(options: argparse.Namespace, _: Sequence[str]) -> int:
    from noise_search import commands

    checks = commands.doctor(store=options.store, tracking_uri=options.tracking_uri, ray_address=options.ray_address)
    if options.json:
        print_json([asdict(check) for check in checks])
    else:
        print_table([asdict(check) for check in checks])
    return FAILED if any(check.state == "fail" for check in checks) else DONE
