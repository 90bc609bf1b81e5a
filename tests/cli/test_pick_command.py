"""`noise-search pick` and `cards`: what they print and write, and what they refuse."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from cli_runs import Refused, Run
from confirm_examples import confirmed_store
from sweep_examples import NAME, finished_store


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Store with the tiny sweep, of this test alone."""
    return Path(shutil.copytree(finished_store(), tmp_path / "store"))


def test_pick_prints_the_card_or_writes_it_and_says_what_its_numbers_are(ns: Run, store: Path) -> None:
    code, out, errors = ns("pick", NAME, "--store", str(store))
    assert code == 0
    assert errors[0].endswith("(searched on validation: optimistic)")
    assert errors[1:] == [
        f"confirm with: noise-search confirm {NAME} --rule best --store {store}",
        f"registered as {NAME} version 1",
    ]
    printed = yaml.safe_load(out)
    assert set(printed) == {"version", "terms", "context", "evidence", "rescale", "not_for"}
    code, out, _ = ns("pick", NAME, "--rule", "best", "-o", "card.yaml", "--store", str(store))
    assert (code, out) == (0, "wrote card.yaml\n")
    assert yaml.safe_load(Path("card.yaml").read_text()) == printed
    code, out, errors = ns("pick", NAME, "--json", "--store", str(store))
    assert (code, errors) == (0, [])
    found = json.loads(out)
    assert found["card"] == printed
    assert found["picked"]["trial"] == printed["context"]["trial"]
    assert (found["kind"], found["version"], found["model"]) == ("searched", 1, None)


def test_a_confirmed_pick_shows_what_was_measured(ns: Run, tmp_path: Path) -> None:
    folder, outcome = confirmed_store()
    store = shutil.copytree(folder, tmp_path / "store")
    code, _, errors = ns("pick", NAME, "--store", str(store))
    assert code == 0
    winner = outcome.evidence.means["winner"]
    assert errors[0].startswith(f"{outcome.choice['chosen']['winner']} by best: clean {winner['clean']:.3f} [")
    assert f"robust {winner['robust']:.3f} [" in errors[0]
    assert errors[0].endswith("(confirmed on test, suite digits_held_out, 2 seeds, confirmation 1)")
    gain = outcome.evidence.over("no noise").robust
    assert errors[1].startswith(f"against no noise: robust {100 * gain.mean:+.1f} [")
    p_value = outcome.evidence.over("no noise").p_adjusted
    assert errors[1].endswith(f"points, p {f'{p_value:.3f}' if p_value >= 0.0005 else '<0.001'}")
    rival = outcome.evidence.over("best constant").robust
    assert errors[2].startswith(f"against best constant: robust {100 * rival.mean:+.1f} [")
    assert errors[3:] == [f"registered as {NAME} version 1"]


def test_cards_are_listed_and_written_out_again(ns: Run, store: Path) -> None:
    code, out, _ = ns("cards", "--store", str(store))
    assert (code, out) == (0, "nothing yet\n")
    _, picked, _ = ns("pick", NAME, "--rule", "knee", "--store", str(store))
    code, out, _ = ns("cards", NAME, "--store", str(store))
    assert code == 0
    assert [word in out for word in (NAME, "knee", "searched")] == [True] * 3
    code, out, errors = ns("cards", "--json", "--store", str(store))
    (one,) = json.loads(out)
    assert (code, errors, one["version"], one["rule"]) == (0, [], 1, "knee")
    assert ns("cards", NAME, "--version", "1", "--store", str(store))[:2] == (0, picked)
    code, out, _ = ns("cards", NAME, "--version", "1", "-o", "card.yaml", "--store", str(store))
    assert (code, out, Path("card.yaml").read_text()) == (0, "wrote card.yaml\n", picked)
    code, out, _ = ns("cards", NAME, "--version", "1", "--json", "--store", str(store))
    assert json.loads(out) == yaml.safe_load(picked)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("cards", "--version", "1"), "cards: expected NAME with --version, got none"),
        (("cards", NAME, "-o", "x.yaml"), "cards: expected --version with --output, got none; noise-search cards NAME"),
        (("cards", NAME, "--version", "1"), f"cards: expected a registered card of {NAME}, got none"),
        (("cards", NAME, "--version", "x"), "noise-search cards: argument --version: invalid int value: 'x'"),
        (("pick", NAME, "--rule", "trial=x"), "pick rule trial: expected the number of a trial, got 'x'"),
        (("pick", NAME, "--rule", "max-drop=0"), "pick rule max-drop: expected a bound that a trial on the front"),
    ],
)
def test_mistakes_are_named_in_one_line(arguments: tuple[str, ...], line: str, refused: Refused, store: Path) -> None:
    (said,) = refused(*arguments, "--store", str(store))
    assert said.startswith(line)
