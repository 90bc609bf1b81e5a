"""Every section says something, whatever there is to say."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape

import pytest
from report_examples import HOSTILE, IMPORTANCE, LIVES, TITLES, confirmed, nothing, searched

from noise_search.reports.contents import Contents, Part
from noise_search.reports.figures import figures_of
from noise_search.reports.html import points
from noise_search.reports.sections import SECTIONS, findings
from noise_search.search.evidence import BEST_RANDOM, NO_NOISE, WINNER
from noise_search.statistics import NonInferiority, PairedDifference


def said(contents: Contents, title: str) -> str:
    """Text of a section, as it is read."""
    html = "".join(SECTIONS[title](contents, figures_of(contents).keys()))
    return unescape(re.sub(r"<[^>]+>", " ", html))


def test_the_sections_are_these_in_this_order() -> None:
    assert list(SECTIONS) == TITLES


NOTHING = {
    "Front": "No trial or control is complete yet",
    "What was confirmed": "Nothing is confirmed",
    "Schedules": "There is no front yet",
    "Robustness": "Nothing is confirmed on held-out kinds",
    "Survival": "No trial has been asked for yet",
    "Importance": "Not known",
    "Overuse": "No trial's noise was called overused",
    "Cost": "Nothing has been trained yet",
    "How it was made": "not begun",
}


@pytest.mark.parametrize("title", TITLES)
def test_a_section_with_nothing_to_show_says_so_in_a_sentence(title: str) -> None:
    assert NOTHING[title] in said(nothing(), title)


@pytest.mark.parametrize(("seeds", "words"), [(1, "Means of 1 seed,"), (3, "Means of 3 seeds,")])
def test_searched_gains_say_of_how_many_seeds_they_are_means(seeds: int, words: str) -> None:
    sweep = searched().sweep
    more = replace(searched(), sweep=replace(sweep, identity={**sweep.identity, "budget.seeds": seeds}))
    assert words in said(more, "Robustness")


def test_the_cost_is_a_row_for_each_part_and_one_for_all() -> None:
    cost = (Part("sweep", 300, 1200, 4.5), Part("confirmation, stage 1", 100, None, 1.25))
    text = " ".join(said(replace(nothing(), cost=cost), "Cost").split())
    for row in ("sweep 300 75 % 1,200 4.5", "confirmation, stage 1 100 25 % not counted 1.2", "all 400 100 % 5.8"):
        assert row in text


def test_where_nothing_is_confirmed_it_is_said_with_the_command_that_does() -> None:
    text = said(searched(), "What was confirmed")
    assert "searched, optimistic" in text
    assert f"noise-search confirm {searched().sweep.name}" in text


def test_the_command_can_be_copied_into_a_shell_whatever_the_name() -> None:
    assert "noise-search confirm 'a; b'" in said(nothing("a; b"), "What was confirmed")


def test_a_confirmation_is_a_table_of_the_winner_against_every_arm() -> None:
    found = confirmed()
    assert found.measured is not None
    text = said(found, "What was confirmed")
    for one in found.measured.evidence.against:
        assert one.arm in text
        for part in (one.robust, one.seen, one.unseen, one.clean):
            assert part is None or points(part) in text
        assert (f"{one.p_adjusted:.3f}" if one.p_adjusted >= 0.0005 else "&lt;0.001") in text
    assert "optimistic" not in text
    assert found.measured.chosen[WINNER] in text


def test_learning_rates_are_a_table_and_a_sentence_where_they_were_checked() -> None:
    found = confirmed()
    assert found.measured is not None
    rates = found.measured.learning_rates
    assert rates is not None
    text = said(found, "What was confirmed")
    for arm, means in rates.means.items():
        assert arm in text
        assert f"{means['robust']:.3f}" in text
    assert f"the winner minus it: {points(rates.difference)} points of robust accuracy" in text
    without = replace(found, measured=replace(found.measured, learning_rates=None))
    assert "learning rates" not in said(without, "What was confirmed")


def interval(low: float, high: float) -> PairedDifference:
    return PairedDifference((low + high) / 2, low, high, 0.5, 4.0, 0.01, 5, 100)


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.01, 0.03, "+2.0 [+1.0, +3.0] points; a gain"),
        (-0.03, -0.01, "\N{MINUS SIGN}3.0, \N{MINUS SIGN}1.0] points; a loss"),
        (-0.01, 0.03, "no difference that these seeds can show"),
    ],
)
def test_gains_of_search_and_of_scheduling_are_sentences(low: float, high: float, words: str) -> None:
    found = confirmed()
    assert found.measured is not None
    old, gap = found.measured.evidence, interval(low, high)
    against = tuple(replace(one, robust=gap) if one.arm == BEST_RANDOM else one for one in old.against)
    new = replace(old, against=against, scheduling=gap, scheduling_against="constant at its mean")
    changed = replace(found, measured=replace(found.measured, evidence=new))
    _, search, scheduling = findings(changed)
    assert search.startswith("Gain of search, over the best of the random policies")
    assert scheduling.startswith("Gain of scheduling, over constant at its mean")
    assert words in search
    assert words in scheduling
    constant = replace(found.measured, evidence=replace(old, scheduling=None, scheduling_against=None))
    assert "the winner's noise is constant" in list(findings(replace(found, measured=constant)))[-1]


@pytest.mark.parametrize(("holds", "words"), [(True, "less than a point is lost"), (False, "is not excluded")])
def test_clean_accuracy_is_said_to_be_kept_or_not(holds: bool, words: str) -> None:
    found = confirmed()
    assert found.measured is not None
    clean = NonInferiority(interval(-0.02, 0.01), 0.01, 0.2, holds)
    changed = replace(found.measured, evidence=replace(found.measured.evidence, clean=clean))
    first = next(iter(findings(replace(found, measured=changed))))
    assert words in first
    assert NO_NOISE in first


def test_a_sweep_that_went_on_since_is_said_to_need_another_confirmation() -> None:
    found = confirmed()
    assert "confirm it again" not in said(found, "What was confirmed")
    trials = [row for row in found.rows if row.control is None]
    more = replace(found, rows=(*found.rows, trials[0]))
    assert f"The sweep had {len(trials)} complete trials then" in said(more, "What was confirmed")


def test_trials_that_ended_early_are_named_with_their_reason() -> None:
    text = said(replace(nothing(), lives=LIVES), "Survival")
    assert "Which ended early, and why (3)" in text
    for reason in [life.reason for life in LIVES if life.reason is not None]:
        assert reason in text


def test_overuse_names_the_trials_and_why() -> None:
    text = said(replace(nothing(), lives=LIVES), "Overuse")
    assert "1 trial " in text
    assert "clean accuracy 4.2 points under no noise" in text


def test_importance_is_said_in_the_sentence_of_the_search() -> None:
    assert IMPORTANCE["sentence"] in said(replace(nothing(), importance=IMPORTANCE), "Importance")


def test_how_it_was_made_has_versions_seeds_and_digests() -> None:
    found = confirmed()
    text = said(found, "How it was made")
    held_out = found.measured.record.settings["held_out"] if found.measured else None
    for words in (found.sweep.digest, str(found.sweep.identity["suite.digest"]), *held_out, "torch 2"):  # type: ignore[misc]
        assert words in text


@pytest.mark.parametrize("title", TITLES)
def test_texts_from_outside_stay_text(title: str) -> None:
    lives = [replace(life, reason=HOSTILE, overuse=HOSTILE) for life in LIVES]
    found = replace(nothing(HOSTILE), lives=tuple(lives))
    html = "".join(SECTIONS[title](found, figures_of(found).keys()))
    assert "<img" not in html
    assert "</script" not in html


def test_survival_shows_no_column_twice_where_every_trial_came_to_the_same_end() -> None:
    lives = (LIVES[0], LIVES[4])
    text = " ".join(said(replace(nothing(), lives=lives), "Survival").split())
    assert "shape complete constant 1 rising 1" in text
