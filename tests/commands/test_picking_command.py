"""Picking from real, tiny sweeps: what is written, registered and mirrored, and what a second pick does."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from confirm_examples import FEW, confirmed_store
from mlflow import MlflowClient
from safetensors.torch import load_file
from sweep_examples import NAME, Quitter, drive, finished_store, record, spec

from noise_search.commands import cards, confirm, pick, registered_card, rm
from noise_search.errors import CallerError
from noise_search.metrics import above_chance, accuracy
from noise_search.models import build_model
from noise_search.policy import load_card, policy_to_list
from noise_search.search import sending
from noise_search.store import locate, open_store
from noise_search.tracking.mirror import Mirror
from noise_search.training import load_dataset

SMALL = ("budget.trials=2", "controls.constants=0", "controls.random=0")


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """Store with the tiny sweep, of this test alone."""
    return Path(shutil.copytree(finished_store(), tmp_path / "store"))


@pytest.fixture
def confirmed(tmp_path: Path) -> Path:
    """Store with the confirmed tiny sweep, of this test alone."""
    return Path(shutil.copytree(confirmed_store()[0], tmp_path / "store"))


@pytest.fixture
def tracked(tmp_path: Path) -> Path:
    """Store with a sweep of two trials and its MLflow mirror, of this test alone."""
    import sweep_examples

    sweep_examples.put_tracking_database(tmp_path)
    drive(tmp_path, "tracking.enabled=true", *SMALL)
    return tmp_path


def client(store: Path) -> Any:
    url = locate(store).tracking_url
    return MlflowClient(url, registry_uri=url)


# --- the card and the store


def test_a_card_is_registered_once_and_comes_out_as_it_was_written(plain: Path, tmp_path: Path) -> None:
    first = pick(NAME, output=tmp_path / "first.yaml", store=plain)
    other = pick(NAME, rule="trial=0", store=plain)
    again = pick(NAME, output=tmp_path / "again.yaml", store=plain)
    assert [one.version for one in (first, other, again)] == [1, 2, 1]
    text = (tmp_path / "first.yaml").read_bytes()
    assert registered_card(NAME, 1, output=tmp_path / "out.yaml", store=plain) == text
    assert (tmp_path / "out.yaml").read_bytes() == (tmp_path / "again.yaml").read_bytes() == text
    assert load_card(tmp_path / "out.yaml") == first.card
    found = [(one["sweep"], one["version"], one["rule"], one["kind"]) for one in cards(store=plain)]
    assert found == [(NAME, 1, "best", "searched"), (NAME, 2, "trial=0", "searched")]
    assert cards(NAME, store=plain) == cards(store=plain)


def test_a_version_that_is_not_there_is_refused_with_those_that_are(plain: Path) -> None:
    with pytest.raises(CallerError, match=f"expected a registered card of {NAME}, got none; noise-search pick makes"):
        registered_card(NAME, 1, store=plain)
    pick(NAME, store=plain)
    for version in (0, 2):
        with pytest.raises(CallerError, match=f"expected a version of {NAME} from 1 to 1, got {version}"):
            registered_card(NAME, version, store=plain)


def test_a_card_that_cannot_be_written_is_not_registered(plain: Path, tmp_path: Path) -> None:
    with pytest.raises(CallerError, match="cannot write the card"):
        pick(NAME, output=tmp_path / "none" / "card.yaml", store=plain)
    assert cards(store=plain) == []


def test_a_confirmed_trial_is_another_card_than_the_same_trial_as_it_was_searched(plain: Path) -> None:
    before = pick(NAME, store=plain)
    outcome = confirm(NAME, store=plain, **{**FEW, "rule": f"trial={before.row.trial}"})
    after = pick(NAME, store=plain)
    assert (before.row.trial, before.version, before.confirmation) == (after.row.trial, 1, None)
    assert (after.version, after.confirmation, after.rule) == (2, 1, f"trial={before.row.trial}")
    assert after.card.evidence is not None
    assert after.card.evidence["kind"] == "confirmed"
    winner = outcome.evidence.means["winner"]["robust"]
    assert after.card.evidence["arms"]["winner"]["robust"]["mean"] == round(winner, 6)
    assert [(one["kind"], one["confirmation"]) for one in cards(store=plain)] == [("searched", None), ("confirmed", 1)]


def test_more_readings_of_test_bring_a_card_up_to_date_and_make_no_other(confirmed: Path, tmp_path: Path) -> None:
    before = pick(NAME, store=confirmed)
    searched = pick(NAME, rule="control=constant_1", store=confirmed)
    confirm(NAME, store=confirmed, **{**FEW, "rule": "knee", "constant_trials": 0, "lr_check": False})
    after = pick(NAME, rule="best", output=tmp_path / "card.yaml", store=confirmed)
    again = pick(NAME, rule="control=constant_1", store=confirmed)
    assert [one.version for one in (before, searched, after, again)] == [1, 2, 1, 2]
    reads = [one.card.evidence["test_reads"] for one in (before, after)]  # type: ignore[index]
    assert reads == [1, 2]
    assert registered_card(NAME, 1, store=confirmed) == (tmp_path / "card.yaml").read_bytes()


def test_a_control_is_picked_as_searched_and_with_what_was_measured_once_it_is_confirmed(
    plain: Path, tmp_path: Path
) -> None:
    rule = "control=constant_1"
    first = pick(NAME, rule=rule, store=plain, output=tmp_path / "card.yaml")
    assert (first.row.control, first.row.trial, first.confirmation) == ("constant_1", None, None)
    loaded = load_card(tmp_path / "card.yaml")
    assert (loaded.context["trial"], loaded.context["rule"]) == (None, rule)
    assert policy_to_list(loaded.policy) == first.row.policy
    few = {**FEW, "constant_trials": 0, "lr_check": False, "rule": rule}
    assert confirm(NAME, store=plain, **few).choice["chosen"]["winner"] == "control constant_1"
    second = pick(NAME, rule=rule, store=plain)
    assert (second.confirmation, second.version, pick(NAME, store=plain).rule) == (1, 2, rule)
    assert {one["trial"] for one in cards(NAME, store=plain)} == {None}


def test_a_named_trial_races_alone_on_its_side_and_off_the_front_too(plain: Path) -> None:
    from noise_search.search.fronts import complete_rows

    with open_store(locate(plain), create=False) as store:
        rows = [row for row in complete_rows(store, store.sweep(NAME).id) if row.control is None]
    off = next(row.trial for row in rows if not row.on_front)
    outcome = confirm(NAME, store=plain, **{**FEW, "rule": f"trial={off}"})
    assert outcome.choice["chosen"]["winner"] == f"trial {off}"
    with open_store(locate(plain), create=False) as store:
        (one,) = store.confirmations(store.sweep(NAME).id)
        raced = {found.arm for found in store.confirmed(one.id) if found.stage == "choose"}
    assert {arm for arm in raced if arm.startswith("trial")} == {f"trial {off}"}
    with pytest.raises(CallerError, match="pick rule trial: expected a complete trial, got 99"):
        confirm(NAME, store=plain, **{**FEW, "rule": "trial=99"})


def test_a_sweep_that_went_on_after_its_confirmation_is_told_from_what_to_what(tmp_path: Path) -> None:
    drive(tmp_path, *SMALL)
    confirm(NAME, store=tmp_path, **FEW)
    drive(tmp_path, *SMALL, "budget.trials=4")
    outcome = pick(NAME, store=tmp_path)
    assert (outcome.confirmation, outcome.trials_then, outcome.trials) == (1, 2, 4)


def test_without_tracking_nothing_is_trained(plain: Path) -> None:
    outcome = pick(NAME, store=plain, reporter=Quitter(epochs=1))
    assert outcome.model is None
    assert not (plain / "sweeps" / NAME / "cards").exists()


def test_cards_are_removed_with_their_sweep(plain: Path) -> None:
    pick(NAME, store=plain)
    rm(NAME, store=plain)
    assert cards(store=plain) == []


# --- the model and MLflow


@pytest.mark.slow
def test_the_model_in_mlflow_is_called_tuned_and_scores_exactly_what_was_searched(tracked: Path) -> None:
    outcome = pick(NAME, store=tracked)
    assert outcome.model == NAME
    assert outcome.notes == ()
    tuned = client(tracked).get_model_version_by_alias(NAME, "tuned")
    run = client(tracked).get_run(tuned.run_id)
    assert run.info.run_name == f"trial {outcome.row.trial}"
    with open_store(locate(tracked), create=False) as store:
        (card,) = store.cards(store.sweep(NAME).id)
    assert {key: tuned.tags[f"noise_search.{key}"] for key in ("trial", "rule", "kind", "card")} == {
        "trial": str(outcome.row.trial),
        "rule": "best",
        "kind": "searched",
        "card": card.digest,
    }
    folder = Path(tuned.source.removeprefix("file://"))
    assert (folder / "card.yaml").read_bytes() == card.content.encode()
    data = load_dataset(spec().data)
    model = build_model("mlp", spec().model.parameters, data.statistics, seed=99)
    model.load_state_dict(load_file(folder / "model.safetensors"))
    with torch.no_grad():
        found = float(accuracy(model.eval()(data.validation.inputs), data.validation.labels))
    assert above_chance(found, 10) == outcome.row.clean


@pytest.mark.slow
def test_the_readme_beside_a_model_loads_it_and_its_card(tracked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = pick(NAME, store=tracked)
    folder = tracked / "sweeps" / NAME / "cards" / "1"
    (block,) = re.findall("```python\n(.*?)```", (folder / "README.md").read_text(), flags=re.DOTALL)
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    exec(block, names)  # it is what a reader would run
    assert names["card"] == outcome.card
    data = load_dataset(spec().data)
    with torch.no_grad():
        found = float(accuracy(names["model"](data.validation.inputs), data.validation.labels))
    assert above_chance(found, 10) == outcome.row.clean


@pytest.mark.slow
def test_picking_again_trains_nothing_and_another_pick_is_the_tuned_one(tracked: Path) -> None:
    first = pick(NAME, store=tracked)
    pick(NAME, store=tracked, reporter=Quitter(epochs=1))
    other = next(number for number in (0, 1) if number != first.row.trial)
    second = pick(NAME, rule=f"trial={other}", store=tracked)
    assert (first.version, second.version) == (1, 2)
    assert len(client(tracked).search_model_versions(f"name = '{NAME}'")) == 2
    assert client(tracked).get_model_version_by_alias(NAME, "tuned").tags["noise_search.trial"] == str(other)
    rm(NAME, store=tracked)
    assert client(tracked).search_registered_models() == []


@pytest.mark.slow
def test_a_pick_that_was_killed_before_or_after_the_model_was_left_is_completed_by_the_next(
    tracked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KeyboardInterrupt):
        pick(NAME, store=tracked, reporter=Quitter(epochs=1))
    assert [one["version"] for one in cards(store=tracked)] == [1]
    with monkeypatch.context() as patched:
        patched.setattr(Mirror, "start", _dies)
        with pytest.raises(KeyboardInterrupt):
            pick(NAME, store=tracked)
    with open_store(locate(tracked), create=False) as store:
        assert [one.key for one in store.unsent(store.sweep(NAME).id)] == ["card 1"]
    pick(NAME, store=tracked, reporter=Quitter(epochs=1))
    assert client(tracked).get_model_version_by_alias(NAME, "tuned").tags["noise_search.rule"] == "best"


@pytest.mark.slow
def test_where_mlflow_does_not_take_the_model_it_is_said_to_be_behind(
    tracked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(Mirror, "start", _dies)
        with pytest.raises(KeyboardInterrupt):
            pick(NAME, store=tracked)
    locate(tracked).tracking_path.write_bytes(b"no database")
    monkeypatch.setattr(sending, "FAILING_MIRROR_SECONDS", 1.0)
    outcome = pick(NAME, store=tracked)
    assert outcome.model is None
    assert outcome.notes[-1].startswith("MLflow is behind: noise-search mirror registers the model")


def _dies(_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.slow
def test_without_a_model_the_card_is_registered_in_the_store_alone(tracked: Path) -> None:
    outcome = pick(NAME, model=False, store=tracked, reporter=Quitter(epochs=1))
    assert (outcome.version, outcome.model) == (1, None)
    assert client(tracked).search_registered_models() == []


@pytest.mark.slow
def test_while_the_sweep_runs_the_card_is_registered_and_the_model_left_out(tracked: Path) -> None:
    with open_store(locate(tracked), create=False) as store, store.take_lease(record(tracked).id):
        outcome = pick(NAME, store=tracked, reporter=Quitter(epochs=1))
    assert (outcome.version, outcome.model) == (1, None)
    assert "the sweep is running: its model is left out of MLflow's registry" in outcome.notes[0]


@pytest.mark.slow
def test_where_the_data_are_other_ones_the_card_is_written_and_the_model_refused(
    tracked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from noise_search.commands import picking

    other = load_dataset(spec("data.split_seed=1").data)
    monkeypatch.setattr(picking, "load_dataset", lambda _: other)
    with pytest.raises(CallerError) as caught:
        pick(NAME, output=tmp_path / "card.yaml", store=tracked)
    assert caught.value.mistakes == (
        f"data: expected those of {NAME}, got others called digits",
        f"pick: the card is registered as {NAME} version 1; its model cannot be trained, --no-model leaves it out",
    )
    assert load_card(tmp_path / "card.yaml").context["sweep"] == NAME
