"""Pick a trial of a sweep, write its card and register it."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from pathlib import Path

from noise_search.commands.places import is_tracked, store_location
from noise_search.config import build
from noise_search.data import Dataset
from noise_search.errors import CallerError
from noise_search.files import write_whole
from noise_search.policy import Card, card_text
from noise_search.policy.evidence import CONFIRMED, SEARCHED
from noise_search.search.cards import make_card, versions
from noise_search.search.driver import Reporter
from noise_search.search.fronts import FrontRow, complete_trials
from noise_search.search.picking import Picked, missed, notes, picked, trials_then
from noise_search.search.registering import card_folder, model_entry, model_key, trained_again, write_model
from noise_search.search.reporting import Silent
from noise_search.search.sending import BEHIND, BUSY, SENT, leave_and_send
from noise_search.spec import SweepSpec
from noise_search.store import CardRecord, Location, NewCard, Store, SweepRecord, Writer, open_store
from noise_search.tracking.mlflow_sink import prepare
from noise_search.tracking.places import place_of
from noise_search.training import load_dataset

_TEST_READS = re.compile(r"^  test_reads: \d+$", flags=re.MULTILINE)  # in the file of a card, within its evidence


@dataclass(frozen=True, slots=True)
class PickOutcome:
    """A trial, or control, that was picked, and where its card is.

    Args:
        name: Of the sweep.
        row: The trial with its searched scores.
        card: With the evidence there is: `card.evidence["kind"]` is searched or confirmed.
        rule: That picked it.
        confirmation: Number of the confirmation that the evidence is from; None for searched.
        version: Under which the card is registered.
        trials_then, trials: Complete trials of the sweep when that confirmation began, and now; both now without one.
        model: Name of the registered model in MLflow that has this card; None where there is none, or not yet.
        notes: What to know besides.
    """

    name: str
    row: FrontRow
    card: Card
    rule: str
    confirmation: int | None
    version: int
    trials_then: int
    trials: int
    model: str | None = None
    notes: tuple[str, ...] = ()


def pick(
    name: str,
    *,
    rule: str | None = None,
    output: str | Path | None = None,
    model: bool = True,
    store: str | Path | None = None,
    reporter: Reporter | None = None,
) -> PickOutcome:
    """Pick a trial, make its card, write it, and register it in the store and, with its model, in MLflow.

    Of a rule that the sweep was confirmed by it is the winner, with what was measured; else numbers are searched,
    unless the trial is the winner of another confirmation.

    Args:
        name: Of the sweep.
        rule: `best`, `knee`, `min-clean=X`, `max-drop=X`, `weight=W`, `trial=N` or `control=NAME`; None takes that of
            the latest confirmation, and `best` where there is none.
        output: File to write, first of all, whole or not at all.
        model: Train the trial once more for MLflow's registry of models, if the sweep is tracked.
        store: Folder of the store.
        reporter: Told of progress; None shows nothing.

    Raises:
        CallerError: For an unknown name or rule, an empty front, a file that cannot be written, or data that are not
            there any more to train the model with.
    """
    location = store_location(store)
    with open_store(location, create=False) as opened:
        sweep = opened.sweep(name)
        found = picked(opened, sweep, rule)
        card = make_card(opened, sweep, found.row, found.rule, found.confirmation)
        text = card_text(card, "card" if output is None else str(output))
        if output is not None:
            write_whole(output, text, "card")
        record = opened.register_card(sweep.id, _new_card(found, text), version=_version_of(opened, sweep, text))
        outcome = _outcome(sweep, found, card, record, trials=complete_trials(opened, sweep.id))
        if not (model and is_tracked(sweep)):
            return outcome
        return _in_mlflow(_Registration(opened, location, sweep, record), outcome, reporter or Silent())


def _version_of(store: Store, sweep: SweepRecord, text: bytes) -> int | None:
    """Version that has this card but for `test_reads`, which grow while policy and evidence stay; None of a new one.

    Of several, from before they were told apart so, the latest.
    """
    own = _without_reads(text.decode())
    return max((one.version for one in store.cards(sweep.id) if _without_reads(one.content) == own), default=None)


def _without_reads(text: str) -> str:
    return _TEST_READS.sub("", text)


def _new_card(found: Picked, text: bytes) -> NewCard:
    return NewCard(
        rule=found.rule,
        trial=found.row.trial,
        kind=SEARCHED if found.confirmation is None else CONFIRMED,
        confirmation=None if found.confirmation is None else found.confirmation.number,
        digest=hashlib.sha256(text).hexdigest(),
        content=text.decode(),
        versions=versions(),
    )


def _outcome(sweep: SweepRecord, found: Picked, card: Card, record: CardRecord, *, trials: int) -> PickOutcome:
    then = trials_then(found)
    return PickOutcome(
        name=sweep.name,
        row=found.row,
        card=card,
        rule=found.rule,
        confirmation=record.confirmation,
        version=record.version,
        trials_then=trials if then is None else then,
        trials=trials,
        notes=(*notes(found), *missed(found, card.evidence or {})),
    )


# --- MLflow's registry of models ---

_NOT_SENT = {
    BUSY: ("the sweep is running: its model is left out of MLflow's registry; pick again when it has ended",),
    BEHIND: ("MLflow is behind: noise-search mirror registers the model, as does the next run or pick of the sweep",),
}


@dataclass(frozen=True, slots=True)
class _Registration:
    """A registered card of a sweep, and where everything is."""

    store: Store
    location: Location
    sweep: SweepRecord
    card: CardRecord


def _in_mlflow(own: _Registration, outcome: PickOutcome, reporter: Reporter) -> PickOutcome:
    """Leave the model for the mirror, once, and wait for the mirror."""
    more: list[str] = []

    def leave(writer: Writer) -> None:
        if model_key(own.card) not in own.store.outbox_keys(own.sweep.id):
            more.extend(_leave_model(own, writer, outcome, reporter))

    came = leave_and_send(own.store, own.sweep, leave)
    model = own.sweep.name if came == SENT else None
    return replace(outcome, model=model, notes=(*outcome.notes, *more, *_NOT_SENT.get(came, ())))


def _leave_model(own: _Registration, writer: Writer, outcome: PickOutcome, reporter: Reporter) -> tuple[str, ...]:
    """Train the trial once more, and leave its files for the mirror; returns what to know of it."""
    spec, dataset = _spec_and_data(own)
    reporter.begin(spec.train.epochs, 0)
    reporter.message(f"model of {own.card.name}")
    result, weights = trained_again(spec, own.sweep, dataset, outcome.card.policy, reporter.advance)
    folder = card_folder(own.location, own.sweep.name, own.card.version)
    write_model(folder, own.card, weights, spec, dataset.statistics)
    prepare(place_of(own.location, own.sweep))
    writer.enqueue([model_entry(spec, own.sweep, own.card, folder)])
    clean, searched = result.scores["clean"], outcome.row.clean
    if spec.budget.seeds > 1 or clean == searched:
        return ()
    return (f"the model, trained again, has clean {clean:.4f} in place of {searched:.4f}: another machine or torch",)


def _spec_and_data(own: _Registration) -> tuple[SweepSpec, Dataset]:
    """What the sweep trained, if it is still there."""
    sweep = own.sweep
    try:
        spec = replace(build(sweep.config), name=sweep.name)
        dataset = load_dataset(spec.data)
        if dataset.digest != sweep.identity["data.digest"]:
            raise CallerError(f"data: expected those of {sweep.name}, got others called {spec.data.name}")
    except CallerError as error:
        done = f"pick: the card is registered as {sweep.name} version {own.card.version}"
        raise CallerError(*error.mistakes, f"{done}; its model cannot be trained, --no-model leaves it out") from error
    return spec, dataset
