"""Figures show what the store has, at the places where it belongs."""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean
from typing import Any

import plotly.graph_objects as go
import pytest
from confirm_examples import confirmed_store
from report_examples import IMPORTANCE, LIVES, confirmed, nothing, searched

from noise_search.noises import NOISES
from noise_search.policy import Policy, Term, policy_to_list
from noise_search.reports.contents import Gains, Part
from noise_search.reports.figures import (
    BLUE,
    FIGURES,
    GREY,
    arms,
    cost,
    differences,
    families,
    figures_of,
    front,
    gains,
    gains_confirmed,
    importance,
    schedules,
    survival,
)
from noise_search.schedules import Schedule
from noise_search.search.cards import CARD_ARMS
from noise_search.search.cards import confirmed as card_evidence
from noise_search.search.evidence import NO_NOISE, WINNER
from noise_search.search.fronts import FrontRow
from noise_search.store import locate, open_store

LATE = Policy(
    (
        Term(
            "inputs",
            "gaussian",
            0.4,
            schedule=Schedule("linear", (("a", 0.0), ("b", 0.5), ("start", 0.0), ("stop", 1.0))),
        ),
        Term("weights", "relative", 0.0),
    )
)


def row(trial: int, policy: Policy = LATE) -> FrontRow:
    return FrontRow(trial, None, 0.9, 0.6, 0.5, 0.8, 0.75, True, policy_to_list(policy))


def lines(figure: Any) -> dict[str, dict[str, Any]]:
    """Lines, bars or points of a figure by what the legend calls them."""
    return {line["name"]: line for line in figure["data"]}


@pytest.mark.parametrize("name", FIGURES)
def test_plotly_takes_every_figure(name: str) -> None:
    found = replace(confirmed(), importance=IMPORTANCE, lives=LIVES)
    figure = FIGURES[name](found)
    assert figure is not None
    drawn = go.Figure(figure)  # raises for a property that Plotly does not know, or a value that it does not take
    assert len(drawn.data) == len(figure["data"]) > 0


def test_of_nothing_there_is_no_figure() -> None:
    assert figures_of(nothing()) == {}


def test_points_stand_at_clean_and_robust_by_what_they_are() -> None:
    found = searched()
    figure = front(found)
    shown = {name: set(zip(line["x"], line["y"], line["text"], strict=True)) for name, line in lines(figure).items()}
    best = {(one.clean, one.robust, f"trial {one.trial}") for one in found.rows if one.on_front}
    others = {(r.clean, r.robust, f"trial {r.trial}") for r in found.rows if r.control is None and not r.on_front}
    assert shown["front"] == best
    assert shown.get("trials", set()) == others
    for kind, name in (("no_noise", "no noise"), ("constant", "constants"), ("random", "random")):
        own = {(r.clean, r.robust, r.control) for r in found.rows if r.control and r.control.startswith(kind)}
        assert shown[name] == own != set()
    x = lines(figure)["front"]["x"]
    assert x == sorted(x)


def test_the_confirmed_winner_is_marked_where_it_stands_as_searched() -> None:
    found = confirmed()
    assert found.measured is not None
    name = found.measured.chosen[WINNER]
    (own,) = [one for one in found.rows if f"trial {one.trial}" == name]
    mark = lines(front(found))[f"confirmed winner: {name}"]
    assert (mark["x"], mark["y"]) == ([own.clean], [own.robust])
    assert not any(called.startswith("confirmed") for called in lines(front(searched())))


def test_arms_stand_where_their_card_has_them_with_intervals_in_both_directions() -> None:
    found = confirmed()
    assert found.measured is not None
    figure = lines(arms(found))
    assert figure.keys() == found.measured.evidence.means.keys()
    with open_store(locate(confirmed_store()[0]), create=False) as store:
        card = card_evidence(store, found.measured.record, 1)["arms"]
    for name, trace in figure.items():
        for axis, score in (("x", "clean"), ("y", "robust")):
            said, bars = card[CARD_ARMS[name]][score], trace[f"error_{axis}"]
            mean = trace[axis][0]
            shown = (mean, mean + bars["array"][0], mean - bars["arrayminus"][0])
            assert shown == pytest.approx((said["mean"], said["high"], said["low"]), abs=1e-6)
            assert mean == pytest.approx(found.measured.evidence.means[name][score])


def test_differences_are_those_of_the_evidence_in_points() -> None:
    found = confirmed()
    assert found.measured is not None
    (trace,) = differences(found)["data"]  # type: ignore[index]
    for name, x, up, down in zip(
        trace["y"], trace["x"], *(trace["error_x"][k] for k in ("array", "arrayminus")), strict=True
    ):
        said = found.measured.evidence.over(name).robust
        assert (x, x + up, x - down) == pytest.approx((100 * said.mean, 100 * said.high, 100 * said.low))


def test_curves_are_shares_of_the_largest_magnitude_and_say_the_magnitude_with_its_unit() -> None:
    figure = schedules(replace(nothing(), picks={"best": row(4)}))
    gaussian, relative = figure["data"]  # type: ignore[index]
    # 0.4 * 0.5 t, of which the largest is 0.2: t itself.
    assert gaussian["y"] == pytest.approx(gaussian["x"], abs=1e-12)
    assert (gaussian["x"][0], gaussian["x"][-1]) == (0.0, 1.0)
    assert gaussian["customdata"] == pytest.approx([0.2 * t for t in gaussian["x"]])
    assert gaussian["meta"] == NOISES["inputs"]["gaussian"].unit
    assert set(relative["y"]) == {0.0}


def test_every_policy_has_a_strip_of_its_own_and_every_noise_one_entry_in_the_legend() -> None:
    figure = schedules(replace(nothing(), picks={"best": row(4), "knee": row(5)}))
    assert figure is not None
    assert {trace["yaxis"] for trace in figure["data"]} == {"y", "y2"}
    assert [trace["name"] for trace in figure["data"] if trace["showlegend"]] == ["inputs.gaussian", "weights.relative"]
    upper, lower = figure["layout"]["yaxis"]["domain"], figure["layout"]["yaxis2"]["domain"]
    assert 0 <= lower[0] < lower[1] < upper[0] < upper[1] <= 1
    assert [note["text"] for note in figure["layout"]["annotations"]] == ["best: trial 4", "knee: trial 5"]


def test_policies_without_noise_have_no_curves() -> None:
    assert schedules(replace(nothing(), picks={"best": row(4, Policy())})) is None


def test_a_heat_map_has_a_row_for_each_kind_in_points_and_marks_what_was_seen() -> None:
    made = Gains(
        "trial 1", {"shot": [0.1, -0.2], "fog": [0.0, 0.05]}, {"noise": ["shot"], "tone": ["fog"]}, frozenset({"noise"})
    )
    figure = gains(made)
    assert figure is not None
    (heat,) = figure["data"]
    assert dict(zip(heat["y"], heat["z"], strict=True)) == {
        "noise: shot (seen)": [10.0, -20.0],
        "tone: fog": [0.0, 5.0],
    }
    assert heat["y"][-1] == "noise: shot (seen)"  # Plotly draws the last on top
    assert (figure["layout"]["coloraxis"]["cmin"], figure["layout"]["coloraxis"]["cmax"]) == (-20.0, 20.0)


def test_the_confirmed_heat_map_is_what_the_stored_cells_say() -> None:
    found = confirmed()
    assert found.measured is not None
    (heat,) = gains_confirmed(found)["data"]  # type: ignore[index]
    rows = {name.removesuffix(" (seen)").partition(": ")[2]: z for name, z in zip(heat["y"], heat["z"], strict=True)}
    for kind in ("shot", "rotate", "checkerboard"):
        for severity in range(5):
            winner, control = (
                fmean(one.cells[kind][severity] for one in found.measured.arms if one.arm == arm)
                for arm in (WINNER, NO_NOISE)
            )
            assert rows[kind][severity] == pytest.approx(100 * (winner - control))


def test_families_are_told_apart_by_whether_they_were_seen() -> None:
    found = confirmed()
    assert found.measured is not None
    seen = found.measured.yard.seen
    figure = lines(families(found))
    for called, trace in figure.items():
        assert {name in seen for name in trace["y"]} == {called == "seen in training"}
    shown = {name: x for trace in figure.values() for name, x in zip(trace["y"], trace["x"], strict=True)}
    said = found.measured.evidence.over(NO_NOISE).families
    assert shown == pytest.approx({name: 100 * one.mean for name, one in said.items()})


def test_survival_counts_who_came_to_each_rung_by_shape() -> None:
    figure = lines(survival(replace(nothing(), lives=LIVES)))
    assert {shape: dict(zip(bar["x"], bar["y"], strict=True)) for shape, bar in figure.items()} == {
        "constant": {"asked": 1, "3": 1, "10": 1, "30": 1},
        "rising": {"asked": 3, "3": 3, "10": 2, "30": 1},
        "falling": {"asked": 1, "3": 0, "10": 0, "30": 0},
    }


def test_where_all_came_to_the_first_rung_no_column_is_shown_twice() -> None:
    figure = lines(survival(replace(nothing(), lives=(LIVES[0], LIVES[4]))))
    assert {shape: dict(zip(bar["x"], bar["y"], strict=True)) for shape, bar in figure.items()} == {
        "constant": {"30": 1},
        "rising": {"30": 1},
    }


def test_importance_is_shown_in_percent_with_what_chance_gives() -> None:
    (bars,) = importance(replace(nothing(), importance=IMPORTANCE))["data"]  # type: ignore[index]
    assert dict(zip(bars["y"], bars["x"], strict=True)) == pytest.approx({"noise": 20, "schedule": 30, "magnitude": 50})
    assert [said.rpartition("in ")[2] for said in bars["customdata"]] == [
        f"{chance} % of shuffles" for chance in (40, 10, 5)
    ]
    assert list(bars["marker"]["color"]) == [GREY, GREY, BLUE]  # grey: chance shows as much


def test_cost_has_a_bar_for_each_part_and_for_what_was_saved() -> None:
    parts = (Part("sweep", 300, 10, 1.0), Part("confirmation, stage 1", 60, None, 0.5))
    (bars,) = cost(replace(nothing(), cost=parts, saved_by_stopping=40))["data"]  # type: ignore[index]
    assert dict(zip(bars["y"], bars["x"], strict=True)) == {
        "sweep": 300,
        "confirmation, stage 1": 60,
        "saved by stopping": 40,
    }
