"""Whether noise only took the place of tuning the learning rate: what is trained for that, and what is said of it."""

from __future__ import annotations

import shutil
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
from confirm_examples import FEW, confirmations, confirmed_store, of_stage, trainings
from sweep_examples import NAME, finished_store, record, spec

from noise_search.commands import confirm
from noise_search.execute import InlineExecutor
from noise_search.metrics import counts_unpacked
from noise_search.policy import Policy
from noise_search.search.evidence import NO_NOISE, WINNER
from noise_search.search.learning_rates import MULTIPLES, at_rate, is_at_rate
from noise_search.search.opening import modes_of
from noise_search.statistics import paired_difference
from noise_search.store import CHOOSE, Confirmed
from noise_search.training import Job, Member, Setup, make_workbench


def checked(folder: Path) -> dict[str, list[Confirmed]]:
    return {arm: own for arm, own in of_stage(folder, CHOOSE).items() if is_at_rate(arm)}


def test_the_winner_and_no_noise_train_at_other_rates_with_the_seeds_of_stage_1() -> None:
    folder, outcome = confirmed_store()
    found = checked(folder)
    no_noise = {at_rate(NO_NOISE, multiple) for multiple in MULTIPLES}
    assert found.keys() == no_noise | {at_rate(WINNER, multiple) for multiple in MULTIPLES if multiple != 1}
    chosen = of_stage(folder, CHOOSE)[outcome.choice["chosen"][WINNER]]
    for arm, own in found.items():
        assert [one.seed for one in own] == [one.seed for one in chosen]
        assert all(one.policy == ([] if arm in no_noise else chosen[0].policy) for one in own)


@pytest.mark.parametrize("multiple", MULTIPLES)
def test_an_arm_is_what_trains_at_that_rate_scored_on_validation(multiple: float) -> None:
    folder, _ = confirmed_store()
    (one, _) = checked(folder)[at_rate(NO_NOISE, multiple)]
    at = spec(f"optimizer.lr={0.02 * multiple}", "train.score_every=2")
    modes = modes_of(record(folder))
    bench = make_workbench(Setup(at.data, at.model, at.optimizer, at.train, at.suite, *modes))
    job = Job((Member("0", Policy(), one.seed), Member("1", Policy(), one.seed)), 0, at.train.epochs)
    result = InlineExecutor(bench, *modes).run(job, lambda _: None)[0]
    assert one.scores["robust"] == pytest.approx(result.scores["robust"], abs=0.01)
    assert one.cells.keys() == result.cells.keys()


def test_the_winner_is_compared_with_no_noise_at_the_rate_that_makes_that_the_most_robust() -> None:
    folder, outcome = confirmed_store()
    found, stage = outcome.learning_rates, of_stage(folder, CHOOSE)
    assert found is not None
    robust = {arm: fmean(one.scores["robust"] for one in own) for arm, own in checked(folder).items()}
    assert {arm: means["robust"] for arm, means in found.means.items() if arm in robust} == pytest.approx(robust)
    assert robust[found.best] == max(robust[at_rate(NO_NOISE, multiple)] for multiple in MULTIPLES)
    cells = {
        family: sum(len(k.strengths) for k in spec().suite.kinds if k.family == family)
        for family in stage[found.best][0].hits
    }

    def items(arm: str) -> list[np.ndarray]:
        own = sorted(stage[arm], key=lambda one: one.seed)
        return [np.mean([counts_unpacked(one.hits[f]) / n for f, n in cells.items()], axis=0) / 0.9 for one in own]

    pairs = zip(items(outcome.choice["chosen"][WINNER]), items(found.best), strict=True)
    expected = paired_difference([one - other for one, other in pairs])
    assert found.difference.mean == pytest.approx(expected.mean)
    assert found.difference.low == pytest.approx(expected.low)
    assert found.holds == (expected.low > 0)


def test_left_out_first_and_asked_for_later_it_is_part_of_the_same_confirmation(tmp_path: Path) -> None:
    shutil.copytree(finished_store(), tmp_path, dirs_exist_ok=True)
    without = confirm(NAME, store=tmp_path, lr_check=False, **FEW)
    assert without.learning_rates is None
    assert checked(tmp_path) == {}
    measured = of_stage(tmp_path, "measure")
    later = confirm(NAME, store=tmp_path, **FEW)
    assert later.learning_rates is not None
    assert (later.choice, later.evidence) == (without.choice, without.evidence)
    assert len(confirmations(tmp_path)) == 1
    assert of_stage(tmp_path, "measure") == measured
    assert len(trainings(tmp_path)) == len(trainings(confirmed_store()[0]))
