"""`noise-search train`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from noise_search.cli.running import DONE, HYDRA, AddCommand, configurations, progress, terminated_as_interrupted
from noise_search.cli.show import print_json, print_table
from noise_search.errors import CallerError

if TYPE_CHECKING:
    from noise_search.commands import TrainOutcome


def add_train(command: AddCommand) -> None:
    """Add the command to the command line."""
    train = command("train", _train, "train once with a policy card and score it on the validation split", HYDRA)
    train.add_argument("card", metavar="CARD", help="file that pick or a sweep has written")
    train.add_argument("--control", action="store_true", help="train without noise beside it, and show the difference")
    train.add_argument("-o", "--output", metavar="MODEL.safetensors", help="file for the weights")


def _train(options: argparse.Namespace, rest: Sequence[str]) -> int:
    from noise_search.config import card_base
    from noise_search.data import forget_loaded
    from noise_search.policy import load_card

    card = load_card(options.card)
    base = card_base(card, rest, options.card)
    forget_loaded()
    with terminated_as_interrupted():
        with base.named():
            configs = [one.config for one in configurations(rest, "noise-search train", base.content)]
        if options.output is not None and len(configs) > 1:
            raise CallerError(f"--output: expected one training, got {len(configs)}; train them one by one")
        with base.named():
            outcomes = [_train_one(config, card, options) for config in configs]
    if options.json and outcomes:
        found = [_as_json(outcome) for outcome in outcomes]
        print_json(found[0] if len(found) == 1 else found)
    return DONE


def _train_one(config: dict[str, Any], card: Any, options: argparse.Namespace) -> TrainOutcome:
    from noise_search.commands import run_training

    with progress() as reporter:
        outcome = run_training(
            config, card, where=options.card, control=options.control, output=options.output, reporter=reporter
        )
    if not options.json:
        _print(outcome)
    return outcome


def _as_json(outcome: TrainOutcome) -> dict[str, Any]:
    output = None if outcome.output is None else str(outcome.output)
    return asdict(outcome) | {"difference": outcome.difference, "output": output, "notes": list(outcome.notes)}


def _print(outcome: TrainOutcome) -> None:
    card, control, difference = outcome.card, outcome.control, outcome.difference
    named = {"card": card.scores} | ({"no noise": control.scores, "difference": difference} if control else {})
    print_table(
        [
            {"trained": name}
            | {score.replace("_", " "): _number(name, value) for score, value in (scores or {}).items()}
            for name, scores in named.items()
        ]
    )
    print_table([{"corruption": kind, **_kind(outcome, kind)} for kind in card.kinds])
    if control is not None and control.diverged:
        print("control: diverged, its loss or gradient was not finite")
    print(f"trained: {outcome.model} on {outcome.data}, {outcome.epochs} epochs, seed {outcome.seed}, {outcome.mode}")
    print(f"scored:  suite {outcome.suite} on the validation split, one seed; accuracies above chance")
    for note in outcome.notes:
        print(f"note:    {note}")
    if outcome.output is not None:
        print(f"weights: {outcome.output}")


def _kind(outcome: TrainOutcome, kind: str) -> dict[str, str]:
    ours = outcome.card.kinds[kind]
    if outcome.control is None:
        return {"card": f"{ours:.3f}"}
    theirs = outcome.control.kinds[kind]
    return {"card": f"{ours:.3f}", "no noise": f"{theirs:.3f}", "difference": f"{ours - theirs:+.3f}"}


def _number(row: str, value: float) -> str:
    return f"{value:+.3f}" if row == "difference" else f"{value:.3f}"
