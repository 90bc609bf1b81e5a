"""What a sweep leaves, looked at in a real browser: MLflow's pages of its runs, and its page of figures."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from browser import Watched, colours, open_browser, open_page
from mlflow_pages import (
    charts,
    choose_columns,
    errors,
    frame,
    heights,
    open_file,
    open_pages,
    open_run,
    table,
    unfold,
)
from playwright.sync_api import Browser, expect
from sweep_examples import NAME, drive, put_tracking_database

from noise_search.commands import Pages, ui
from noise_search.search.fronts import FrontRow, complete_rows
from noise_search.store import locate, open_store

EPOCHS = 5
RISING = (
    "space=gaussian",
    "space.terms.inputs.schedule.choices=[linear]",
    "+space.terms.inputs.schedule.linear={a:0,b:1,start:0,stop:1}",
    f"train.epochs={EPOCHS}",
    "budget.trials=2",
    "tracking.enabled=true",
)
METRICS = ("clean", "robust", "score")
DRAWN = 50  # colours, of lines and letters with smooth edges; a box in which nothing is drawn has one

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Store with a real sweep of Gaussian noise that rises from nothing to its magnitude, and its mirror."""
    folder = tmp_path_factory.mktemp("store")
    put_tracking_database(folder)
    assert drive(folder, *RISING).state == "complete"
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def pages(store: Path) -> Iterator[Pages]:
    """MLflow's, as `noise-search ui NAME` serves them."""
    with ui(NAME, store=store) as served:
        yield served


@pytest.fixture
def watched(browser: Browser, pages: Pages) -> Iterator[Watched]:
    """A page for MLflow's, in which nothing may go wrong that MLflow itself does not always report."""
    with open_pages(browser, pages.address) as opened:
        yield opened
        assert errors(opened) == []
        assert [url for url in opened.requests if not _is_local(url, pages.address)] == []


def _is_local(url: str, address: str) -> bool:
    return url.startswith((f"{address}/", f"blob:{address}/", "data:"))


def rows(store: Path) -> list[FrontRow]:
    """Every trial and control as the store has it."""
    with open_store(locate(store), create=False) as opened:
        return complete_rows(opened, opened.sweep(NAME).id)


def name(row: FrontRow) -> str:
    return f"trial {row.trial}" if row.control is None else f"control {row.control}"


def test_the_sweep_unfolds_to_its_trials_and_controls_with_their_scores(
    pages: Pages, watched: Watched, store: Path
) -> None:
    watched.page.goto(str(pages.trials))
    unfold(watched.page, NAME)
    choose_columns(watched.page, METRICS)
    parent, *children = table(watched.page, METRICS).items()
    assert parent[0] == NAME
    scores: Mapping[str, list[float]] = {name(row): [row.clean, row.robust, row.score] for row in rows(store)}
    assert len(scores) == 2 + 3  # trials, and the controls no noise, constant and random
    assert {child: [float(text) for text in texts] for child, texts in children} == {
        child: pytest.approx(values, abs=1e-12) for child, values in scores.items()
    }


def test_a_magnitude_is_drawn_as_its_schedule_moves(pages: Pages, watched: Watched) -> None:
    watched.page.goto(str(pages.trials))
    unfold(watched.page, NAME)
    open_run(watched.page, "trial 0")
    drawn = charts(watched.page, "magnitude/", ["magnitude/inputs.gaussian"])
    expect(drawn.locator(".points path")).to_have_count(EPOCHS)
    # A linear rise over all of training has means by epoch that are equally far apart: in pixels too.
    found = heights(drawn)
    steps = [after - before for before, after in itertools.pairwise(found)]
    assert steps[0] > 10
    assert steps == pytest.approx([steps[0]] * (EPOCHS - 1), abs=0.05)
    assert colours(drawn) > DRAWN


def test_the_link_of_a_sweep_leads_to_its_run_and_from_there_to_its_card(
    pages: Pages, watched: Watched, store: Path
) -> None:
    watched.page.goto(pages.sweep)
    expect(watched.page.get_by_role("heading", name=NAME)).to_be_visible()
    open_file(watched.page, "card", "card.yaml")
    card = (store / "sweeps" / NAME / "card.yaml").read_text(encoding="utf-8")
    said = watched.page.locator("pre, code").first
    expect(said).to_contain_text("kind: linear")
    assert said.inner_text().split() == card.split()


def test_the_report_of_a_sweep_is_drawn_within_its_run(pages: Pages, watched: Watched, store: Path) -> None:
    watched.page.goto(pages.sweep)
    open_file(watched.page, "report", "report.html")
    expect(frame(watched.page).get_by_role("heading", name="What was confirmed")).to_be_visible()
    front = frame(watched.page).locator("#figure-front")
    marks = front.locator(".points path")
    expect(marks.nth(len(rows(store)))).to_be_attached()  # one more than rows: the marks of what was picked
    assert colours(front) > DRAWN


def test_a_page_that_fails_asks_the_network_or_shows_nothing_is_found_out(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text(
        '<!doctype html><div id="empty" style="width:90px;height:90px"></div><script>console.error("said")</script>'
        '<img src="http://127.0.0.1:9/picture.png" alt=""><script>throw new Error("thrown")</script>',
        encoding="utf-8",
    )
    with open_page(browser) as watched:
        watched.page.goto(page.as_uri())
        assert {"said", "thrown"} <= {error.rpartition(": ")[2] for error in errors(watched)}
        assert watched.requests == [page.as_uri(), "http://127.0.0.1:9/picture.png"]
        assert colours(watched.page.locator("#empty")) == 1
