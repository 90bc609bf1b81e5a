"""What the command line says of budgets and outcomes."""

from __future__ import annotations

import json

import pytest
from cli_runs import Refused, Run
from sweep_examples import NAME, TINY

SMALL = (*TINY, "budget.trials=2", "controls.constants=0", "controls.random=0")


def test_when_minutes_are_used_up_it_says_what_waits_and_how_to_go_on(ns: Run) -> None:
    code, out, _ = ns("sweep", *SMALL, "budget.minutes=1e-9")
    assert code == 0
    (line,) = (line for line in out.splitlines() if line.startswith("time: "))
    assert "budget.minutes is used up; 0 trials wait, 2 are not asked yet" in line
    assert "a larger budget.minutes goes on" in line
    found = json.loads(ns("sweep", *SMALL, "budget.minutes=1e-9", "--json")[1])
    assert (found["state"], found["waiting"], found["not_asked"]) == ("out_of_time", 0, 2)


def test_two_objectives_and_several_seeds_are_named_beside_the_pick(ns: Run) -> None:
    code, out, _ = ns("sweep", *SMALL, "objective=pareto", "budget.seeds=2")
    assert code == 0
    assert "(searched on validation, means of 2 seeds: optimistic)" in out
    assert "objective=pareto: the card has the best score all the same" in out
    assert "every trial trains with 2 seeds" in ns("status", NAME)[1]


def test_stopped_trials_and_why_are_told(ns: Run) -> None:
    ns("sweep", *TINY, "stopping=halving", "controls.constants=0", "controls.random=0")
    one = json.loads(ns("status", NAME, "--json")[1])
    assert one["trials"]["stopped"] == sum(one["ended_because"].values()) > 0
    assert "ended early: " in ns("status", NAME)[1]


@pytest.mark.parametrize(
    "overrides",
    [
        ("budget.minutes=0",),
        ("budget.seeds=1.5",),
        ("objective.clean_drop=2",),
        ("objective.family_drop=-1",),
        ("objective.name=both",),
        ("stopping.name=early",),
        ("stopping.factor=1", "stopping=halving"),
        ("stopping.rungs=1", "stopping=halving"),
        ("stopping.at=[0.5,1.0]", "stopping=halving"),
        ("stopping.protect=3", "stopping=halving"),
        ("sampler.name=gp",),
        ("sampler.warm_start=[nowhere.yaml]",),
        ("driver.retries=-1",),
        ("driver.share_prefix=1",),
        ("train.epochs=1", "stopping=halving"),
    ],
    ids=lambda overrides: overrides[0],
)
def test_a_wrong_value_is_one_line_that_names_its_key(overrides: tuple[str, ...], refused: Refused) -> None:
    (mistake,) = refused("sweep", *TINY, *overrides)
    assert mistake.startswith(overrides[0].partition("=")[0])
