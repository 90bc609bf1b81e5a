"""Pick a trial of a sweep's front."""

from __future__ import annotations

from pathlib import Path

from noise_search.commands.places import store_location
from noise_search.policy import Card, save_card
from noise_search.search.fronts import FrontRow, front_rows
from noise_search.search.pick import make_card, pick_row
from noise_search.store import open_store


def pick(
    name: str, *, rule: str = "best", output: str | Path | None = None, store: str | Path | None = None
) -> tuple[FrontRow, Card]:
    """Pick a trial of the front and make its card; with `output`, write it there.

    Args:
        name: Of the sweep.
        rule: `best`, `knee` or `min-clean=X`.
        output: File to write, whole or not at all.
        store: Folder of the store.

    Raises:
        CallerError: For an unknown name or rule, an empty front, or a file that cannot be written.
    """
    with open_store(store_location(store), create=False) as opened:
        record = opened.sweep(name)
        row = pick_row(front_rows(opened, record.id), rule)
        card = make_card(record, row, rule)
    if output is not None:
        save_card(card, output)
    return row, card
