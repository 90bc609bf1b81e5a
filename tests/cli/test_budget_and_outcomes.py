"""What the command line says of budgets and outcomes."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from cli_runs import Refused, Run
from sweep_examples import NAME, TINY

from noise_search.execute import InlineExecutor
from noise_search.training import Job, Result

SMALL = (*TINY, "budget.trials=2", "controls.constants=0", "controls.random=0")


def test_when_minutes_are_used_up_it_says_what_waits_and_how_to_go_on(ns: Run) -> None:
    code, out, _ = ns("sweep", *SMALL, "budget.minutes=1e-9")
    assert code == 0
    (line,) = (line for line in out.splitlines() if line.startswith("time: "))
    assert "budget.minutes is used up; 0 trials wait, 2 are not asked yet" in line
    assert "a larger budget.minutes goes on" in line
    found = json.loads(ns("sweep", *SMALL, "budget.minutes=1e-9", "--json")[1])
    assert (found["state"], found["waiting"], found["not_asked"]) == ("out_of_time", 0, 2)
    assert json.loads(ns("status", NAME, "--json")[1])["state"] == "out_of_time"
    said = ns("status", NAME)[1].splitlines()
    assert "out of time: budget.minutes is used up; the sweep command with a larger one goes on" in said


def test_two_objectives_and_several_seeds_are_named_beside_the_pick(ns: Run) -> None:
    code, out, _ = ns("sweep", *SMALL, "objective=pareto", "budget.seeds=2")
    assert code == 0
    assert "(searched on validation, means of 2 seeds: optimistic)" in out
    assert "objective=pareto: the card has the best score all the same" in out
    assert "every trial trains with 2 seeds" in ns("status", NAME)[1]


def test_stopped_trials_and_why_are_told(ns: Run) -> None:
    halving = ("sweep", *TINY, "stopping=halving", "controls.constants=0", "controls.random=0")
    _, out, _ = ns(*halving)
    one = json.loads(ns("status", NAME, "--json")[1])
    assert one["trials"]["stopped"] == sum(one["ended_because"].values()) > 0
    assert "ended early: " in ns("status", NAME)[1]
    counts = f"trials: {one['trials']['complete']} complete, {one['trials']['stopped']} stopped; ended early: "
    assert any(line.startswith(counts) for line in out.splitlines())
    again = json.loads(ns(*halving, "--json")[1])
    assert (again["trials"], again["ended_because"]) == (one["trials"], one["ended_because"])


def test_where_every_trial_has_failed_it_says_so_and_the_exit_code_is_1(
    ns: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = InlineExecutor.run

    def fail(self: InlineExecutor, job: Job, on_epoch: Callable[[int], None]) -> list[Result]:
        if any(member.policy.terms for member in job.members):
            raise RuntimeError("a bad layer")
        return run(self, job, on_epoch)

    monkeypatch.setattr(InlineExecutor, "run", fail)
    code, out, _ = ns("sweep", *SMALL, "controls.constants=1")
    assert code == 1
    assert "trials: 2 failed; ended early: 2 RuntimeError" in out.splitlines()
    assert "no trial is complete: there is nothing to pick" in out.splitlines()
    code, out, _ = ns("sweep", *SMALL, "controls.constants=1", "--json")
    found = json.loads(out)
    assert (code, found["trials"]["failed"], found["ended_because"]) == (1, 2, {"RuntimeError": 2})
    rows = json.loads(ns("front", NAME, "--json")[1])
    assert [(row["control"], row["state"], row["score"] is None) for row in rows] == [
        ("no_noise", "complete", False),
        ("constant_1", "failed", True),
    ]
    assert "constant_1 (failed)" in ns("front", NAME)[1]
    assert "controls without scores: 1 failed" in ns("status", NAME)[1].splitlines()


def test_a_control_without_noise_that_diverges_is_one_line_and_the_sweep_has_failed(ns: Run) -> None:
    code, out, said = ns("sweep", *SMALL, "optimizer=sgd", "optimizer.lr=1e30", "train.clip=null")
    assert (code, out) == (2, "")
    mistake = said[-1]  # after the progress
    assert mistake.startswith("optimizer.lr: the control without noise diverged at epoch 2 with 1e+30")
    assert mistake.endswith("lower optimizer.lr or train.clip")
    one = json.loads(ns("status", NAME, "--json")[1])
    assert (one["state"], sum(one["trials"].values())) == ("failed", 0)


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
