"""The page as a whole: one file that asks for nothing."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import plotly.io
import pytest
from plotly.offline import get_plotlyjs
from report_examples import HOSTILE, LIVES, TITLES, confirmed, nothing, searched

from noise_search.errors import CallerError
from noise_search.reports import page as page_module
from noise_search.reports.contents import Contents
from noise_search.reports.figures import figures_of
from noise_search.reports.html import points
from noise_search.reports.page import page_of, write_files
from noise_search.search.evidence import NO_NOISE, WINNER
from noise_search.search.leads import Lead


class Page(HTMLParser):
    """What a browser would find: headings, addresses to load, tags, places and data of figures."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.headings: list[str] = []
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.drawings: list[str] = []
        self.ids: list[str] = []
        self.title = ""
        self.figures = ""
        self._in = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        self.addresses += [value or "" for key, value in attrs if key in ("src", "href")]
        self.ids += [given["id"] or ""] if "id" in given else []
        self.drawings += [str(given["data-figure"])] if given.get("class") == "drawing" else []
        self._in = "figures" if given.get("id") == "figures" else tag

    def handle_data(self, data: str) -> None:
        if self._in == "h2":
            self.headings.append(data)
        elif self._in == "title":
            self.title += data
        elif self._in == "figures":
            self.figures += data

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002  # as it is called
        self._in = ""


def page(contents: Contents) -> tuple[str, Page]:
    text = page_of(contents, figures_of(contents))
    return text, Page(text)


CASES = pytest.mark.parametrize("case", ["confirmed", "searched", "nothing", "hostile"])


def contents(case: str) -> Contents:
    match case:
        case "confirmed":
            return confirmed()
        case "searched":
            return searched()
        case "nothing":
            return nothing()
    return replace(nothing(HOSTILE), lives=tuple(replace(life, reason=HOSTILE, overuse=HOSTILE) for life in LIVES))


@CASES
def test_every_section_is_there_and_nothing_is_loaded_from_anywhere(case: str) -> None:
    text, found = page(contents(case))
    assert found.headings == TITLES
    assert all(address.startswith("#") for address in found.addresses)
    assert not {"link", "img", "iframe", "b"} & set(found.tags)
    assert found.tags.count("script") == 3  # data, Plotly, and what draws
    assert text.count(get_plotlyjs()) == 1
    assert found.title == f"{contents(case).sweep.name}: noise_search"


@CASES
def test_every_figure_has_its_place_and_its_data(case: str) -> None:
    _, found = page(contents(case))
    assert set(found.drawings) == json.loads(found.figures).keys() == figures_of(contents(case)).keys()
    assert len(set(found.ids)) == len(found.ids)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("running", "The sweep is running"),
        ("interrupted", "The sweep was interrupted"),
        ("out_of_time", "The sweep used up its budget.minutes"),
        ("out_of_time", "<p>out of time; of"),
        ("failed", "The sweep failed"),
    ],
)
def test_a_sweep_that_has_not_ended_is_said_not_to(state: str, words: str) -> None:
    assert words in page(replace(searched(), state=state))[0]
    assert words not in page(searched())[0]


def test_the_same_contents_give_the_same_page() -> None:
    assert page(confirmed())[0] == page(confirmed())[0]


def test_files_are_the_page_and_every_figure_as_plotly_reads_it(tmp_path: Path) -> None:
    files = write_files(confirmed(), tmp_path / "report")
    assert files[0].name == "report.html"
    assert files[0].read_text(encoding="utf-8") == page(confirmed())[0]
    drawn = {file.stem: plotly.io.from_json(file.read_text(encoding="utf-8")) for file in files[1:]}
    assert drawn.keys() == figures_of(confirmed()).keys()
    assert all(len(figure.data) > 0 for figure in drawn.values())


def test_a_folder_that_cannot_be_written_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "report.html").mkdir()
    with pytest.raises(CallerError, match=re.escape("cannot write the report")):
        write_files(searched(), tmp_path)


def _luminance(colour: np.ndarray) -> float:
    """Relative luminance of red, green and blue in [0, 1]; WCAG 2.2."""
    linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def _rgb(text: str) -> np.ndarray:
    return np.array([int(text[at : at + 2], 16) / 255 for at in (1, 3, 5)])


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_digits_can_be_read_on_every_colour_of_a_heat_map(theme: str) -> None:
    script = (Path(page_module.__file__).parent / "page.js").read_text()
    (line,) = re.findall(rf"^  {theme}: .*$", script, flags=re.MULTILINE)
    colours = dict(re.findall(r'(\w+): "(#\w+)"', line))
    stops = [_rgb(text) for text in re.findall(r"#\w{6}", line.partition("scale")[2])]
    between = [a + share * (b - a) for a, b in pairwise(stops) for share in np.linspace(0, 1, 21)]
    pairs = [sorted((_luminance(_rgb(colours["ink"])), _luminance(cell))) for cell in between]
    assert min((high + 0.05) / (low + 0.05) for low, high in pairs) >= 4.5  # what WCAG asks of text


def test_the_header_says_where_the_best_control_is_no_worse_than_the_best_trial() -> None:
    ahead = Lead("constant_4", 0.84, -0.002, 0.03, 360)
    words = (
        "Control constant_4 scores 0.840, 0.002 more: a difference that says nothing; it was searched on validation."
    )
    assert words in page(replace(searched(), lead=ahead))[0]
    assert "constant_4 scores" not in page(replace(searched(), lead=replace(ahead, by=0.2)))[0]


def test_the_header_names_the_confirmed_winner_and_its_gain_over_no_noise() -> None:
    found = confirmed()
    assert found.measured is not None
    header = page(found)[0].partition("<nav>")[0]
    gain = points(found.measured.evidence.over(NO_NOISE).robust)
    assert f"Confirmed winner: {found.measured.chosen[WINNER]}, {gain} points" in header
    assert "Confirmed winner" not in page(searched())[0].partition("<nav>")[0]
