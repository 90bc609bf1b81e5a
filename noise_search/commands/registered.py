"""Registered cards: what was picked from sweeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from noise_search.commands.places import store_location
from noise_search.errors import CallerError
from noise_search.files import write_whole
from noise_search.store import CardRecord, Store, SweepRecord, open_store


def cards(name: str | None = None, *, store: str | Path | None = None) -> list[dict[str, Any]]:
    """Registered cards of a sweep, or of every sweep of the store, oldest sweep first and by version.

    Args:
        name: Of the sweep; None for all.
        store: Folder of the store.

    Returns:
        For each its sweep, version, rule, trial, kind, confirmation, digest, versions and created_at, as plain data.

    Raises:
        CallerError: For an unknown name or a missing store.
    """
    with open_store(store_location(store), create=False) as opened:
        sweeps = opened.sweeps() if name is None else [opened.sweep(name)]
        return [_plain(sweep, card) for sweep in sweeps for card in opened.cards(sweep.id)]


def registered_card(
    name: str, version: int, *, output: str | Path | None = None, store: str | Path | None = None
) -> bytes:
    """File of a registered card, byte for byte as it was picked; with `output`, write it there.

    Args:
        name: Of the sweep.
        version: Of the card.
        output: File to write, whole or not at all.
        store: Folder of the store.

    Raises:
        CallerError: For an unknown name or version, or a file that cannot be written.
    """
    with open_store(store_location(store), create=False) as opened:
        text = _version(opened, opened.sweep(name), version).content.encode()
    if output is not None:
        write_whole(output, text, "card")
    return text


def _version(store: Store, sweep: SweepRecord, version: int) -> CardRecord:
    found = {card.version: card for card in store.cards(sweep.id)}
    if not found:
        raise CallerError(f"cards: expected a registered card of {sweep.name}, got none; noise-search pick makes one")
    if version not in found:
        raise CallerError(f"cards: expected a version of {sweep.name} from 1 to {max(found)}, got {version}")
    return found[version]


def _plain(sweep: SweepRecord, card: CardRecord) -> dict[str, Any]:
    return {
        "sweep": sweep.name,
        "version": card.version,
        "rule": card.rule,
        "trial": card.trial,
        "kind": card.kind,
        "confirmation": card.confirmation,
        "digest": card.digest,
        "versions": card.versions,
        "created_at": card.created_at.isoformat(),
    }
