"""Pieces of a page: everything that is shown comes from outside and is escaped here."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from noise_search.statistics import PairedDifference, points_text

# What ends a script, or begins a comment in it, within data.
_OF_SCRIPTS = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
_NUMBER = frozenset("0123456789+-.,%[] e\N{MINUS SIGN}")


def paragraph(text: str, *, kind: str = "") -> str:
    """A paragraph of plain text.

    >>> paragraph("1 < 2")
    '<p>1 &lt; 2</p>'
    """
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def command(before: str, words: str, after: str = "") -> str:
    """A paragraph with a command in it."""
    return f"<p>{escape(before)} <code>{escape(words)}</code>{escape(after)}</p>"


def table(rows: Sequence[Mapping[str, str]]) -> str:
    """A table of rows with the same keys; numbers keep to one line."""
    if not rows:
        return ""
    head = "".join(f"<th>{escape(key)}</th>" for key in rows[0])
    body = "".join(f"<tr>{''.join(_cell(text) for text in row.values())}</tr>" for row in rows)
    return f'<div class="table"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(text: str) -> str:
    kind = "number" if set(text) <= _NUMBER else "text" if len(text) > 24 else ""
    return f'<td class="{kind}">{escape(text)}</td>' if kind else f"<td>{escape(text)}</td>"


def pairs(rows: Mapping[str, object]) -> str:
    """A table of names and what they are."""
    return table([{"what": name, "value": str(value)} for name, value in rows.items()])


def folded(summary: str, content: str) -> str:
    """Content that is shown when somebody asks for it."""
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def drawing(name: str, caption: str) -> str:
    """Place of a figure."""
    place = f'<div class="drawing" id="figure-{escape(name)}" data-figure="{escape(name)}"></div>'
    return f"<figure><figcaption>{escape(caption)}</figcaption>{place}</figure>"


def section(title: str, parts: Iterable[str]) -> str:
    """A section with its heading."""
    return f'<section id="{escape(anchor(title))}"><h2>{escape(title)}</h2>{"".join(parts)}</section>'


def anchor(title: str) -> str:
    """Where a link to a section leads.

    >>> anchor("What was confirmed")
    'what-was-confirmed'
    """
    return title.lower().replace(" ", "-")


def embedded(data: object) -> str:
    """JSON that can stand in a script of a page, whatever it says.

    >>> embedded({"name": "</script>"})
    '{"name":"\\\\u003c/script\\\\u003e"}'
    """
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    for character, written in _OF_SCRIPTS.items():
        text = text.replace(character, written)
    return text


def points(found: PairedDifference) -> str:
    """A difference in points with its interval.

    >>> points(PairedDifference(0.0512, -0.01, 0.0924, 0.02, 4.0, 0.01, 5, 100))
    '+5.1 [−1.0, +9.2]'
    """  # noqa: RUF002  # a minus sign, as it is printed
    return points_text(found.mean, found.low, found.high).replace("-", "\N{MINUS SIGN}")
