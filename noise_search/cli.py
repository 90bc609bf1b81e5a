"""The command line: `noise-search COMMAND`.

Results go to standard output, progress and logs to standard error. Exit codes: 0 done; 1 failed; 2 the caller's
mistakes, one line each; 130 interrupted.
"""

from __future__ import annotations

import argparse
import io
import json
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
from noise_search.errors import CallerError, expected_one_of, raise_if_any

if TYPE_CHECKING:
    from noise_search.commands import SweepOutcome
    from noise_search.search.fronts import FrontRow

# Heavy modules (torch, Optuna, MLflow, Hydra) are imported by the commands that need them: --help stays quick.
DONE, FAILED, MISTAKE, INTERRUPTED = 0, 1, 2, 130
LISTS = ("noises", "schedules", "corruptions", "data", "models")
_STORE_VARIABLE = "NOISE_SEARCH_STORE"
_WIDTH = 160  # columns of a table that goes into a file or a pipe


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
    common = _Parser(add_help=False, allow_abbrev=False)
    common.add_argument("--store", metavar="FOLDER", help=f"default: ${_STORE_VARIABLE}, else ./noise_search_runs")
    common.add_argument("--json", action="store_true", help="print JSON alone on standard output")
    common.add_argument("-v", "--verbose", action="store_true", help="log more, and show tracebacks")

    def command(name: str, run: Any, summary: str, epilog: str | None = None) -> argparse.ArgumentParser:
        added = commands.add_parser(
            name, parents=[common], help=summary, description=summary, epilog=epilog, allow_abbrev=False
        )
        added.set_defaults(run=run)
        return added

    command(
        "sweep",
        _sweep,
        "run a sweep, or continue it up to its total of trials",
        "Everything else goes to Hydra: overrides such as model=mlp budget.trials=64, and --cfg job, --info, "
        "--config-dir FOLDER, -m.",
    )
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
        found = [_outcome_json(outcome) for outcome in outcomes]
        _print_json(found[0] if len(found) == 1 else found)
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
        _print_outcome(outcome)
    return outcome


def _status(options: argparse.Namespace, _: Sequence[str]) -> int:
    from noise_search import commands

    if options.name is None:
        found = commands.statuses(store=options.store)
        _print_json(found) if options.json else _print_statuses(found)
        return DONE
    one = commands.status(options.name, store=options.store)
    _print_json(one) if options.json else _print_statuses([one])
    return DONE


def _front(options: argparse.Namespace, _: Sequence[str]) -> int:
    from noise_search import commands

    rows = commands.front(options.name, store=options.store)
    _print_json([_row_json(row) for row in rows]) if options.json else _print_front(rows)
    return DONE


def _pick(options: argparse.Namespace, _: Sequence[str]) -> int:
    import yaml

    from noise_search import commands
    from noise_search.policy import card_to_mapping

    row, card = commands.pick(options.name, rule=options.rule, output=options.output, store=options.store)
    if options.json:
        _print_json({"picked": _row_json(row), "card": card_to_mapping(card)})
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
    if options.what not in LISTS:
        raise CallerError(expected_one_of("list", LISTS, options.what))
    from noise_search.listing import LISTINGS

    rows = LISTINGS[options.what]()
    _print_json(rows) if options.json else _print_table(rows)
    return DONE


def _print_json(content: object) -> None:
    print(json.dumps(content, indent=2))


def _row_json(row: FrontRow) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(row)


def _outcome_json(outcome: SweepOutcome) -> dict[str, Any]:
    return {
        "name": outcome.name,
        "state": outcome.state,
        "changed": outcome.changed,
        "front": [_row_json(row) for row in outcome.front],
        "picked": outcome.picked and _row_json(outcome.picked),
        "files": {key: str(path) for key, path in outcome.files.items()},
    }


def _print_outcome(outcome: SweepOutcome) -> None:
    from noise_search.commands import tracking_command

    if not outcome.changed:
        print(f"sweep {outcome.name}: the total was reached before, nothing to do")
    _print_front(outcome.front)
    if outcome.picked is not None:
        print(f"picked by score: trial {outcome.picked.trial} (searched on validation, one seed: optimistic)")
    folder = outcome.location.folder
    print(f"sweep:  {outcome.name}")
    for key, path in outcome.files.items():
        print(f"{key + ':':<7} {path}")
    print(f"MLflow: {tracking_command(outcome.location)}")
    print(f"next:   noise-search pick {outcome.name} --rule knee --store {shlex.quote(str(folder))} -o card.yaml")


def _print_front(rows: Sequence[FrontRow]) -> None:
    _print_table(
        [
            {
                "trial": row.control or str(row.trial),
                "clean": f"{row.clean:.3f}",
                "robust": f"{row.robust:.3f}",
                "worst family": f"{row.worst_family:.3f}",
                "score": f"{row.score:.3f}",
                "policy": _policy_text(row.policy),
            }
            for row in rows
        ]
    )


def _policy_text(policy: Sequence[dict[str, Any]]) -> str:
    """A policy in a few words: `inputs.gaussian 0.18 linear(a=0, b=1, start=0, stop=0.7)`."""
    return "\n".join(_term_text(term) for term in policy) or "no noise"


def _term_text(term: dict[str, Any]) -> str:
    schedule = dict(term["schedule"])
    kind = schedule.pop("kind")
    numbers = ", ".join(f"{name}={value:.2g}" for name, value in schedule.items())
    share = f" on {term['fraction']:.0%}" if term.get("fraction", 1.0) < 1.0 else ""
    level = " uniform" if term.get("level") == "uniform" else ""
    curve = f"{kind}({numbers})" if numbers else kind
    return f"{term['site']}.{term['noise']} {term['magnitude']:.3g}{level}{share} {curve}"


def _print_statuses(found: Sequence[dict[str, Any]]) -> None:
    _print_table(
        [
            {
                "sweep": one["name"],
                "state": one["state"],
                "trials": f"{one['trials']['complete']} of {one['budget']['trials']}",
                "other outcomes": ", ".join(
                    f"{count} {k}" for k, count in one["trials"].items() if count and k != "complete"
                ),
                "epochs": str(one["epochs_trained"]),
                "samples scored": f"{one['samples_scored']:,}",
                "seconds": f"{one['seconds']:.1f}",
                "best": "" if one["best"] is None else f"{one['best']['score']:.3f} (trial {one['best']['trial']})",
            }
            for one in found
        ]
    )


def _print_table(rows: Sequence[dict[str, Any]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    if not rows:
        print("nothing yet")
        return
    table = Table(*rows[0], box=box.SIMPLE_HEAD)
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    terminal = sys.stdout.isatty()
    Console(markup=False, highlight=False, width=None if terminal else _WIDTH).print(table)


class _Bar:
    """Reporter that moves a bar on standard error, from the first news on."""

    def __init__(self) -> None:
        from rich import progress
        from rich.console import Console

        self._progress = progress.Progress(
            progress.TextColumn("epochs of trials"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TimeElapsedColumn(),
            progress.TimeRemainingColumn(),
            progress.TextColumn("{task.description}"),
            console=Console(stderr=True),
        )
        self._task = self._progress.add_task("", total=None)

    def begin(self, total: int, done: int) -> None:
        self._progress.update(self._task, total=total, completed=done, description="controls first")
        self._progress.start()

    def advance(self, epochs: int) -> None:
        self._progress.advance(self._task, epochs)

    def message(self, text: str) -> None:
        self._progress.update(self._task, description=text)

    def stop(self) -> None:
        if self._progress.live.is_started:
            self._progress.stop()


@contextmanager
def _progress() -> Iterator[_Bar]:
    bar = _Bar()
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
