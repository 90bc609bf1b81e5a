from __future__ import annotations

import json

import pytest
from cli_runs import Refused, Run, here
from sweep_examples import BUDGET, CONTROLS, TINY

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
    assert found["rungs"] == [1, 3, 9]
    assert found["epochs_at_most"] == 9 * (27 + CONTROLS)
    # All trials for 1 epoch, 9 for 2 more, 4 (an eighth of 27) for 6 more; controls to the end.
    assert found["epochs_expected"] == 27 + 9 * 2 + 4 * 6 + 9 * CONTROLS


def test_every_seed_costs_its_epochs(ns: Run) -> None:
    found = json.loads(ns("sweep", *TINY, "budget.seeds=3", "--preview", "--json")[1])
    assert found["epochs_at_most"] == 3 * 2 * (BUDGET + CONTROLS)


def test_people_get_a_table_and_five_lines(ns: Run) -> None:
    code, out, _ = ns("sweep", *TINY, *HALVING, "--preview")
    assert code == 0
    assert "after 1, 3, 9 epochs" in out
    assert "time:     about" in out


@pytest.mark.parametrize("wrong", ["train.epochs=0", "budget.seeds=0", "budget.minutes=-1"])
def test_mistakes_are_told_as_of_a_sweep(wrong: str, refused: Refused) -> None:
    (mistake,) = refused("sweep", *TINY, wrong, "--preview")
    assert mistake.startswith(wrong.partition("=")[0])
