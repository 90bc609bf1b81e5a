"""The command line: `noise-search COMMAND`.

Results go to standard output, progress and logs to standard error. Exit codes: 0 done; 1 failed; 2 the caller's
mistakes, one line each; 130 interrupted; 141 whoever read the output has gone.
"""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from noise_search import __version__
from noise_search.cli.confirming import add_confirm
from noise_search.cli.diagnosis import add_doctor
from noise_search.cli.looking import add_ui
from noise_search.cli.migrating import add_migrate
from noise_search.cli.mirroring import add_mirror
from noise_search.cli.passwords import log_without_passwords, passwords_apart
from noise_search.cli.picking import add_cards, add_pick
from noise_search.cli.removing import add_rm
from noise_search.cli.reporting import add_report
from noise_search.cli.running import (
    BROKEN_PIPE,
    DONE,
    FAILED,
    HYDRA,
    INTERRUPTED,
    MISTAKE,
    STORE_VARIABLE,
    configurations,
    logged_as_json,
    progress,
    store_variable,
    terminated_as_interrupted,
)
from noise_search.cli.show import (
    outcome_json,
    print_front,
    print_json,
    print_more,
    print_outcome,
    print_preview,
    print_statuses,
    print_table,
    row_json,
)
from noise_search.cli.stopping import add_stop
from noise_search.cli.training import add_train
from noise_search.cli.watching import add_watch, watch
from noise_search.errors import CallerError, expected_one_of
from noise_search.urls import without_password

if TYPE_CHECKING:
    from noise_search.commands import SweepOutcome
    from noise_search.config import Collected

# Heavy modules (torch, Optuna, MLflow, Hydra) are imported by the commands that need them: --help stays quick.
LISTS = ("noises", "schedules", "corruptions", "data", "models")


def entry_point() -> None:
    """Console script `noise-search`."""
    try:
        code = main(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read the output has gone, as `head` does: there is nobody to tell, at exit neither.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = BROKEN_PIPE
    sys.exit(code)


def main(arguments: Sequence[str]) -> int:
    """Run one command; returns the exit code."""
    try:
        options, rest = _parse(arguments)
        log_without_passwords(logging.INFO if options.verbose else logging.WARNING)
        with passwords_apart(options, rest) as rest, logged_as_json(options.log_json):
            code: int = options.run(options, rest)
    except SystemExit as stop:  # --help and --version
        return stop.code if isinstance(stop.code, int) else MISTAKE
    except CallerError as error:
        print(without_password("\n".join(error.mistakes)), file=sys.stderr)
        return MISTAKE
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        raise
    except Exception as error:
        logging.getLogger(__name__).info("traceback", exc_info=True)
        hint = "" if options.verbose else "; -v shows where"
        print(f"failed: {type(error).__name__}: {without_password(_one_line(str(error)))}{hint}", file=sys.stderr)
        return FAILED
    return code


def _one_line(text: str) -> str:
    return "; ".join(line.strip() for line in text.splitlines() if line.strip())


class _Parser(argparse.ArgumentParser):
    """Parser that reports a mistake as everything else does: in one line, without its usage."""

    def error(self, message: str) -> NoReturn:
        raise CallerError(f"{self.prog}: {message}; {self.prog} --help shows how")


def _parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    taken = {"sweep": rest, "train": rest, "confirm": [word for word in rest if not word.startswith("-")]}
    if unknown := [word for word in rest if word not in taken.get(options.command, [])]:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    return options, rest


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="noise-search", description="Hyperparameter search for noise schedules.")
    parser.add_argument("--version", action="version", version=f"noise-search {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    common = _common_options()

    def command(name: str, run: Any, summary: str, epilog: str | None = None) -> argparse.ArgumentParser:
        added = commands.add_parser(
            name, parents=[common], help=summary, description=summary, epilog=epilog, allow_abbrev=False
        )
        added.set_defaults(run=run)
        return added

    sweep = command("sweep", _sweep, "run a sweep, or continue it up to its total of trials", HYDRA)
    sweep.add_argument("--preview", action="store_true", help="say what it would do and cost, and write nothing")
    status = command("status", _status, "how a sweep stands, or every sweep of the store")
    status.add_argument("name", nargs="?", metavar="NAME")
    add_watch(status)
    front = command("front", _front, "the front of a sweep and every control")
    front.add_argument("name", metavar="NAME")
    add_pick(command)
    add_cards(command)
    add_confirm(command)
    add_report(command)
    add_train(command)
    add_ui(command)
    add_mirror(command)
    add_stop(command)
    add_rm(command)
    add_doctor(command)
    add_migrate(command)
    listing = command("list", _list, "what can be searched, trained and scored")
    listing.add_argument("what", metavar="WHAT", help=", ".join(LISTS))
    return parser


def _common_options() -> _Parser:
    common = _Parser(add_help=False, allow_abbrev=False)
    store = (
        f"a folder, or postgresql+psycopg://USER@HOST/DATABASE; default: ${STORE_VARIABLE}, else ./noise_search_runs"
    )
    common.add_argument("--store", metavar="FOLDER_OR_URL", help=store)
    common.add_argument("--json", action="store_true", help="print JSON alone on standard output")
    common.add_argument("--log-json", action="store_true", help="log in JSON lines, events of sweeps too; no progress")
    common.add_argument("-v", "--verbose", action="store_true", help="log more, and show tracebacks")
    return common


def _sweep(options: argparse.Namespace, rest: Sequence[str]) -> int:
    return _preview(options, rest) if options.preview else _run_sweeps(options, rest)


def _preview(options: argparse.Namespace, rest: Sequence[str]) -> int:
    from noise_search.commands import preview_of

    with store_variable(options.store):
        asked = configurations(rest, "noise-search sweep")
        found = [(preview_of(one.config, store=options.store), one.overrides) for one in asked]
    if options.json:
        made = [preview.to_mapping() | {"overrides": overrides} for preview, overrides in found]
        print_json(made[0] if len(made) == 1 else made)
    else:
        for preview, overrides in found:
            print_preview(preview, overrides)
    return DONE


def _run_sweeps(options: argparse.Namespace, rest: Sequence[str]) -> int:
    ended: list[tuple[SweepOutcome, tuple[str, ...]]] = []
    interrupted = False
    try:
        with terminated_as_interrupted(), store_variable(options.store):
            for one in configurations(rest, "noise-search sweep"):
                outcome = _sweep_one(one, options)
                ended.append((outcome, one.overrides))
                if interrupted := outcome.state == "interrupted":
                    break
    except KeyboardInterrupt:  # before or after the sweep itself, which takes care of its own
        interrupted = True
    if options.json and ended:
        found = [outcome_json(outcome) | {"overrides": overrides} for outcome, overrides in ended]
        print_json(found[0] if len(found) == 1 else found)
    if interrupted:
        store = [] if options.store is None else ["--store", options.store]
        print("interrupted; continue with:", shlex.join(["noise-search", "sweep", *store, *rest]), file=sys.stderr)
    if interrupted:
        return INTERRUPTED
    return FAILED if any(outcome.all_failed for outcome, _ in ended) else DONE


def _sweep_one(asked: Collected, options: argparse.Namespace) -> SweepOutcome:
    from noise_search.commands import run_sweep

    with progress() as reporter:
        outcome = run_sweep(asked.config, store=options.store, reporter=None if options.log_json else reporter)
    if not options.json:
        print_outcome(outcome, asked.overrides)
    return outcome


def _status(options: argparse.Namespace, _: Sequence[str]) -> int:
    from noise_search import commands

    def show(found: Sequence[dict[str, Any]]) -> None:
        print_statuses(found, options.store)
        if options.name is not None:
            print_more(found[0], options.store)

    if options.watch is not None:
        return watch(options, show)
    if options.name is None:
        found = commands.statuses(store=options.store)
    else:
        found = [commands.status(options.name, store=options.store)]
    if options.json:
        print_json(found if options.name is None else found[0])
    else:
        show(found)
    return DONE


def _front(options: argparse.Namespace, _: Sequence[str]) -> int:
    from noise_search import commands

    rows = commands.front(options.name, store=options.store)
    print_json([row_json(row) for row in rows]) if options.json else print_front(rows)
    return DONE


def _list(options: argparse.Namespace, _: Sequence[str]) -> int:
    if options.what not in LISTS:  # before the imports that the answer needs
        raise CallerError(expected_one_of("list", LISTS, options.what))
    from noise_search.commands import listing

    rows = listing(options.what)
    print_json(rows) if options.json else print_table(rows)
    return DONE
