"""`noise-search pick` and `noise-search cards`."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from noise_search.cli.running import DONE, INTERRUPTED, AddCommand, progress, terminated_as_interrupted
from noise_search.cli.show import print_json, print_table, row_json
from noise_search.errors import CallerError

if TYPE_CHECKING:
    from noise_search.commands import PickOutcome

RULES = "best, knee, min-clean=X, max-drop=X, weight=W, trial=N or control=NAME"
_DIGEST = 12  # digits of it that are shown
_RIVALS = ("no_noise", "best_constant")  # that a winner is worth nothing without beating


def add_pick(command: AddCommand) -> None:
    """Add the command to the command line."""
    pick = command("pick", _pick, "pick a trial or control, print or write its policy card, and register it")
    pick.add_argument("name", metavar="NAME")
    pick.add_argument(
        "--rule", metavar="RULE", help=f"{RULES} (default: that of the latest confirmation, best where there is none)"
    )
    pick.add_argument("-o", "--output", metavar="CARD.yaml", help="file to write")
    pick.add_argument(
        "--no-model",
        action="store_true",
        help="train no model for MLflow's registry: register the card in the store alone",
    )


def add_cards(command: AddCommand) -> None:
    """Add the command to the command line."""
    cards = command("cards", _cards, "registered cards of a sweep, or of every sweep of the store")
    cards.add_argument("name", nargs="?", metavar="NAME")
    cards.add_argument("--version", type=int, metavar="N", help="print this card, or write it")
    cards.add_argument(
        "-o", "--output", metavar="CARD.yaml", help="file to write it to, byte for byte as it was picked"
    )


def _pick(options: argparse.Namespace, _: Sequence[str]) -> int:
    from noise_search import commands
    from noise_search.policy import card_text, card_to_mapping

    try:
        with terminated_as_interrupted(), progress() as reporter:
            outcome = commands.pick(
                options.name,
                rule=options.rule,
                output=options.output,
                model=not options.no_model,
                store=options.store,
                reporter=reporter,
            )
    except KeyboardInterrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
        return INTERRUPTED
    if options.json:
        print_json(_as_json(outcome) | {"card": card_to_mapping(outcome.card)})
        return DONE
    print(card_text(outcome.card).decode() if options.output is None else f"wrote {options.output}\n", end="")
    _say(outcome, options.store)
    return DONE


def _as_json(outcome: PickOutcome) -> dict[str, Any]:
    names = ("name", "rule", "confirmation", "version", "trials_then", "trials", "model")
    own = {name: getattr(outcome, name) for name in names}
    return {"picked": row_json(outcome.row), "kind": _evidence(outcome)["kind"], **own, "notes": list(outcome.notes)}


def _say(outcome: PickOutcome, store: str | None) -> None:
    """Say where the numbers are from, and how to get better ones."""
    lines = [_numbers(outcome)]
    command = ["noise-search", "confirm", outcome.name, "--rule", outcome.rule]
    again = shlex.join(command if store is None else [*command, "--store", store])
    if outcome.confirmation is None:
        lines.append(f"confirm with: {again}")
    elif outcome.trials_then != outcome.trials:
        went_on = (
            f"the sweep went on after it was confirmed, from {outcome.trials_then} to {outcome.trials} complete trials"
        )
        lines.append(f"{went_on}; confirm again with: {again}")
    lines += outcome.notes
    lines.append(f"registered as {outcome.name} version {outcome.version}")
    if outcome.model is not None:
        lines.append(f"MLflow: card_version {outcome.version} of the registered model {outcome.model}")
    print("\n".join(lines), file=sys.stderr)


def _numbers(outcome: PickOutcome) -> str:
    found = _evidence(outcome)
    winner = found["arms"]["winner"]
    scores = ", ".join(f"{name} {_score(winner[name])}" for name in ("clean", "robust"))
    said = f"{outcome.row.name} by {outcome.rule}: {scores}"
    if outcome.confirmation is None:
        return f"{said} (searched on validation: optimistic)"
    where = f"on test, suite {found['suite']['name']}, {len(found['seeds'])} seeds, confirmation {outcome.confirmation}"
    against = [_gain(arm, found["gains"][arm]["robust"]) for arm in _RIVALS if arm in found["gains"]]
    return "\n".join([f"{said} (confirmed {where})", *against])


def _gain(arm: str, found: Mapping[str, float]) -> str:
    from noise_search.statistics import p_text, points_text

    gain = points_text(found["mean"], found["low"], found["high"])
    return f"against {arm.replace('_', ' ')}: robust {gain} points, p {p_text(found['p_value'])}"


def _score(numbers: Mapping[str, float]) -> str:
    interval = f" [{numbers['low']:.3f}, {numbers['high']:.3f}]" if "low" in numbers else ""
    return f"{numbers['mean']:.3f}{interval}"


def _evidence(outcome: PickOutcome) -> Mapping[str, Any]:
    assert outcome.card.evidence is not None
    return outcome.card.evidence


def _cards(options: argparse.Namespace, _: Sequence[str]) -> int:
    import yaml

    from noise_search import commands

    if options.version is None:
        if options.output is not None:
            raise CallerError("cards: expected --version with --output, got none; noise-search cards NAME lists them")
        rows = commands.cards(options.name, store=options.store)
        print_json(rows) if options.json else print_table([_row(row) for row in rows])
        return DONE
    if options.name is None:
        raise CallerError("cards: expected NAME with --version, got none")
    text = commands.registered_card(options.name, options.version, output=options.output, store=options.store)
    if options.json:
        print_json(yaml.safe_load(text))
    else:
        print(text.decode() if options.output is None else f"wrote {options.output}\n", end="")
    return DONE


def _row(card: Mapping[str, Any]) -> dict[str, Any]:
    number = card["confirmation"]
    kind = card["kind"] if number is None else f"{card['kind']} ({number})"
    return {
        "sweep": card["sweep"],
        "version": card["version"],
        "rule": card["rule"],
        "trial": card["rule"].removeprefix("control=") if card["trial"] is None else card["trial"],
        "numbers": kind,
        "digest": card["digest"][:_DIGEST],
        "made": card["created_at"][:16].replace("T", " "),
    }
