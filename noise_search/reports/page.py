"""One page for a sweep: HTML with everything in it, style, script, Plotly and data; it asks no network for anything."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from pathlib import Path

from noise_search.files import write_whole
from noise_search.reports.contents import Contents
from noise_search.reports.figures import Figure, figures_of
from noise_search.reports.html import anchor, embedded, paragraph, points, section
from noise_search.reports.sections import SECTIONS
from noise_search.search.evidence import NO_NOISE
from noise_search.search.leads import lead_text

PAGE = "report.html"
_HERE = Path(__file__).parent
# Nothing is loaded, whatever a name or a reason in the page may say.
_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
_STATES = {
    "running": "The sweep is running: this is how it stood when the page was written.",
    "interrupted": "The sweep was interrupted and can go on; this is what there is of it.",
    "out_of_time": "The sweep used up its budget.minutes and can go on with more; this is what there is of it.",
    "failed": "The sweep failed; this is what there is of it.",
}


def page_of(contents: Contents, figures: Mapping[str, Figure]) -> str:
    """The page as text.

    Args:
        contents: What it says.
        figures: By name, as `figures.figures_of` makes them.
    """
    from plotly.offline import get_plotlyjs  # heavy for those who want no page

    name = escape(contents.sweep.name)
    links = "".join(f'<a href="#{anchor(title)}">{escape(title)}</a>' for title in SECTIONS)
    parts = [section(title, make(contents, figures.keys())) for title, make in SECTIONS.items()]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{name}: noise_search</title><style>{_asset('page.css')}</style></head><body>"
        f'<header><h1>{name}</h1><button id="theme" type="button">light or dark</button></header>'
        f"{paragraph(standing(contents))}{_confirmed(contents)}{_warning(contents)}<nav>{links}</nav>"
        "<noscript><p>Figures need JavaScript; the tables do not.</p></noscript>"
        f"<main>{''.join(parts)}</main>"
        f'<script type="application/json" id="figures">{embedded(figures)}</script>'
        f"<script>{get_plotlyjs()}</script><script>{_asset('page.js')}</script></body></html>\n"
    )


def write_files(contents: Contents, folder: Path) -> list[Path]:
    """Write the page and, as Plotly's own JSON, every figure of it; returns where they lie, the page first.

    Raises:
        CallerError: The folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    figures = figures_of(contents)
    files = {PAGE: page_of(contents, figures)} | {f"{name}.json": json.dumps(one) for name, one in figures.items()}
    for name, text in files.items():
        write_whole(folder / name, text.encode(), "report")
    return [folder / name for name in files]


def standing(contents: Contents) -> str:
    """How the sweep stands, in a sentence."""
    numbers, sweep = contents.numbers, contents.sweep
    best = (
        ""
        if numbers["best"] is None
        else f", the best score {numbers['best']['score']:.3f} (trial {numbers['best']['trial']})"
    )
    counts = ", ".join(f"{count} {state}" for state, count in numbers["trials"].items() if count) or "none yet"
    said = None if contents.lead is None else lead_text(contents.lead)
    caution = "" if said is None else f" {said[0].upper()}{said[1:]}; it was searched on validation."
    return f"{contents.state.replace('_', ' ')}; of {sweep.budget_trials} trials {counts}{best}.{caution}"


def _confirmed(contents: Contents) -> str:
    """Who won, and by how much over no noise; nothing where nothing is confirmed."""
    if contents.measured is None:
        return ""
    gain = points(contents.measured.evidence.over(NO_NOISE).robust)
    where = f"confirmation {contents.measured.record.number}, test split"
    return paragraph(f"Confirmed winner: {contents.winner}, {gain} points more robust than no noise ({where}).")


def _warning(contents: Contents) -> str:
    said = _STATES.get(contents.state)
    return "" if said is None else paragraph(said, kind="warning")


def _asset(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")
