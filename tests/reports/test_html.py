"""Pieces of pages: whatever comes from outside stays text."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import pytest
from report_examples import HOSTILE

from noise_search.reports.html import command, drawing, embedded, folded, paragraph, points, section, table
from noise_search.statistics import PairedDifference


class Read(HTMLParser):
    """Tags and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002  # as it is called
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize(
    ("page", "tags"),
    [
        (paragraph(HOSTILE), ["p"]),
        (command("do", HOSTILE), ["p", "code"]),
        (table([{HOSTILE: HOSTILE}]), ["div", "table", "thead", "tr", "th", "tbody", "tr", "td"]),
        (drawing("front", HOSTILE), ["figure", "figcaption", "div"]),
        (folded(HOSTILE, ""), ["details", "summary"]),
        (section(HOSTILE, []), ["section", "h2"]),
    ],
)
def test_what_looks_like_a_page_is_shown_as_it_is_written(page: str, tags: list[str]) -> None:
    found = Read(page)
    assert found.tags == tags
    assert HOSTILE in found.text


def test_data_within_a_script_cannot_end_it_and_come_back_as_they_were() -> None:
    text = embedded({"name": HOSTILE, "line": "\u2028<!--"})
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {"name": HOSTILE, "line": "\u2028<!--"}


def test_a_number_that_json_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        embedded({"x": float("nan")})


def test_differences_are_in_points_with_a_sign_and_their_interval() -> None:
    assert points(PairedDifference(-0.0512, -0.0924, -0.01, 0.02, 4.0, 0.01, 5, 100)) == (
        "\N{MINUS SIGN}5.1 [\N{MINUS SIGN}9.2, \N{MINUS SIGN}1.0]"
    )


def test_a_table_without_rows_is_nothing() -> None:
    assert table([]) == ""
