"""A confirmation of a real, tiny sweep: what is trained, what is stored, what a second run does."""

from __future__ import annotations

import shutil
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from confirm_examples import FEW, StopsAfter, confirmations, confirmed_store, of_stage, trainings
from mlflow import MlflowClient
from sweep_examples import BATCH, BUDGET, NAME, Quitter, drive, finished_store, put_tracking_database, spec

from noise_search.commands import confirm, confirming, pick, plan_confirmation, report, run_confirmation, status
from noise_search.corruptions.suites import is_held_out
from noise_search.errors import CallerError
from noise_search.search.driver import STOP_POLL_SECONDS
from noise_search.search.evidence import BEST_CONSTANT, BEST_RANDOM, NO_NOISE, RANDOM, WINNER
from noise_search.search.learning_rates import checked_arms, is_at_rate
from noise_search.store import locate, open_store
from noise_search.tracking.messages import CONFIRMS_TAG
from noise_search.training import load_dataset


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


def test_the_same_confirmation_again_draws_no_corruptions_trains_nothing_and_says_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, outcome = confirmed_store()
    before = trainings(folder)
    monkeypatch.setattr(confirming, "make_workbench", lambda *_, **__: pytest.fail("something was drawn"))
    again = confirm(NAME, store=folder, **FEW)
    assert outcome.changed
    assert not again.changed
    assert again.evidence == outcome.evidence
    assert trainings(folder) == before


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
    (begun,) = confirmations(tmp_path)
    assert begun.choice is None
    assert trainings(tmp_path) == []


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


def test_a_sweep_that_was_cut_short_and_went_on_is_confirmed_anew_and_pick_and_report_say_so(tmp_path: Path) -> None:
    alone = ("controls.constants=0", "controls.random=0")
    drive(tmp_path, *alone, reporter=Quitter(epochs=9))  # in the second batch; the budget stays what it is
    few = FEW | {"top": 1, "randoms": 1, "constant_trials": 0, "lr_check": False}
    settings = [confirm(NAME, store=tmp_path, **few).settings]
    drive(tmp_path, *alone)
    before, after = settings[0]["trials"], status(NAME, store=tmp_path)["trials"]["complete"]
    assert (before, after) == (BATCH, BUDGET)
    outcome = pick(NAME, store=tmp_path, model=False)
    assert (outcome.trials_then, outcome.trials) == (before, after)
    report(NAME, store=tmp_path, output=tmp_path / "report.html")
    assert f"The sweep had {before} complete trials then" in (tmp_path / "report.html").read_text()
    second = confirm(NAME, store=tmp_path, **few)
    assert (second.number, second.changed, second.settings["trials"]) == (2, True, after)


def test_other_settings_are_another_confirmation_with_other_seeds(tmp_path: Path) -> None:
    folder, _ = confirmed_store()
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    second = confirm(NAME, store=tmp_path, **{**FEW, "rule": "knee"})
    assert second.number == 2
    assert not {one.seed for one in trainings(tmp_path)} & {one.seed for one in trainings(tmp_path, 2)}


@pytest.mark.parametrize(("one", "other"), [("min-clean=0.9", "min-clean=.90"), ("trial=2", "trial=02")])
def test_one_rule_in_two_spellings_is_one_confirmation(one: str, other: str) -> None:
    plans = [plan_confirmation(NAME, store=finished_store(), **FEW, rule=rule) for rule in (one, other)]
    assert plans[0].settings == plans[1].settings


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
    parts = {"constants": 2 + 1, "choose": 6 * 2, "learning_rates": 5 * 2, "measure": 9 * 2}
    assert plan.epochs == {part: count * epochs for part, count in parts.items()}
    assert len(trainings(folder)) * epochs <= sum(plan.epochs.values()) - plan.epochs["constants"]
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


def test_the_smallest_gain_is_said_when_stage_1_has_chosen_and_before_test_is_read(tmp_path: Path) -> None:
    shutil.copytree(finished_store(), tmp_path, dirs_exist_ok=True)
    assert plan_confirmation(NAME, store=tmp_path, **FEW).smallest_gain is None
    said: list[tuple[float, int]] = []
    outcome = run_confirmation(
        plan_confirmation(NAME, store=tmp_path, **FEW),
        on_choice=lambda choice: said.append((choice["smallest_gain"], len(of_stage(tmp_path, "measure")))),
    )
    assert said == [(outcome.choice["smallest_gain"], 0)]
    assert outcome.choice["smallest_gain"] > 0
    assert plan_confirmation(NAME, store=tmp_path, **FEW).smallest_gain == outcome.choice["smallest_gain"]
    assert plan_confirmation(NAME, store=tmp_path, **{**FEW, "rule": "knee"}).smallest_gain is None


class AsksToStop:
    """Reporter that asks, as another terminal would, after so many member-epochs, and then takes its time."""

    def __init__(self, folder: Path, epochs: int, name: str = NAME) -> None:
        self._folder, self._left, self._name = folder, epochs, name

    def begin(self, total: int, done: int) -> None: ...

    def message(self, text: str) -> None: ...

    def advance(self, epochs: int) -> None:
        self._left -= epochs
        if self._left < 0:
            with open_store(locate(self._folder), create=False) as store:
                store.request_stop(store.sweep(self._name).id)
            time.sleep(STOP_POLL_SECONDS + 0.1)


@pytest.mark.parametrize("epochs", [1, 12, 40])  # among the constants, in stage 1, in stage 2
def test_somebody_who_asks_the_sweep_to_stop_stops_its_confirmation_which_can_be_continued(
    epochs: int, tmp_path: Path
) -> None:
    _, whole = confirmed_store()
    shutil.copytree(finished_store(), tmp_path, dirs_exist_ok=True)
    with pytest.raises(KeyboardInterrupt):
        confirm(NAME, store=tmp_path, reporter=AsksToStop(tmp_path, epochs), **FEW)
    (one,) = status(NAME, store=tmp_path)["confirmations"]
    assert one["state"] == "interrupted"
    found = confirm(NAME, store=tmp_path, **FEW)
    assert (found.choice, found.evidence) == (whole.choice, whole.evidence)


def test_somebody_who_asks_the_search_among_constants_to_stop_interrupts_the_confirmation(tmp_path: Path) -> None:
    shutil.copytree(finished_store(), tmp_path, dirs_exist_ok=True)
    with pytest.raises(KeyboardInterrupt):
        confirm(NAME, store=tmp_path, reporter=AsksToStop(tmp_path, 1, f"{NAME}-constant"), **FEW)
    (begun,) = confirmations(tmp_path)
    assert begun.choice is None


def test_a_confirmation_waits_for_its_database_as_long_as_the_sweep_did(tmp_path: Path) -> None:
    shutil.copytree(finished_store(), tmp_path, dirs_exist_ok=True)
    with closing(sqlite3.connect(tmp_path / "search.db")) as database, database:
        database.execute("UPDATE sweeps SET config = json_set(config, '$.store.retry_seconds', 7.0)")
    assert plan_confirmation(NAME, store=tmp_path).location.retry_seconds == 7.0


@pytest.mark.slow
def test_in_mlflow_a_confirmation_makes_the_database_where_there_is_none(tmp_path: Path) -> None:
    shutil.copytree(finished_store(), tmp_path, dirs_exist_ok=True)
    with closing(sqlite3.connect(tmp_path / "search.db")) as database, database:
        database.execute("UPDATE sweeps SET config = json_set(config, '$.tracking.enabled', json('true'))")
    confirm(NAME, store=tmp_path, **{**FEW, "constant_trials": 0, "top": 1, "randoms": 1}, lr_check=False)
    assert f"{NAME} confirmation 1" in {run.info.run_name for run in _runs(tmp_path)}


@pytest.mark.slow
def test_in_mlflow_it_is_open_from_the_start_killed_where_it_was_cut_short_and_finished_at_the_end(
    tmp_path: Path,
) -> None:
    put_tracking_database(tmp_path)
    drive(tmp_path, "tracking.enabled=true")
    states: list[dict[str, str]] = []
    for epochs in (1, 40, 10_000):
        with suppress(KeyboardInterrupt):
            confirm(NAME, store=tmp_path, reporter=StopsAfter(epochs), **FEW)
        states.append({str(run.info.run_name): run.info.status for run in _runs(tmp_path)})
    name = f"{NAME} confirmation 1"
    assert [found[name] for found in states] == ["KILLED", "KILLED", "FINISHED"]
    assert [len(found) for found in states[:1]] == [1]
    assert "stage 1, random 1" in states[1]
    assert any(is_at_rate(one) for one in of_stage(tmp_path, "choose"))
    assert not any(arm.startswith("stage 2") or is_at_rate(arm) for arm in states[1])  # the check is not at its end
    assert_mirrored_means_are_those_of_the_store(tmp_path)
    before = [(run.info.run_id, run.data.metrics, run.info.end_time) for run in _runs(tmp_path)]
    confirm(NAME, store=tmp_path, **FEW)
    assert [(run.info.run_id, run.data.metrics, run.info.end_time) for run in _runs(tmp_path)] == before


@pytest.mark.slow
def test_in_mlflow_a_check_of_learning_rates_that_was_made_up_for_joins_the_finished_run(tmp_path: Path) -> None:
    put_tracking_database(tmp_path)
    drive(tmp_path, "tracking.enabled=true")
    few = FEW | {"constant_trials": 0, "randoms": 1, "top": 1}
    confirm(NAME, store=tmp_path, lr_check=False, **few)
    assert not any(is_at_rate(run.info.run_name) for run in _runs(tmp_path))
    confirm(NAME, store=tmp_path, **few)
    assert sum(is_at_rate(run.info.run_name) for run in _runs(tmp_path)) == len(checked_arms())
    assert {run.info.status for run in _runs(tmp_path)} == {"FINISHED"}
    assert_mirrored_means_are_those_of_the_store(tmp_path)


def assert_mirrored_means_are_those_of_the_store(folder: Path) -> None:
    """Of every arm of both stages, and no arm of MLflow's is another."""
    stages = {"stage 1": of_stage(folder, "choose"), "stage 2": of_stage(folder, "measure")}
    scores = {f"{at}, {arm}": [one.scores["clean"] for one in own] for at in stages for arm, own in stages[at].items()}
    shown = {run.info.run_name: run.data.metrics for run in _runs(folder)}
    found = {name: metrics["mean/clean"] for name, metrics in shown.items() if name.startswith("stage ")}
    assert found == {name: pytest.approx(fmean(own)) for name, own in scores.items()}


def _runs(folder: Path) -> list[Any]:
    url = locate(folder).tracking_url
    client = MlflowClient(url, registry_uri=url)
    experiment = client.get_experiment_by_name("noise_search_confirmations")
    return list(client.search_runs([experiment.experiment_id]))
