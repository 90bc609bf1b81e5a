from __future__ import annotations

import json
import pkgutil
from dataclasses import asdict
from pathlib import Path

import pytest
from sweep_examples import (
    BUDGET,
    CONTROLS,
    NAME,
    TINY,
    Quitter,
    contents,
    die_after,
    drive,
    findings,
    finished_store,
    picking_store,
    record,
)

import noise_search
from noise_search.commands import cards, front, pick, status, statuses, sweep, sweep_files
from noise_search.errors import CallerError
from noise_search.policy import load_card, policy_from_list
from noise_search.search.fronts import complete_rows
from noise_search.store import Writer, locate, open_store


def test_a_sweep_from_python_is_the_sweep_of_the_command_line(tmp_path: Path) -> None:
    assert sweep is noise_search.sweep
    outcome = sweep(TINY, store=tmp_path)
    assert (outcome.name, outcome.state, outcome.changed) == (NAME, "complete", True)
    assert outcome.location == locate(tmp_path)
    assert findings(tmp_path) == findings(finished_store())


def test_an_outcome_holds_the_front_the_pick_and_where_the_files_lie() -> None:
    outcome = drive(finished_store())
    assert outcome.front == front(NAME, store=finished_store())
    best = max((row for row in outcome.front if row.on_front), key=lambda row: row.score)
    assert outcome.picked == best
    assert outcome.files == sweep_files(NAME, locate(finished_store()))
    assert load_card(outcome.files["card"]).policy == policy_from_list(best.policy)
    assert outcome.files["report"].read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_sweep_of_ones_own_space_is_composed_from_ones_own_folder(tmp_path: Path) -> None:
    (tmp_path / "conf" / "space").mkdir(parents=True)
    (tmp_path / "conf" / "space" / "mine.yaml").write_text(
        "terms:\n  weights: {noise: relative, magnitude: 0.07, schedule: constant, fraction: 1, level: fixed}\n"
    )
    overrides = [*TINY, "space=mine", "budget.trials=1", "controls.random=0"]
    outcome = sweep(overrides, store=tmp_path / "store", config_dir=tmp_path / "conf")
    (trial,) = (row for row in outcome.front if row.control is None)
    assert [(term["site"], term["noise"], term["magnitude"]) for term in trial.policy] == [
        ("weights", "relative", 0.07)
    ]


def test_mistakes_are_raised_together_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(CallerError) as caught:
        sweep([*TINY, "train.epochs=0", "sampler.batch=-1", "seed=x"], store=tmp_path / "none")
    assert [mistake.partition(":")[0] for mistake in caught.value.mistakes] == ["sampler.batch", "train.epochs", "seed"]
    assert not (tmp_path / "none").exists()


def test_status_counts_trials_by_outcome_and_what_they_took() -> None:
    one = status(NAME, store=finished_store())
    assert list(one) == [
        "name", "state", "seed", "budget", "trials", "controls", "over_a_constraint", "overused", "ended_because",
        "epochs_trained", "epochs_saved", "samples_scored", "seconds", "best", "mlflow_behind", "lead",
        "importance", "confirmations",
    ]  # fmt: skip
    assert (one["name"], one["state"], one["budget"]) == (NAME, "complete", {"trials": BUDGET, "seeds": 1})
    assert one["importance"] is None  # of so few trials
    assert one["controls"] == one["trials"] | {"complete": CONTROLS}
    assert one["epochs_trained"] == 2 * (CONTROLS + BUDGET)
    assert one["seconds"] > 0
    with open_store(locate(finished_store()), create=False) as store:
        rows = [row for row in complete_rows(store, store.sweep(NAME).id) if row.control is None]
    best = max(rows, key=lambda row: row.score)
    assert one["best"] == {"trial": best.trial, "score": best.score}


def test_status_of_an_interrupted_sweep_says_so_and_that_nothing_runs(tmp_path: Path) -> None:
    outcome = drive(tmp_path, reporter=Quitter(jobs=3))
    assert outcome.state == "interrupted"
    one = status(NAME, store=tmp_path)
    assert one["state"] == "interrupted"
    assert (one["trials"]["complete"], one["trials"]["running"], one["trials"]["waiting"]) == (2, 0, 0)


def test_status_of_a_sweep_whose_driver_died_is_interrupted_with_nothing_running(tmp_path: Path) -> None:
    die_after(tmp_path, Writer, "start_job", 4)
    assert record(tmp_path).state == "running"
    one = status(NAME, store=tmp_path)
    assert one["state"] == "interrupted"
    assert (one["trials"]["complete"], one["trials"]["running"], one["trials"]["waiting"]) == (2, 0, 2)


def test_status_tells_used_up_minutes_from_an_interruption_also_once_the_sweep_goes_on(tmp_path: Path) -> None:
    assert drive(tmp_path, "budget.minutes=1e-9").state == "out_of_time"
    assert status(NAME, store=tmp_path)["state"] == "out_of_time"
    assert drive(tmp_path, "budget.minutes=60", reporter=Quitter(jobs=1)).state == "interrupted"
    assert status(NAME, store=tmp_path)["state"] == "interrupted"
    assert drive(tmp_path, "budget.minutes=1e-9").state == "out_of_time"
    assert [one["state"] for one in statuses(store=tmp_path)] == ["out_of_time"]


def test_status_of_every_sweep_comes_oldest_first(tmp_path: Path) -> None:
    small = ("budget.trials=1", "controls.constants=0", "controls.random=0")
    drive(tmp_path, *small, "name=zebra")
    drive(tmp_path, *small, "name=ant", "seed=1")
    assert [one["name"] for one in statuses(store=tmp_path)] == ["zebra", "ant"]


def test_before_the_first_complete_trial_there_is_no_front_no_pick_and_no_file(tmp_path: Path) -> None:
    outcome = drive(tmp_path, reporter=Quitter(jobs=1))
    assert [row.control for row in outcome.front] == ["no_noise", "constant_1"]
    assert (outcome.picked, outcome.files) == (None, {})
    assert {path.name for path in (tmp_path / "sweeps" / NAME).iterdir()} == {"log.jsonl", "metrics.prom"}
    assert status(NAME, store=tmp_path)["best"] is None
    with pytest.raises(CallerError, match="expected a front with at least one complete trial"):
        pick(NAME, store=tmp_path)


def test_an_interrupted_sweep_has_its_files_from_the_first_complete_trial_on(tmp_path: Path) -> None:
    outcome = drive(tmp_path, reporter=Quitter(jobs=3))
    assert outcome.picked is not None
    assert load_card(outcome.files["card"]).policy == policy_from_list(outcome.picked.policy)


@pytest.mark.parametrize("rule", ["best", "knee", "min-clean=0"])
def test_a_picked_card_is_written_where_it_is_asked_for(rule: str, tmp_path: Path) -> None:
    outcome = pick(NAME, rule=rule, output=tmp_path / "card.yaml", store=picking_store())
    assert outcome.row.on_front
    assert outcome.card.context["rule"] == rule
    assert load_card(tmp_path / "card.yaml") == outcome.card
    assert [path.name for path in tmp_path.iterdir()] == ["card.yaml"]


def test_a_card_that_cannot_be_written_is_the_callers_mistake(tmp_path: Path) -> None:
    with pytest.raises(CallerError, match=r"none/card\.yaml: cannot write the card: No such file"):
        pick(NAME, output=tmp_path / "none" / "card.yaml", store=finished_store())
    with pytest.raises(CallerError, match="cannot write the card"):
        pick(NAME, output=tmp_path, store=finished_store())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("call", [status, front, pick, cards])
def test_an_unknown_name_is_refused_with_the_nearest(call: object) -> None:
    assert callable(call)
    with pytest.raises(CallerError, match=r"sweep: expected one of \['tiny'\], got 'tinny'; did you mean 'tiny'\?"):
        call("tinny", store=finished_store())


@pytest.mark.parametrize("call", [status, front, pick, cards])
def test_a_missing_store_is_refused_and_not_made(call: object, tmp_path: Path) -> None:
    assert callable(call)
    with pytest.raises(CallerError, match="store: expected a store, found none at"):
        call(NAME, store=tmp_path / "none")
    assert list(tmp_path.iterdir()) == []


def test_reading_changes_no_file(tmp_path: Path) -> None:
    drive(tmp_path, "budget.trials=1")
    before = contents(tmp_path)
    statuses(store=tmp_path)
    status(NAME, store=tmp_path)
    front(NAME, store=tmp_path)
    cards(NAME, store=tmp_path)
    assert contents(tmp_path) == before


def test_the_store_is_the_argument_else_the_variable_else_a_folder_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NOISE_SEARCH_STORE", str(finished_store()))
    assert status(NAME)["name"] == NAME
    with pytest.raises(CallerError, match=f"found none at {tmp_path / 'argument'}"):
        status(NAME, store="argument")
    monkeypatch.delenv("NOISE_SEARCH_STORE")
    with pytest.raises(CallerError, match=f"found none at {tmp_path / 'noise_search_runs'}"):
        status(NAME)


@pytest.mark.parametrize("variable", [True, False])
def test_an_empty_store_is_refused_rather_than_taken_for_another(
    variable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOISE_SEARCH_STORE", "")
    with pytest.raises(CallerError, match="store: expected a folder, got an empty text"):
        status(NAME, store=None if variable else "")
    with pytest.raises(CallerError, match="store: expected a folder, got an empty text"):
        sweep(TINY, store=None if variable else "")


def test_rows_of_a_front_survive_json() -> None:
    rows = [asdict(row) for row in front(NAME, store=finished_store())]
    assert json.loads(json.dumps(rows)) == rows


def test_everything_public_can_be_had_from_the_package() -> None:
    for name in noise_search.__all__:
        assert getattr(noise_search, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'swep'"):
        noise_search.swep  # noqa: B018


def test_no_module_takes_the_place_of_a_public_call_when_it_is_imported() -> None:
    modules = {module.name for module in pkgutil.iter_modules(noise_search.__path__)}
    assert "commands" in modules
    assert modules & set(noise_search.__all__) == set()
    for _ in range(2):  # the first time imports the modules
        assert "gaussian" in {row["noise"] for row in noise_search.available("noises")}


def test_tracking_that_is_switched_on_later_shows_what_ran_before(tmp_path: Path) -> None:
    sweep([*TINY, "tracking.enabled=false"], store=tmp_path)
    assert sweep([*TINY, "tracking.enabled=true"], store=tmp_path).changed
    with open_store(locate(tmp_path), create=False) as store:
        record = store.sweep(NAME)
        shown = store.outbox_keys(record.id)
        assert {f"trial {m.number}" for m in store.members(record.id) if m.control is None} <= shown
        assert "control no_noise" in shown
        assert not store.unsent(record.id)
    assert not sweep([*TINY, "tracking.enabled=true"], store=tmp_path).changed
