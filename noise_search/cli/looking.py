"""`noise-search ui`."""

from __future__ import annotations

import argparse
import ipaddress
import signal
import sys
import time
import webbrowser
from collections.abc import Sequence
from typing import TYPE_CHECKING

from noise_search.cli.running import DONE, AddCommand, terminated_as_interrupted
from noise_search.cli.show import print_json

if TYPE_CHECKING:
    from noise_search.commands import Pages

LOOK_SECONDS = 1.0


def add_ui(command: AddCommand) -> None:
    """Add the command to the command line."""
    ui = command("ui", _ui, "MLflow's pages of the store's sweeps: the tracking server's, or its own until Ctrl-C")
    ui.add_argument("name", nargs="?", metavar="NAME", help="sweep to link to; without it all experiments")
    ui.add_argument("--host", default="127.0.0.1", help="address to listen at (default: %(default)s)")
    ui.add_argument("--port", type=int, help="port to listen at (default: 5000, or a free one where that is in use)")
    ui.add_argument("--open", action="store_true", help="open the page in a browser")
    ui.add_argument("--no-open", "--no-browser", action="store_false", dest="open", help="only print it (default)")


def _ui(options: argparse.Namespace, _: Sequence[str]) -> int:
    if not options.json:  # before the imports: they take seconds too
        print("MLflow's address follows in some seconds", file=sys.stderr, flush=True)
    from noise_search import commands

    if not _is_loopback(options.host):
        print(f"--host {options.host}: whoever reaches it can change and delete runs", file=sys.stderr)
    with (
        terminated_as_interrupted(signal.SIGHUP),
        commands.ui(options.name, store=options.store, host=options.host, port=options.port) as pages,
    ):
        try:
            _show(pages, as_json=options.json)
            if options.open:
                webbrowser.open(pages.sweep)
            while pages.server is not None:
                pages.server.look()
                time.sleep(LOOK_SECONDS)
        except KeyboardInterrupt:  # how this command is meant to end
            pass
    return DONE


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _show(pages: Pages, *, as_json: bool) -> None:
    if as_json:
        print_json({"address": pages.address, "sweep": pages.sweep, "trials": pages.trials})
    else:
        print(f"MLflow: {pages.sweep}")
        if pages.trials is not None:
            print(f"trials: {pages.trials}  ([+] before the sweep's run unfolds them)")
        if pages.server is not None:
            print("Ctrl-C ends it")
    sys.stdout.flush()  # whoever reads a pipe waits for it
