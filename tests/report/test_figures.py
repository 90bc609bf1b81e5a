from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from sweep_examples import NAME, finished_store

from noise_search.commands import front
from noise_search.report.figures import front_figure, schedule_figure, sweep_page
from noise_search.search.fronts import FrontRow, complete_rows
from noise_search.search.pick import pick_row
from noise_search.store import locate, open_store

LATE: list[dict[str, object]] = [
    {
        "site": "inputs", "noise": "gaussian", "magnitude": 0.4, "fraction": 1.0, "level": "fixed",
        "schedule": {"kind": "linear", "a": 0.0, "b": 0.5, "start": 0.0, "stop": 1.0},
    },
    {
        "site": "weights", "noise": "relative", "magnitude": 0.0, "fraction": 1.0, "level": "fixed",
        "schedule": {"kind": "constant"},
    },
]  # fmt: skip


def rows() -> list[FrontRow]:
    """Every trial and control of the finished sweep."""
    with open_store(locate(finished_store()), create=False) as store:
        return complete_rows(store, store.sweep(NAME).id)


def row(policy: list[dict[str, object]]) -> FrontRow:
    """Trial 4 with this policy."""
    return FrontRow(4, None, 0.9, 0.6, 0.5, 0.8, 0.75, True, policy)


class _Sources(HTMLParser):
    """Every address that a page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.found += [value or "" for key, value in attrs if key in ("src", "href")]


def test_the_page_loads_nothing_from_anywhere(tmp_path: Path) -> None:
    sweep_page(NAME, rows(), pick_row(rows(), "best"), tmp_path / "page.html")
    page = _Sources()
    page.feed((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert page.found == []
    assert page.tags.count("html") == page.tags.count("body") == 1
    assert "link" not in page.tags


def test_the_page_shows_every_trial_and_control(tmp_path: Path) -> None:
    sweep_page(NAME, rows(), pick_row(rows(), "best"), tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    for one in rows():
        assert f'"{one.control or f"trial {one.trial}"}"' in text
    assert f"<title>{NAME}</title>" in text


def test_the_page_a_sweep_writes_is_the_one_of_its_rows(tmp_path: Path) -> None:
    sweep_page(NAME, rows(), pick_row(rows(), "best"), tmp_path / "page.html")
    written = finished_store() / "sweeps" / NAME / "front.html"
    assert written.read_bytes() == (tmp_path / "page.html").read_bytes()


def test_points_stand_at_clean_and_robust_by_what_they_are() -> None:
    picked = pick_row(rows(), "best")
    lines = {line.name: line for line in front_figure(NAME, rows(), picked).data}
    shown = {name: list(zip(line.x, line.y, line.text, strict=True)) for name, line in lines.items()}
    on_front = {
        (one.clean, one.robust, f"trial {one.trial}") for one in front(NAME, store=finished_store()) if not one.control
    }
    others = {(r.clean, r.robust, f"trial {r.trial}") for r in rows() if r.control is None and not r.on_front}
    assert set(shown["front"]) == on_front
    assert set(shown["trials"]) == others
    assert set(shown["controls"]) == {(r.clean, r.robust, r.control) for r in rows() if r.control}
    assert shown["picked"] == [(picked.clean, picked.robust, f"trial {picked.trial}")]
    assert list(lines["front"].x) == sorted(lines["front"].x)


def test_the_front_says_that_it_was_searched_and_on_what() -> None:
    title = front_figure(NAME, rows(), None).layout.title.text
    assert "validation" in title
    assert "optimistic" in title


def test_curves_are_the_schedules_as_shares_of_their_largest_magnitude() -> None:
    figure = schedule_figure(row(LATE))
    gaussian, relative = figure.data
    # 0.4 * 0.5 t, of which the largest is 0.2: t itself.
    assert list(gaussian.y) == pytest.approx(list(gaussian.x), abs=1e-12)
    assert (gaussian.x[0], gaussian.x[-1]) == (0.0, 1.0)
    assert gaussian.name == "inputs.gaussian (largest 0.2)"
    assert set(relative.y) == {0.0}


def test_a_policy_without_noise_has_a_page_too(tmp_path: Path) -> None:
    clean = row([])
    sweep_page(NAME, [clean], clean, tmp_path / "page.html")
    assert re.search("trial 4: no noise at all", (tmp_path / "page.html").read_text(encoding="utf-8"))
    assert len(schedule_figure(clean).data) == 0


def test_a_sweep_without_a_complete_trial_has_a_page_of_its_controls(tmp_path: Path) -> None:
    controls = [one for one in rows() if one.control]
    sweep_page(NAME, controls, None, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert '"no_noise"' in text
    assert "figure-1" not in text
