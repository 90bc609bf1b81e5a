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
from noise_search.errors import CallerError, expected_one_of

if TYPE_CHECKING:
    from noise_search.commands import SweepOutcome

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
        logging.basicConfig(level=logging.INFO if options.verbose else logging.WARNING, stream=sys.stderr, force=True)
        code: int = options.run(options, rest)
    except SystemExit as stop:  # --help and --version
        return stop.code if isinstance(stop.code, int) else MISTAKE
    except CallerError as error:
        print("\n".join(error.mistakes), file=sys.stderr)
        return MISTAKE
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        raise
    except Exception as error:
        logging.getLogger(__name__).info("traceback", exc_info=True)
        hint = "" if options.verbose else "; -v shows where"
        print(f"failed: {type(error).__name__}: {_one_line(str(error))}{hint}", file=sys.stderr)
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
    if rest and options.command not in ("sweep", "train"):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
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
    front = command("front", _front, "the front of a sweep and every control")
    front.add_argument("name", metavar="NAME")
    pick = command("pick", _pick, "pick a trial of the front and print or write its policy card")
    pick.add_argument("name", metavar="NAME")
    pick.add_argument("--rule", default="best", metavar="RULE", help="best (default), knee, or min-clean=X")
    pick.add_argument("-o", "--output", metavar="CARD.yaml", help="file to write")
    add_confirm(command)
    add_report(command)
    add_train(command)
    add_ui(command)
    add_stop(command)
    add_rm(command)
    add_doctor(command)
    listing = command("list", _list, "what can be searched, trained and scored")
    listing.add_argument("what", metavar="WHAT", help=", ".join(LISTS))
    return parser


def _common_options() -> _Parser:
    common = _Parser(add_help=False, allow_abbrev=False)
    common.add_argument("--store", metavar="FOLDER", help=f"default: ${STORE_VARIABLE}, else ./noise_search_runs")
    common.add_argument("--json", action="store_true", help="print JSON alone on standard output")
    common.add_argument("-v", "--verbose", action="store_true", help="log more, and show tracebacks")
    return common


def _sweep(options: argparse.Namespace, rest: Sequence[str]) -> int:
    return _preview(options, rest) if options.preview else _run_sweeps(options, rest)


def _preview(options: argparse.Namespace, rest: Sequence[str]) -> int:
    from noise_search.commands import preview_of

    with store_variable(options.store):
        found = [preview_of(config, store=options.store) for config in configurations(rest, "noise-search sweep")]
    if options.json:
        made = [one.to_mapping() for one in found]
        print_json(made[0] if len(made) == 1 else made)
    else:
        for one in found:
            print_preview(one)
    return DONE


def _run_sweeps(options: argparse.Namespace, rest: Sequence[str]) -> int:
    outcomes: list[SweepOutcome] = []
    interrupted = False
    try:
        with terminated_as_interrupted(), store_variable(options.store):
            for config in configurations(rest, "noise-search sweep"):
                outcomes.append(_sweep_one(config, options))
                if interrupted := outcomes[-1].state == "interrupted":
                    break
    except KeyboardInterrupt:  # before or after the sweep itself, which takes care of its own
        interrupted = True
    if options.json and outcomes:
        found = [outcome_json(outcome) for outcome in outcomes]
        print_json(found[0] if len(found) == 1 else found)
    if interrupted:
        store = [] if options.store is None else ["--store", options.store]
        print("interrupted; continue with:", shlex.join(["noise-search", "sweep", *store, *rest]), file=sys.stderr)
    if interrupted:
        return INTERRUPTED
    return FAILED if any(outcome.all_failed for outcome in outcomes) else DONE


def _sweep_one(config: dict[str, Any], options: argparse.Namespace) -> SweepOutcome:
    from noise_search.commands import run_sweep

    with progress() as reporter:
        outcome = run_sweep(config, store=options.store, reporter=reporter)
    if not options.json:
        print_outcome(outcome)
    return outcome


def _status(options: argparse.Namespace, _: Sequence[str]) -> int:
    from noise_search import commands

    if options.name is None:
        found = commands.statuses(store=options.store)
        print_json(found) if options.json else print_statuses(found)
        return DONE
    one = commands.status(options.name, store=options.store)
    if options.json:
        print_json(one)
        return DONE
    print_statuses([one])
    print_more(one)
    return DONE


def _front(options: argparse.Namespace, _: Sequence[str]) -> int:
    from noise_search import commands

    rows = commands.front(options.name, store=options.store)
    print_json([row_json(row) for row in rows]) if options.json else print_front(rows)
    return DONE


def _pick(options: argparse.Namespace, _: Sequence[str]) -> int:
    import yaml

    from noise_search import commands
    from noise_search.policy import card_to_mapping

    row, card = commands.pick(options.name, rule=options.rule, output=options.output, store=options.store)
    if options.json:
        print_json({"picked": row_json(row), "card": card_to_mapping(card)})
        return DONE
    if options.output is None:
        print(yaml.safe_dump(card_to_mapping(card), sort_keys=False), end="")
    else:
        print(f"wrote {options.output}")
    print(
        f"trial {row.trial} by {options.rule}: clean {row.clean:.3f}, robust {row.robust:.3f} "
        "(searched on validation: optimistic)",
        file=sys.stderr,
    )
    return DONE


def _list(options: argparse.Namespace, _: Sequence[str]) -> int:
    if options.what not in LISTS:  # before the imports that the answer needs
        raise CallerError(expected_one_of("list", LISTS, options.what))
    from noise_search.commands import listing

    rows = listing(options.what)
    print_json(rows) if options.json else print_table(rows)
    return DONE
