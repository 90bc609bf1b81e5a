"""A confirmation of a real, tiny sweep: what is trained, what is stored, what a second run does."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from confirm_examples import FEW, confirmed_store
from mlflow import MlflowClient
from sweep_examples import NAME, drive, finished_store, put_tracking_database, spec

from noise_search.commands import confirm, plan_confirmation
from noise_search.corruptions.suites import is_held_out
from noise_search.errors import CallerError
from noise_search.search.confirm_mirroring import CONFIRMS_TAG
from noise_search.search.evidence import BEST_CONSTANT, BEST_RANDOM, NO_NOISE, RANDOM, WINNER
from noise_search.store import Confirmed, locate, open_store
from noise_search.training import load_dataset


def trainings(folder: Path, number: int = 1) -> list[Confirmed]:
    with open_store(locate(folder), create=False) as store:
        record = store.confirmations(store.sweep(NAME).id)[number - 1]
        return store.confirmed(record.id)


def of_stage(folder: Path, stage: str) -> dict[str, list[Confirmed]]:
    found: dict[str, list[Confirmed]] = {}
    for one in trainings(folder):
        if one.stage == stage:
            found.setdefault(one.arm, []).append(one)
    return found


def test_every_arm_of_a_stage_is_trained_with_every_seed_of_it_and_no_other() -> None:
    folder, _ = confirmed_store()
    choose, measure = of_stage(folder, "choose"), of_stage(folder, "measure")
    seeds = [{one.seed for arm in stage.values() for one in arm} for stage in (choose, measure)]
    assert [len(own) for own in seeds] == [2, 2]
    assert not seeds[0] & seeds[1]
    assert spec().seed not in seeds[0] | seeds[1]
    assert all(len(own) == 2 for own in measure.values())
    assert {WINNER, NO_NOISE, BEST_CONSTANT, "random 1", "random 2"} <= measure.keys()


def test_the_winner_and_its_rivals_are_those_that_stage_1_chose() -> None:
    folder, outcome = confirmed_store()
    choose, measure = of_stage(folder, "choose"), of_stage(folder, "measure")
    chosen = outcome.choice["chosen"]
    for arm in (WINNER, BEST_CONSTANT):
        assert measure[arm][0].policy == choose[chosen[arm]][0].policy

    def mean(arm: str) -> float:
        return sum(one.scores["score"] for one in choose[arm]) / 2

    for arm, group in ((BEST_CONSTANT, "constant"), (BEST_RANDOM, "random")):
        assert mean(chosen[arm]) == max(mean(name) for name in choose if name.startswith(group))


def test_stage_2_is_scored_on_the_held_out_suite_and_the_test_split() -> None:
    folder, _ = confirmed_store()
    data = load_dataset(spec().data)
    held_out = plan_confirmation(NAME, store=folder, **FEW).held_out
    assert is_held_out(held_out)
    for one in trainings(folder):
        samples = len(data.test if one.stage == "measure" else data.validation)
        suite = held_out if one.stage == "measure" else spec().suite
        assert set(one.cells) == {"clean", "weights", *(kind.name for kind in suite.kinds)}
        assert {len(text) // 2 for text in one.hits.values()} == {samples}


def test_hits_are_the_accuracies_counted_by_sample() -> None:
    folder, _ = confirmed_store()
    suite = spec().suite
    for one in trainings(folder)[:3]:
        for family, text in one.hits.items():
            kinds = [kind for kind in suite.kinds if kind.family == family]
            right = sum(bytes.fromhex(text))
            samples = len(text) // 2
            assert right == pytest.approx(samples * sum(sum(one.cells[kind.name]) for kind in kinds))


def test_what_is_said_is_about_the_arms_that_were_measured() -> None:
    _, outcome = confirmed_store()
    arms = {one.arm for one in outcome.evidence.against}
    assert {NO_NOISE, BEST_CONSTANT, RANDOM, BEST_RANDOM} <= arms
    assert outcome.evidence.means.keys() == arms | {WINNER}
    assert all(one.robust.n_seeds == 2 for one in outcome.evidence.against)


def test_the_same_confirmation_again_trains_nothing_and_says_the_same() -> None:
    folder, outcome = confirmed_store()
    before = trainings(folder)
    again = confirm(NAME, store=folder, **FEW)
    assert outcome.changed
    assert not again.changed
    assert again.evidence == outcome.evidence
    assert trainings(folder) == before


class StopsAfter:
    """Reporter that interrupts after so many member-epochs."""

    def __init__(self, epochs: int) -> None:
        self.left = epochs

    def begin(self, total: int, done: int) -> None: ...

    def message(self, text: str) -> None: ...

    def advance(self, epochs: int) -> None:
        self.left -= epochs
        if self.left < 0:
            raise KeyboardInterrupt


def test_cut_short_anywhere_it_goes_on_and_comes_to_the_same(tmp_path: Path) -> None:
    _, whole = confirmed_store()
    shutil.copytree(finished_store(), tmp_path, dirs_exist_ok=True)
    for epochs in (10, 20, 20):
        with pytest.raises(KeyboardInterrupt):
            confirm(NAME, store=tmp_path, reporter=StopsAfter(epochs), **FEW)
    found = confirm(NAME, store=tmp_path, **FEW)
    assert (found.choice, found.evidence) == (whole.choice, whole.evidence)


def test_interrupted_in_the_search_among_constants_it_chooses_nothing_yet(tmp_path: Path) -> None:
    shutil.copytree(finished_store(), tmp_path, dirs_exist_ok=True)
    with pytest.raises(KeyboardInterrupt):
        confirm(NAME, store=tmp_path, reporter=StopsAfter(3), **FEW)
    with open_store(locate(tmp_path), create=False) as store:
        assert store.sweep(f"{NAME}-constant").state == "interrupted"
        assert store.confirmations(store.sweep(NAME).id) == []


def test_a_limit_of_minutes_that_the_sweep_had_is_none_of_its_rivals(tmp_path: Path) -> None:
    drive(tmp_path, "budget.minutes=60", "budget.trials=2")
    with open_store(locate(tmp_path), create=False) as store:
        assert store.sweep(NAME).config["budget"]["minutes"] == 60  # type: ignore[index]
    confirm(NAME, store=tmp_path, **FEW)
    with open_store(locate(tmp_path), create=False) as store:
        assert store.sweep(f"{NAME}-constant").config["budget"]["minutes"] is None  # type: ignore[index]


def test_a_sweep_that_went_on_is_confirmed_anew(tmp_path: Path) -> None:
    drive(tmp_path, "budget.trials=2")
    first = confirm(NAME, store=tmp_path, **FEW)
    drive(tmp_path, "budget.trials=4")
    second = confirm(NAME, store=tmp_path, **FEW)
    assert (first.number, second.number, second.changed) == (1, 2, True)


def test_other_settings_are_another_confirmation_with_other_seeds(tmp_path: Path) -> None:
    folder, _ = confirmed_store()
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    second = confirm(NAME, store=tmp_path, **{**FEW, "rule": "knee"})
    assert second.number == 2
    assert not {one.seed for one in trainings(tmp_path)} & {one.seed for one in trainings(tmp_path, 2)}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"seeds": 1}, "confirm seeds: expected a whole number from 2 up, got 1"),
        ({"measure_seeds": 0}, "confirm measure_seeds: expected a whole number from 2 up, got 0"),
        ({"measure_seeds": 1}, "confirm measure_seeds: expected a whole number from 2 up, got 1"),
        ({"top": 0}, "confirm top: expected a whole number from 1 up, got 0"),
        ({"constant_trials": -1}, "confirm constant_trials: expected a whole number from 0 up, got -1"),
        ({"rule": "worst"}, "pick rule: expected one of"),
    ],
)
def test_mistakes_are_named_before_anything_is_written(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(CallerError) as caught:
        plan_confirmation(NAME, store=finished_store(), **{**FEW, **changes})
    assert expected in str(caught.value)


def test_a_sweep_that_is_running_is_refused(tmp_path: Path) -> None:
    shutil.copytree(finished_store(), tmp_path, dirs_exist_ok=True)
    with open_store(locate(tmp_path), create=False) as store:
        sweep = store.sweep(NAME)
        with store.take_lease(sweep.id) as writer:
            writer.update_sweep(state="running")
            with pytest.raises(CallerError, match=f"got {NAME}, which is running; wait for it, or end it with"):
                plan_confirmation(NAME, store=tmp_path, **FEW)
        with pytest.raises(CallerError, match=f"got {NAME}, whose process died; continue it"):
            plan_confirmation(NAME, store=tmp_path, **FEW)


def test_a_sweep_without_a_complete_trial_is_refused(tmp_path: Path) -> None:
    assert drive(tmp_path, "budget.minutes=1e-9").state == "out_of_time"
    with pytest.raises(CallerError, match="expected a front with at least one complete trial, got none"):
        plan_confirmation(NAME, store=tmp_path, **FEW)


def test_the_cost_is_an_upper_bound_that_a_winner_with_a_schedule_reaches() -> None:
    folder, _ = confirmed_store()
    plan = plan_confirmation(NAME, store=folder, **FEW)
    epochs = spec().train.epochs
    assert plan.epochs == {"constants": 2 * epochs, "choose": 6 * 2 * epochs, "measure": 9 * 2 * epochs}
    assert len(trainings(folder)) * epochs <= plan.epochs["choose"] + plan.epochs["measure"]
    assert plan.seconds is not None
    assert plan.seconds > 0


@pytest.mark.slow
def test_in_mlflow_a_confirmation_is_a_run_of_another_experiment_with_one_for_each_arm(tmp_path: Path) -> None:
    put_tracking_database(tmp_path)
    drive(tmp_path, "tracking.enabled=true")
    outcome = confirm(NAME, store=tmp_path, **FEW)
    url = locate(tmp_path).tracking_url
    client = MlflowClient(url, registry_uri=url)
    experiment = client.get_experiment_by_name("noise_search_confirmations")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    parent = runs[f"{NAME} confirmation 1"]
    assert parent.data.tags[CONFIRMS_TAG] == NAME
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert parent.data.metrics["winner minus/robust/no noise"] == pytest.approx(
        outcome.evidence.over(NO_NOISE).robust.mean
    )
    assert {"stage 2, winner", "stage 2, no noise", "stage 1, random 1"} <= runs.keys()
