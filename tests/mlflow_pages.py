"""MLflow's pages of a sweep in a real browser: opened, waited for and read as a person would.

Names of the runs, of the metrics and of the tabs are what a person reads; what has no name there is found by the
test ids and classes of MLflow 3.17 and its plotting library.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from browser import Watched, open_page
from playwright.sync_api import Browser, FrameLocator, Locator, Page, StorageState, expect

# What MLflow itself reports in every page, also of a database without a sweep:
ITS_OWN = (
    # it asks who has logged in, which a server without passwords does not know;
    "/ajax-api/2.0/mlflow/users/current: Failed to load resource: the server responded with a status of 404",
    # a notice of the browser's that some layout takes one frame more.
    "ResizeObserver loop completed with undelivered notifications.",
)
# Otherwise the first page that is opened comes with a chat unfolded over a third of it.
_CHAT_WAS_SHOWN = "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1"
_PLACES = "cells => cells.map(cell => [cell.closest('[row-index]').getAttribute('row-index'), cell.innerText])"
_POINTS = "points => points.map(point => point.transform.baseVal.consolidate().matrix).map(at => [at.e, at.f])"
USUAL_COLUMNS = ("Dataset", "Source", "Models")


@contextmanager
def open_pages(browser: Browser, address: str) -> Iterator[Watched]:
    """A page in which MLflow's are to be opened, as if its chat had been closed before."""
    remembered: StorageState = {
        "cookies": [],
        "origins": [{"origin": address, "localStorage": [{"name": _CHAT_WAS_SHOWN, "value": "true"}]}],
    }
    with open_page(browser, remembered=remembered) as watched:
        yield watched


def errors(watched: Watched) -> list[str]:
    """What went wrong in the pages, without what MLflow always reports."""
    return [error for error in watched.errors if not any(own in error for own in ITS_OWN)]


def unfold(page: Page, run: str) -> None:
    """Press [+] before a run in the table of runs, and wait for its children."""
    cell = page.get_by_role("gridcell").filter(has=page.get_by_role("link", name=run, exact=True))
    names = _names(page)
    expect(cell).to_be_visible()
    before = names.count()
    cell.get_by_role("button").click()
    expect(names).not_to_have_count(before)


def choose_columns(page: Page, added: Sequence[str], removed: Sequence[str] = USUAL_COLUMNS) -> None:
    """Show other columns in the table of runs, through its menu."""
    page.get_by_role("button", name="Columns").click()
    tree = page.get_by_test_id("column-selector-tree")
    for column in (*removed, *added):
        page.get_by_placeholder("Search columns").fill(column)
        tree.locator("span[title]").filter(has_text=re.compile(f"^{re.escape(column)}$")).click()
    page.keyboard.press("Escape")
    expect(tree).to_be_hidden()


def table(page: Page, columns: Sequence[str]) -> dict[str, list[str]]:
    """What the table of runs says in some columns of metrics, by the name of the run, from the top."""

    def places(cell: Locator) -> dict[int, str]:
        """Texts of one kind of cell by the number of their row, which comes in pieces of a table."""
        expect(cell.first).to_be_visible()
        found = cell.evaluate_all(_PLACES)
        return {int(row): text.strip() for row, text in found}

    names = places(_names(page))
    cells = [places(page.locator(f"[role=gridcell][col-id='metrics.`{column}`']")) for column in columns]
    return {names[row]: [texts[row] for texts in cells] for row in sorted(names)}


def _names(page: Page) -> Locator:
    """Names of the runs in the table."""
    return page.locator("[role=row][row-index]").get_by_role("link")


def open_run(page: Page, name: str) -> None:
    """Follow the link of a run in the table of runs."""
    page.get_by_role("link", name=name, exact=True).click()
    expect(page.get_by_role("heading", name=name)).to_be_visible()


def charts(page: Page, search: str, metrics: Sequence[str]) -> Locator:
    """Charts of metrics on the page of a run, drawn: its tab of charts is opened and searched for just these."""
    page.get_by_role("tab", name="Model metrics").click()
    page.get_by_role("searchbox").fill(search)
    drawn = page.locator(".js-plotly-plot")
    expect(drawn).to_have_count(len(metrics))
    for place, metric in enumerate(metrics):
        expect(page.get_by_text(f"({metric})")).to_be_visible()  # its legend
        expect(drawn.nth(place).locator(".points path").first).to_be_visible()
    return drawn


def heights(drawn: Locator) -> list[float]:
    """Heights of a chart's points over its lower edge, in pixels, from left to right."""
    moved = drawn.locator(".points path").evaluate_all(_POINTS)
    return [-y for _, y in sorted(moved)]


def open_file(page: Page, folder: str, file: str) -> None:
    """Open a file on the page of a run: the tab of files, its folder, and the file itself."""
    page.get_by_role("tab", name="Artifacts").click()
    page.get_by_text(folder, exact=True).click()
    page.get_by_text(file, exact=True).click()
    expect(page.get_by_text(f"{folder}/{file}", exact=True)).to_be_visible()


def frame(page: Page) -> FrameLocator:
    """The page inside the page in which MLflow shows an HTML file."""
    return page.frame_locator("iframe.mlflow-html-iframe")
