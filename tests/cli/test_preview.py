from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_runs import Refused, Run, here
from sweep_examples import BUDGET, CONTROLS, TINY, Quitter, contents, drive, finished_store, spec

from noise_search.search.opening import widest_job

HALVING = ("stopping=pareto_halving", "train.epochs=9", "budget.trials=27")


def test_it_says_what_a_sweep_would_do_and_writes_nothing(ns: Run) -> None:
    code, out, _ = ns("sweep", *TINY, "--preview", "--json")
    found = json.loads(out)
    assert (code, here()) == (0, [])
    assert (found["name"], found["trials"], found["controls"], found["seeds"]) == ("tiny", BUDGET, CONTROLS, 1)
    assert found["epochs_at_most"] == found["epochs_expected"] == 2 * (BUDGET + CONTROLS)
    assert found["seconds_expected"] > 0
    assert found["parameters"]["inputs.noise"] == "none, gaussian, mixup"
    assert found["parameters"]["inputs.gaussian.magnitude"] == "0.02 to 0.6 (log scale)"


def test_with_stopping_fewer_epochs_are_expected_than_there_can_be(ns: Run) -> None:
    found = json.loads(ns("sweep", *TINY, *HALVING, "--preview", "--json")[1])
    assert found["rungs"] == [1, 3, 6, 9]
    assert found["epochs_at_most"] == 9 * (27 + CONTROLS)
    # All for 1 epoch, 12 (four of nine) for 2 more, 5 of these for 3 more, 12 % of all to the end, as are controls.
    assert found["epochs_expected"] == 27 + 12 * 2 + 5 * 3 + 4 * 3 + 9 * CONTROLS


def test_every_seed_costs_its_epochs(ns: Run) -> None:
    found = json.loads(ns("sweep", *TINY, "budget.seeds=3", "--preview", "--json")[1])
    assert found["epochs_at_most"] == 3 * 2 * (BUDGET + CONTROLS)


def test_people_get_a_table_and_five_lines(ns: Run) -> None:
    code, out, _ = ns("sweep", *TINY, *HALVING, "--preview")
    assert code == 0
    assert "after 1, 3, 6, 9 epochs" in out
    assert "time:     about" in out


def test_of_a_sweep_that_is_there_it_says_what_is_left(ns: Run, tmp_path: Path) -> None:
    stopping = ("stopping=halving", "controls.constants=0", "controls.random=0")
    drive(
        tmp_path, *stopping, reporter=Quitter(jobs=3)
    )  # the control, up to both rungs, and two trials up to the first
    command = ("sweep", *TINY, *stopping, "--preview", "--store", str(tmp_path))
    found = json.loads(ns(*command, "--json")[1])
    assert (found["ended"], found["waiting"], found["trials"]) == (0, 2, BUDGET)
    assert found["epochs_at_most"] == 2 * BUDGET - 2
    # Of six trials two have trained the first epoch; two of them shall train the second.
    assert found["epochs_expected"] == (BUDGET - 2) + BUDGET // 3
    assert found["seconds_spent"] >= 0
    assert "so far:   0 trials ended, 2 wait" in ns(*command)[1]


def test_of_a_sweep_that_is_complete_nothing_is_left(ns: Run) -> None:
    before = contents(finished_store())
    found = json.loads(ns("sweep", *TINY, "--preview", "--store", str(finished_store()), "--json")[1])
    assert (found["ended"], found["waiting"]) == (BUDGET, 0)
    assert (found["epochs_at_most"], found["epochs_expected"], found["seconds_expected"]) == (0, 0, 0)
    assert (found["train_mode"], found["score_mode"]) == ("fused", "looped")
    assert contents(finished_store()) == before


def test_another_search_under_the_same_name_is_refused_as_a_sweep_refuses_it(refused: Refused) -> None:
    arguments = ("sweep", *TINY, "seed=1", "--store", str(finished_store()))
    assert refused(*arguments, "--preview") == refused(*arguments)


@pytest.mark.parametrize(
    ("overrides", "slots"),
    [
        (("driver.cohort=16", "sampler.batch=8"), 8),
        (("driver.cohort=4", "sampler.batch=8"), 4),
        (("driver.cohort=16", "sampler.batch=2"), CONTROLS),
        (("driver.cohort=16", "sampler.batch=2", "budget.seeds=2"), 2 * CONTROLS),
    ],
)
def test_modes_are_chosen_for_the_widest_job(overrides: tuple[str, ...], slots: int) -> None:
    assert widest_job(spec(*overrides)) == slots


@pytest.mark.parametrize("wrong", ["train.epochs=0", "budget.seeds=0", "budget.minutes=-1"])
def test_mistakes_are_told_as_of_a_sweep(wrong: str, refused: Refused) -> None:
    (mistake,) = refused("sweep", *TINY, wrong, "--preview")
    assert mistake.startswith(wrong.partition("=")[0])
