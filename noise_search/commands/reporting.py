"""The page of a sweep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noise_search.commands.places import is_tracked, store_location
from noise_search.commands.reading import state_of
from noise_search.commands.sweeping import sweep_files
from noise_search.files import refuse_unwritable, write_whole
from noise_search.reports.contents import Contents, read
from noise_search.reports.figures import figures_of
from noise_search.reports.page import page_of, write_files
from noise_search.search.mirroring import files_entry
from noise_search.search.sending import leave_and_send
from noise_search.store import Location, Store, Writer, open_store
from noise_search.tracking.places import place_of

OFF = "off"


@dataclass(frozen=True, slots=True)
class Report:
    """A page that was written.

    Args:
        name: Of the sweep.
        path: Where the page lies.
        mlflow: `sent` where the run of the sweep has it too; `behind` where MLflow has not taken it yet, which `mirror`
            or the next run of the sweep, pick, confirmation or report makes up for; `busy` where somebody drives the
            sweep, whose run gets it when that ends; `off` where the sweep is not tracked, or MLflow's database is gone.
        numbers: What the page says, as plain data.
    """

    name: str
    path: Path
    mlflow: str
    numbers: Mapping[str, Any]


def report(name: str, *, output: str | Path | None = None, store: str | Path | None = None) -> Report:
    """Write one page about a sweep that needs no network: what it found, what is confirmed, what it cost.

    Nothing is trained and no data are read. The page and its figures are logged to the sweep's run in MLflow too, in
    its folder `report`, over those that are there.

    Args:
        name: Of the sweep.
        output: File to write, whole or not at all; None is NAME.html in the working folder.
        store: Folder of the store.

    Raises:
        CallerError: For an unknown name, a missing store, or a file that cannot be written.
    """
    location = store_location(store)
    with open_store(location, create=False) as opened:
        sweep = opened.sweep(name)
        target = Path(f"{name}.html" if output is None else output)
        refuse_unwritable(target, "report")
        contents = read(opened, sweep, state_of(opened, sweep))
        write_whole(target, page_of(contents, figures_of(contents)).encode(), "report")
        return Report(name, target, _mirrored(opened, location, contents), contents.to_mapping())


def _mirrored(store: Store, location: Location, contents: Contents) -> str:
    """Log page and figures to MLflow, from copies in the store: the caller's own file may go away at once."""
    sweep = contents.sweep
    if not is_tracked(sweep) or not place_of(location, sweep).is_there:
        return OFF

    def leave(writer: Writer) -> None:
        files = write_files(contents, sweep_files(sweep.name, location)["report"].parent)
        writer.enqueue([files_entry(sweep, "report", files)])

    return leave_and_send(store, sweep, leave)
