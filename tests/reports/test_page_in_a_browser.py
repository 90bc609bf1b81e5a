"""The page in a real browser: every figure is drawn, nothing is asked for, and dark is dark."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from browser import Watched, colours, open_browser, open_page
from playwright.sync_api import Browser, expect
from report_examples import HOSTILE, IMPORTANCE, LIVES, TITLES, confirmed, nothing

from noise_search.reports.contents import Contents
from noise_search.reports.figures import FIGURES, figures_of
from noise_search.reports.page import page_of

DRAWN = 50  # colours, of lines and letters with smooth edges; a box in which nothing is drawn has one
BACKGROUND = "getComputedStyle(document.body).backgroundColor"
LIGHT, DARK = "rgb(255, 255, 255)", "rgb(20, 24, 29)"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.fixture
def watched(browser: Browser) -> Iterator[Watched]:
    """A page in which nothing may go wrong, and which asks for nothing but itself."""
    with open_page(browser) as opened:
        yield opened
        assert opened.errors == []
        assert [url for url in opened.requests if not url.startswith(("data:", "blob:"))] == [opened.page.url]


def shown(watched: Watched, contents: Contents, folder: Path) -> Watched:
    file = folder / "page.html"
    file.write_text(page_of(contents, figures_of(contents)), encoding="utf-8")
    watched.page.goto(file.as_uri())
    return watched


def everything() -> Contents:
    return replace(confirmed(), importance=IMPORTANCE, lives=LIVES)


def test_every_heading_is_there_and_every_figure_is_drawn_in_light_and_in_dark(
    watched: Watched, tmp_path: Path
) -> None:
    page = shown(watched, everything(), tmp_path).page
    for title in TITLES:
        expect(page.get_by_role("heading", name=title, exact=True)).to_be_visible()
    for background in (LIGHT, DARK):
        assert page.evaluate(BACKGROUND) == background
        for name in FIGURES:
            drawing = page.locator(f"#figure-{name}")
            expect(drawing.locator(".main-svg").first).to_be_visible()
            assert colours(drawing) > DRAWN, name
        page.get_by_role("button", name="light or dark").click()
    assert page.evaluate(BACKGROUND) == LIGHT


def test_it_follows_the_system_into_the_dark_and_its_figures_too(watched: Watched, tmp_path: Path) -> None:
    page = shown(watched, everything(), tmp_path).page
    letters = page.locator("#figure-front .xtick text").first
    before = letters.evaluate("text => getComputedStyle(text).fill")
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(BACKGROUND) == DARK
    expect(letters).not_to_have_css("fill", before)


def test_on_paper_it_is_light(watched: Watched, tmp_path: Path) -> None:
    page = shown(watched, everything(), tmp_path).page
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(BACKGROUND) == DARK
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate(BACKGROUND) == LIGHT


def test_on_a_narrow_screen_nothing_sticks_out(watched: Watched, tmp_path: Path) -> None:
    watched.page.set_viewport_size({"width": 400, "height": 800})
    page = shown(watched, everything(), tmp_path).page
    expect(page.locator("#figure-cost .main-svg").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 400


def test_a_point_says_the_magnitude_with_its_unit_under_the_pointer(watched: Watched, tmp_path: Path) -> None:
    page = shown(watched, everything(), tmp_path).page
    plot = page.locator("#figure-schedules .nsewdrag").first
    plot.scroll_into_view_if_needed()
    plot.hover()
    expect(page.locator("#figure-schedules .hoverlayer")).to_contain_text("magnitude")


def test_a_hostile_name_is_shown_and_does_nothing(watched: Watched, tmp_path: Path) -> None:
    page = shown(watched, nothing(HOSTILE), tmp_path).page
    expect(page.get_by_role("heading", level=1)).to_have_text(HOSTILE)
    assert page.locator("img").count() == 0
