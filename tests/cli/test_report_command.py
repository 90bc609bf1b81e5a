"""`noise-search report`: where the page is, what it says as JSON, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_runs import Refused, Run, here
from sweep_examples import BUDGET, NAME, finished_store


def test_it_writes_the_page_and_says_where(ns: Run, tmp_path: Path) -> None:
    code, out, said = ns("report", NAME, "--store", str(finished_store()))
    assert (code, out, said) == (0, f"wrote {NAME}.html\n", [])
    assert here() == [f"{NAME}.html"]
    page = tmp_path / "other.html"
    code, out, _ = ns("report", NAME, "--store", str(finished_store()), "-o", str(page))
    assert (code, out) == (0, f"wrote {page}\n")
    assert page.read_bytes() == Path(f"{NAME}.html").read_bytes()


def test_as_json_it_gives_the_numbers_of_the_page(ns: Run) -> None:
    code, out, _ = ns("report", NAME, "--store", str(finished_store()), "--json")
    found = json.loads(out)
    assert (code, found["path"], found["mlflow"]) == (0, f"{NAME}.html", "off")
    assert found["numbers"]["trials"]["complete"] == BUDGET
    assert found["numbers"]["evidence"] is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(("tinny",), "did you mean 'tiny'"), ((NAME, "-o", "missing/page.html"), "expected the folder missing, got none")],
)
def test_mistakes_are_named_and_nothing_is_written(refused: Refused, arguments: tuple[str, ...], words: str) -> None:
    (mistake,) = refused("report", *arguments, "--store", str(finished_store()))
    assert words in mistake
