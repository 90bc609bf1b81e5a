"""The command line: `noise-search COMMAND`.

Results go to standard output, progress and logs to standard error. Exit codes: 0 done; 1 failed; 2 the caller's
mistakes, one line each; 130 interrupted.
"""

from __future__ import annotations

import argparse
import io
import logging
import os
import shlex
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from noise_search import __version__
from noise_search.cli.progress import Bar
from noise_search.cli.show import (
    outcome_json,
    print_front,
    print_json,
    print_outcome,
    print_statuses,
    print_table,
    row_json,
)
from noise_search.errors import CallerError, expected_one_of, raise_if_any

if TYPE_CHECKING:
    from noise_search.commands import SweepOutcome

# Heavy modules (torch, Optuna, MLflow, Hydra) are imported by the commands that need them: --help stays quick.
DONE, FAILED, MISTAKE, INTERRUPTED = 0, 1, 2, 130
LISTS = ("noises", "schedules", "corruptions", "data", "models")
_STORE_VARIABLE = "NOISE_SEARCH_STORE"
_HYDRA = (
    "Everything else goes to Hydra: overrides such as model=mlp budget.trials=64, and --cfg job, --info, "
    "--config-dir FOLDER, -m."
)


def entry_point() -> None:
    """Console script `noise-search`."""
    sys.exit(main(sys.argv[1:]))


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
    if rest and options.command != "sweep":
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

    command("sweep", _sweep, "run a sweep, or continue it up to its total of trials", _HYDRA)
    status = command("status", _status, "how a sweep stands, or every sweep of the store")
    status.add_argument("name", nargs="?", metavar="NAME")
    front = command("front", _front, "the front of a sweep and every control")
    front.add_argument("name", metavar="NAME")
    pick = command("pick", _pick, "pick a trial of the front and print or write its policy card")
    pick.add_argument("name", metavar="NAME")
    pick.add_argument("--rule", default="best", metavar="RULE", help="best (default), knee, or min-clean=X")
    pick.add_argument("-o", "--output", metavar="CARD.yaml", help="file to write")
    listing = command("list", _list, "what can be searched, trained and scored")
    listing.add_argument("what", metavar="WHAT", help=", ".join(LISTS))
    return parser


def _common_options() -> _Parser:
    common = _Parser(add_help=False, allow_abbrev=False)
    common.add_argument("--store", metavar="FOLDER", help=f"default: ${_STORE_VARIABLE}, else ./noise_search_runs")
    common.add_argument("--json", action="store_true", help="print JSON alone on standard output")
    common.add_argument("-v", "--verbose", action="store_true", help="log more, and show tracebacks")
    return common


def _sweep(options: argparse.Namespace, rest: Sequence[str]) -> int:
    outcomes: list[SweepOutcome] = []
    interrupted = False
    try:
        with _terminated_as_interrupted(), _store_variable(options.store):
            for config in _configurations(rest):
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
    return INTERRUPTED if interrupted else DONE


def _configurations(rest: Sequence[str]) -> list[dict[str, Any]]:
    """What Hydra makes of the command line: one configuration a sweep, all of them checked before any runs."""
    from noise_search.config import check, collect

    said = io.StringIO()
    try:
        # Hydra notes a multirun in a folder before it looks at the overrides; nobody needs the note.
        with tempfile.TemporaryDirectory() as folder, redirect_stderr(said):
            notes = [f"hydra.sweep.dir={folder}"] if {"-m", "--multirun"} & set(rest) else []
            configs = collect(_overrides_first([*rest, *notes]), "noise-search sweep")
    except SystemExit as stop:  # Hydra's parser: --hydra-help, or an option that it refuses
        if stop.code:
            raise CallerError(said.getvalue().splitlines()[-1]) from stop
        raise
    sys.stderr.write(said.getvalue())
    raise_if_any(list(dict.fromkeys(mistake for config in configs for mistake in check(config))))
    return configs


def _overrides_first(arguments: Sequence[str]) -> list[str]:
    """Hydra's options may stand anywhere; its own parser wants the overrides in one piece."""
    return sorted(arguments, key=lambda word: word.startswith("-") or not ("=" in word or word.startswith("~")))


def _sweep_one(config: dict[str, Any], options: argparse.Namespace) -> SweepOutcome:
    from noise_search.commands import run_sweep

    with _progress() as reporter:
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
    print_json(one) if options.json else print_statuses([one])
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


@contextmanager
def _progress() -> Iterator[Bar]:
    bar = Bar()
    try:
        yield bar
    finally:
        bar.stop()


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Let SIGTERM end a sweep as Ctrl-C does: closed, with the command that continues."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not the main thread: leave signals to whoever has it
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _store_variable(store: str | None) -> Iterator[None]:
    """Let the configuration see `--store` as it sees the environment variable."""
    before = os.environ.get(_STORE_VARIABLE)
    if store is not None:
        os.environ[_STORE_VARIABLE] = str(Path(store).expanduser().absolute())
    try:
        yield
    finally:
        if before is not None:
            os.environ[_STORE_VARIABLE] = before
        elif store is not None:
            os.environ.pop(_STORE_VARIABLE)
