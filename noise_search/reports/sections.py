"""Sections of a page: each is always there, with a plain sentence where it has nothing to show."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import torch

import noise_search
from noise_search.corruptions.suites import uncalibrated
from noise_search.policy import policy_to_list
from noise_search.policy.words import policy_text
from noise_search.reports.contents import Contents, Life, Part, ended_early, seeds_of_trials
from noise_search.reports.figures import drawn_policies
from noise_search.reports.html import command, drawing, folded, pairs, paragraph, points, table
from noise_search.search.evidence import BEST_RANDOM, WINNER, Comparison
from noise_search.search.learning_rates import RateCheck
from noise_search.search.progress import STATES
from noise_search.statistics import PairedDifference, p_text

SHOWN = 300  # rows of a table that can have as many as there are trials
Drawn = Collection[str]  # names of the figures that there are


def front(contents: Contents, drawn: Drawn) -> Iterator[str]:
    """Trials, front and controls as searched; arms as measured."""
    if "front" not in drawn:
        yield paragraph("No trial or control is complete yet: there is nothing to show.")
        return
    yield drawing("front", "Searched, on the validation split: accuracy of every complete trial and control")
    controls = [row for row in contents.rows if row.control]
    trials = [row for row in contents.rows if not row.control]
    yield paragraph(
        f"{_count(len(trials), 'complete trial')}, {sum(row.on_front for row in trials)} on the front, "
        f"{_count(len(controls), 'control')}; means of {_count(seeds_of_trials(contents.sweep), 'seed')}. "
        "The best of many is partly the luckiest: searched numbers are optimistic.",
        kind="note",
    )
    if "arms" in drawn:
        yield drawing("arms", "Measured, on the test split and the held-out suite: mean accuracies with 95 % intervals")
        yield paragraph(
            "Intervals are over seeds and test samples, which all arms share: those of two arms can overlap where "
            "their difference is clear. The table of what was confirmed compares them.",
            kind="note",
        )


def confirmed(contents: Contents, _: Drawn) -> Iterator[str]:
    """What stage 2 says, in numbers and sentences."""
    measured = contents.measured
    if measured is None:
        yield paragraph("Nothing is confirmed. Every number on this page is searched, optimistic.", kind="warning")
        yield command(
            "To confirm the front on fresh seeds and held-out data:", f"noise-search confirm {_name(contents)}"
        )
        return
    settings, found = measured.record.settings, measured.evidence
    suite, _ = cast(Sequence[str], settings["held_out"])
    yield paragraph(
        f"Confirmation {measured.record.number}: the winner by rule {settings['rule']} is {measured.chosen[WINNER]}, "
        f"measured on {measured.yard.samples:,} test samples, clean and under the suite {suite}, with "
        f"{found.clean.difference.n_seeds} seeds that chose nothing."
    )
    if settings["trials"] != sum(row.control is None for row in contents.rows):
        yield paragraph(
            f"The sweep had {settings['trials']} complete trials then, and went on: confirm it again.", kind="warning"
        )
    yield from (paragraph(text) for text in findings(contents))
    yield drawing("differences", "Winner minus every arm, robust accuracy, with 95 % intervals")
    yield table([_comparison(one, measured.chosen) for one in found.against])
    seen = ", ".join(sorted(measured.yard.seen)) or "none"
    yield paragraph(
        "Points of accuracy above chance with 95 % intervals over seeds and samples; p by Holm over all arms. Seen: "
        f"families of corruptions that a noise of the winner belongs to ({seen}).",
        kind="note",
    )
    if measured.learning_rates is not None:
        yield from _rates(measured.learning_rates)


def _rates(found: RateCheck) -> Iterator[str]:
    """Whether noise only took the place of tuning the learning rate."""
    what = "stays behind the winner" if found.holds else "may come up to the winner"
    yield paragraph(
        f"Other learning rates, on validation with the seeds of stage 1: {found.best} {what}; the winner minus it: "
        f"{points(found.difference)} points of robust accuracy."
    )
    yield table(
        [{"arm": arm} | {key: f"{value:.3f}" for key, value in means.items()} for arm, means in found.means.items()]
    )


def findings(contents: Contents) -> Iterator[str]:
    """What a confirmation found, a sentence each: clean accuracy, gain of search, gain of scheduling."""
    assert contents.measured is not None
    found = contents.measured.evidence
    kept = "less than a point is lost" if found.clean.holds else "a loss of a point is not excluded"
    yield f"Clean accuracy against no noise: {points(found.clean.difference)} points; {kept}."
    if any(one.arm == BEST_RANDOM for one in found.against):
        yield _gain("Gain of search, over the best of the random policies", found.over(BEST_RANDOM).robust)
    if found.scheduling is None:
        yield "Gain of scheduling: none to test, the winner's noise is constant."
    else:
        yield _gain(f"Gain of scheduling, over {found.scheduling_against}", found.scheduling)


def _gain(what: str, found: PairedDifference) -> str:
    shown = "a gain" if found.low > 0 else "a loss" if found.high < 0 else "no difference that these seeds can show"
    return f"{what}: {points(found)} points; {shown}."


def _comparison(one: Comparison, chosen: Mapping[str, str]) -> dict[str, str]:
    who = f"{one.arm} ({chosen[one.arm]})" if one.arm in chosen else one.arm
    parts = {"robust": one.robust, "seen": one.seen, "unseen": one.unseen, "clean": one.clean}
    shown = {name: points(part) for name, part in parts.items() if part is not None}
    return {"winner minus": who, **shown, "p": p_text(one.p_adjusted)}


def schedules(contents: Contents, drawn: Drawn) -> Iterator[str]:
    """Curves of the picks and of the confirmed winner, and their terms in words."""
    policies = drawn_policies(contents)
    if not policies:
        yield paragraph("There is no front yet, and so no pick whose schedules could be drawn.")
        return
    if "schedules" in drawn:
        yield drawing("schedules", "When each noise acts: its magnitude as a share of its largest")
    else:
        yield paragraph("None of the picks has any noise.")
    words = [{"policy": name, "terms": policy_text(policy_to_list(policy))} for name, policy in policies.items()]
    yield table(words)


def robustness(contents: Contents, drawn: Drawn) -> Iterator[str]:
    """Differences to no noise by kind and severity, searched and confirmed, and by family."""
    if "gains-searched" in drawn:
        assert contents.searched is not None
        yield drawing(
            "gains-searched",
            f"Searched: {contents.searched.who} minus no noise, on validation, points of accuracy by severity",
        )
        seeds = _count(seeds_of_trials(contents.sweep), "seed")
        yield paragraph(f"Means of {seeds}, optimistic; these kinds steered the search.", kind="note")
    else:
        yield paragraph("No complete trial and control without noise to compare yet.")
    if "gains-confirmed" in drawn:
        assert contents.confirmed is not None
        yield drawing(
            "gains-confirmed",
            "Confirmed: the winner minus no noise, on test, held-out kinds, points of accuracy by severity",
        )
        yield drawing("families", "Confirmed: the winner minus no noise by family, above chance, with 95 % intervals")
        yield paragraph("Seen families share their kind of noise with the winner's training.", kind="note")
    else:
        yield paragraph("Nothing is confirmed on held-out kinds.")


def survival(contents: Contents, drawn: Drawn) -> Iterator[str]:
    """How far trials came by the shape of their schedules, and why they ended."""
    if "survival" not in drawn:
        yield paragraph("No trial has been asked for yet.")
        return
    stopping = str(contents.sweep.identity.get("stopping.name", "none"))
    if stopping == "none":
        yield paragraph("Nothing stops trials early in this sweep (stopping=none): all train to the end.")
    yield drawing("survival", f"Trials that came so far, by the shape of their schedules (stopping={stopping})")
    shapes = list(dict.fromkeys(life.shape for life in contents.lives))
    outcomes = [state for state in STATES if any(life.state == state for life in contents.lives)]
    yield table([{"shape": shape, **_outcomes(contents.lives, shape, outcomes)} for shape in shapes])
    yield paragraph(
        "Falling schedules have most of their noise in the first half of training, rising ones in the second.",
        kind="note",
    )
    ended = ended_early(contents.lives)
    if ended:
        yield folded(f"Which ended early, and why ({len(ended)})", _lives(ended, lambda life: life.reason))
    else:
        yield paragraph("No trial ended early.")


def _outcomes(lives: Iterable[Life], shape: str, outcomes: Sequence[str]) -> dict[str, str]:
    states = [life.state for life in lives if life.shape == shape]
    asked = {"asked": str(len(states))} if len(outcomes) > 1 else {}  # else as many as came to the one end there is
    return asked | {state: str(states.count(state)) for state in outcomes}


def _lives(lives: Sequence[Life], why: Callable[[Life], str | None]) -> str:
    rows = [
        {
            "trial": str(life.number),
            "shape": life.shape,
            "state": life.state,
            "last epoch": str(life.reached),
            "why": why(life) or "",
        }
        for life in lives[:SHOWN]
    ]
    more = len(lives) - len(rows)
    return table(rows) + (paragraph(f"And {more:,} more.") if more else "")


def importance(contents: Contents, drawn: Drawn) -> Iterator[str]:
    """Which knobs mattered for the score."""
    if "importance" not in drawn:
        yield paragraph(
            "Not known: it takes at least 20 complete trials that differ, and is found when a sweep reaches its total."
        )
        return
    found = cast(Mapping[str, Any], contents.importance)
    yield paragraph(str(found["sentence"]))
    yield drawing(
        "importance",
        f"Share of each knob in what told the best tenth of {found['trials']} trials from the rest; grey: no more than "
        "chance",
    )


def overuse(contents: Contents, _: Drawn) -> Iterator[str]:
    """Trials whose noise cost clean accuracy, or made predictions worse."""
    flagged = [life for life in contents.lives if life.overuse is not None]
    if not flagged:
        yield paragraph("No trial's noise was called overused.")
        return
    yield paragraph(
        f"The noise of {_count(len(flagged), 'trial')} was called overused, at one epoch after the first quarter of "
        "training: some had made up for it at the end, which scores are of."
    )
    yield _lives(flagged, lambda life: life.overuse)


def cost(contents: Contents, drawn: Drawn) -> Iterator[str]:
    """Epochs, samples and seconds by part, and what was saved."""
    if "cost" not in drawn:
        yield paragraph("Nothing has been trained yet.")
        return
    yield drawing("cost", "Epochs of single trainings by part")
    yield table(_parts(contents.cost))
    saved = contents.numbers["epochs_saved"]
    yield paragraph(
        f"Saved: {contents.saved_by_stopping:,} epochs by stopping trials early, {saved:,} by taking them from the "
        "no-noise control where noise begins later. Of the stages of a confirmation only the sum of seconds is known, "
        "which is shared out by epochs.",
        kind="note",
    )


def _parts(cost: Sequence[Part]) -> list[dict[str, str]]:
    """What each part cost, and all of them."""
    epochs, seconds = sum(one.epochs for one in cost), sum(one.seconds for one in cost)
    return [*(_part(one, epochs) for one in cost), _part(Part("all", epochs, None, seconds), epochs, samples="")]


def _part(one: Part, epochs: int, *, samples: str = "not counted") -> dict[str, str]:
    return {
        "part": one.name,
        "epochs": f"{one.epochs:,}",
        "share": _share(one.epochs, epochs),
        "samples scored": samples if one.samples is None else f"{one.samples:,}",
        "seconds": f"{one.seconds:,.1f}",
    }


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else ""


def making(contents: Contents, _: Drawn) -> Iterator[str]:
    """Configuration, seeds, suites and versions."""
    sweep = contents.sweep
    config = cast(Mapping[str, Any], sweep.config)
    nodes = {name: _words(config[name]) for name in ("data", "model", "optimizer", "objective", "sampler", "stopping")}
    note, train, suite = uncalibrated(config["suite"]), config["train"], config["suite"]["name"]
    rows: dict[str, object] = {
        "sweep": sweep.name,
        "begun": f"{sweep.created_at:%Y-%m-%d %H:%M} UTC",
        "trials": f"{sweep.budget_trials}, each with {_count(seeds_of_trials(sweep), 'seed')}",
        "seed": sweep.identity["seed"],
        **nodes,
        "training": f"{contents.epochs} epochs, batches of {train['batch_size']}, {sweep.train_mode or 'not begun'}",
        "suite of the search": f"{suite}{f' ({note})' if note else ''}, {sweep.identity['suite.digest']}",
        **_of_confirmation(contents),
        "identity": sweep.digest,
        "this page": f"noise_search {noise_search.__version__}, torch {torch.__version__}",
    }
    yield pairs(rows)
    yield folded(
        "Everything that makes it this sweep and no other", pairs({k: _words(v) for k, v in sweep.identity.items()})
    )


def _of_confirmation(contents: Contents) -> dict[str, object]:
    if contents.measured is None:
        return {}
    settings = dict(contents.measured.record.settings)
    name, digest = cast(Sequence[str], settings.pop("held_out"))
    return {"held-out suite": f"{name}, {digest}", "confirmation": _words(settings)}


def _words(node: object) -> str:
    """A node of a configuration in a line."""
    if isinstance(node, Mapping):
        return ", ".join(f"{key}={_words(value)}" for key, value in node.items()) or "none"
    return node if isinstance(node, str) else json.dumps(node, default=str)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _name(contents: Contents) -> str:
    return shlex.quote(contents.sweep.name)


Section = Callable[[Contents, Drawn], Iterator[str]]
SECTIONS: dict[str, Section] = {
    "Front": front,
    "What was confirmed": confirmed,
    "Schedules": schedules,
    "Robustness": robustness,
    "Survival": survival,
    "Importance": importance,
    "Overuse": overuse,
    "Cost": cost,
    "How it was made": making,
}
