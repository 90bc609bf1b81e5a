from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from sweep_examples import NAME, Quitter, config, finished_store, picking_store, spec
from torch.func import functional_call

import noise_search
from noise_search.commands import pick, train
from noise_search.commands.training import SHOWN
from noise_search.config import card_base, compose
from noise_search.errors import CallerError
from noise_search.metrics import accuracy
from noise_search.models import build_model
from noise_search.policy import Card, Policy, Term, save_card
from noise_search.search.fronts import FrontRow, complete_rows
from noise_search.store import locate, open_store
from noise_search.training import load_dataset

GAUSSIAN = Policy((Term("inputs", "gaussian", 0.2),))


def rows() -> dict[str | int | None, FrontRow]:
    with open_store(locate(finished_store()), create=False) as store:
        return {row.control or row.trial: row for row in complete_rows(store, store.sweep(NAME).id)}


def picked() -> Card:
    return pick(NAME, store=picking_store()).card


def with_context(**changes: Any) -> Card:
    """The picked card with other context; None takes a key away."""
    context = {**picked().context, **changes}
    return Card(picked().policy, {key: value for key, value in context.items() if value is not None})


def shown(row: FrontRow) -> dict[str, float]:
    return {name: getattr(row, name) for name in SHOWN}


def test_a_card_trains_to_the_very_numbers_of_its_trial_and_the_control_to_those_of_the_sweeps() -> None:
    assert train is noise_search.train
    outcome = train(picked(), control=True)
    assert outcome.card.scores == shown(rows()[picked().context["trial"]])
    assert outcome.control is not None
    assert outcome.control.scores == shown(rows()["no_noise"])
    assert (outcome.seed, outcome.epochs, outcome.data, outcome.model) == (0, 2, "digits", "mlp")
    assert (outcome.mode, outcome.suite, outcome.output) == ("fused", "digits", None)
    assert outcome.notes == ("the search trained with seed 0, too: optimistic; seed=N trains with another",)
    assert train(picked(), ["seed=1"]).notes == ()


def test_the_difference_is_card_minus_control() -> None:
    outcome = train(picked(), control=True)
    assert outcome.control is not None
    for name, value in (outcome.difference or {}).items():
        assert value == outcome.card.scores[name] - outcome.control.scores[name]
    assert train(picked()).difference is None


def test_every_kind_of_the_suite_is_scored_and_robust_is_their_mean_over_families() -> None:
    outcome = train(picked())
    families: dict[str, list[float]] = {}
    for kind in spec().suite.kinds:
        families.setdefault(kind.family, []).append(outcome.card.kinds[kind.name])
    means = [sum(values) / len(values) for values in families.values()]
    assert outcome.card.scores["robust"] == pytest.approx(sum(means) / len(means))
    assert outcome.card.scores["worst_family"] == pytest.approx(min(means))


def test_overrides_go_before_the_card_and_another_seed_gives_other_numbers() -> None:
    outcome = train(picked(), ["seed=5", "train.epochs=1", "model.hidden=[16]"])
    assert (outcome.seed, outcome.epochs) == (5, 1)
    assert outcome.card.scores != train(picked(), ["train.epochs=1", "model.hidden=[16]"]).card.scores


def test_another_model_takes_the_place_of_the_cards() -> None:
    assert train(picked(), ["model=cnn", "train.epochs=1"]).model == "cnn"


def test_the_weights_are_those_that_were_scored_under_the_models_own_names(tmp_path: Path) -> None:
    outcome = train(picked(), output=tmp_path / "model.safetensors")
    assert outcome.output == tmp_path / "model.safetensors"
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
    data = load_dataset(spec().data)
    model = build_model("mlp", spec().model.parameters, data.statistics, seed=99)
    model.load_state_dict(load_file(tmp_path / "model.safetensors"))
    with torch.no_grad():
        found = float(accuracy(functional_call(model.eval(), {}, (data.validation.inputs,)), data.validation.labels))
    assert (found - 0.1) / 0.9 == pytest.approx(outcome.card.scores["clean"])
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        facts = file.metadata()
    assert json.loads(facts["model"]) == {"name": "mlp", "hidden": [8]}
    assert (facts["seed"], facts["epochs"], facts["data"]) == ("0", "2", "digits")


@pytest.mark.parametrize("place", ["none/model.safetensors", "."])
def test_a_file_that_cannot_be_written_is_refused_before_training(place: str, tmp_path: Path) -> None:
    with pytest.raises(CallerError, match="cannot write the weights: expected"):
        train(picked(), output=tmp_path / place, reporter=Quitter(epochs=1))
    assert list(tmp_path.iterdir()) == []


def test_a_training_that_is_interrupted_or_diverges_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(picked(), output=tmp_path / "model.safetensors", reporter=Quitter(epochs=1))
    wild = ["optimizer=sgd", "optimizer.lr=1e30", "train.clip=null"]
    with pytest.raises(RuntimeError, match="diverged"):
        train(picked(), wild, output=tmp_path / "model.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_model_of_ones_own_is_trained_from_an_override_and_its_weights_fit_it(tmp_path: Path) -> None:
    own = ["model={_target_: own_models.Net, width: 8}", "train.mode=looped", "train.epochs=1"]
    outcome = train(picked(), own, output=tmp_path / "model.safetensors")
    assert outcome.model == "Net"
    statistics = load_dataset(spec().data).statistics
    model = build_model("Net", {"width": 8}, statistics, seed=0, target="own_models.Net")
    model.load_state_dict(load_file(tmp_path / "model.safetensors"))


@pytest.mark.parametrize(
    ("context", "line"),
    [
        (
            {"model": {"_target_": "os.system", "command": "touch made"}},
            "card: context.model._target_: a card names no code, got 'os.system'",
        ),
        ({"data": {"name": "digits", "_target_": "os.getcwd"}}, "card: context.data._target_: a card names no code"),
        ({"optimizer": {"options": {"_target_": "x.y"}, "name": "adamw"}}, "card: context.optimizer.options._target_:"),
        ({"model": {"name": "mlp", "hidden": "${oc.env:HOME}"}}, "card: context.model.hidden: expected a plain value"),
        ({"epochs": "${oc.env:HOME}"}, "card: context.epochs: expected a plain value"),
        ({"epochs": float("nan")}, "card: context.epochs: expected"),
        ({"batch_size": "many"}, "card: context.batch_size: expected"),
        ({"seed": -1}, "card: context.seed: expected a whole number of at least 0, got -1"),
        ({"model": {"name": "mlp", "hiden": [8]}}, "card: context.model: expected one of ['hidden'], got 'hiden'"),
        ({"model": {"name": "perceptron"}}, "card: context.model.name: expected one of"),
        ({"model": 3}, "card: context.model: expected a word or a mapping, got 3"),
        ({"model": ["mlp"]}, "card: context.model: expected a word or a mapping, got ['mlp']"),
        ({"data": {"name": "../digits"}}, "card: context.data.name: expected letters"),
        ({"data": {"name": "birds"}}, "card: context.data: expected one of ['digits', 'fashion_mnist'], got 'birds'"),
        ({"data": {"name": "fashion_mnist", "root": "/"}}, "card: context.data: expected one of ['limit', 'name',"),
        ({"modality": "audio"}, "card: context.modality: expected 'images', the kind of data that digits is"),
        ({"suite": {"name": "birds"}}, "card: context.suite: expected one of"),
    ],
)
def test_a_wrong_context_is_refused_in_a_line_that_names_the_card_and_runs_nothing(
    context: Mapping[str, Any], line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CallerError) as caught:
        train(with_context(**context))
    assert len(caught.value.mistakes) == 1, caught.value.mistakes
    assert caught.value.mistakes[0].startswith(line)
    assert list(tmp_path.iterdir()) == []


def test_code_of_the_cards_that_an_override_replaces_is_never_looked_at() -> None:
    card = with_context(model={"_target_": "no_such_module.Net"})
    modes = [f"train.{key}={card.context[key]}" for key in ("mode", "score_mode")]  # of another model they are not kept
    assert train(card, ["model=mlp", "model.hidden=[8]", *modes]).card.scores == train(picked()).card.scores


def test_another_model_that_cannot_be_fused_is_trained_whatever_the_cards_mode() -> None:
    card = with_context(mode="fused")
    assert train(card, ["model={_target_: own_models.Net, middle: gate}", "train.epochs=1"]).mode == "looped"


@pytest.mark.parametrize("override", ["budget.trials=4", "space=gaussian", "+tracking.enabled=false", "~controls"])
def test_what_only_a_search_has_is_refused(override: str) -> None:
    with pytest.raises(CallerError, match="expected a key of training or scoring; a card is one policy"):
        train(picked(), [override])


def test_a_card_with_words_for_its_context_takes_our_choices_of_these_names() -> None:
    card = Card(GAUSSIAN, {"modality": "images", "data": "digits", "model": "mlp", "epochs": 1})
    outcome = train(card, ["optimizer=sgd"])
    assert (outcome.data, outcome.model, outcome.epochs) == ("digits", "mlp", 1)
    assert outcome.notes == ("the card names no optimizer: ours were taken",)


def test_other_data_or_another_suite_than_the_cards_are_noted() -> None:
    outcome = train(picked(), ["data.split_seed=1", "suite=literature"])
    assert [note.partition(" that")[0] for note in outcome.notes] == [
        "these are not the data",
        "this is not the suite",
    ]


def test_a_file_is_read_as_the_card_it_holds(tmp_path: Path) -> None:
    save_card(picked(), tmp_path / "card.yaml")
    assert train(tmp_path / "card.yaml").card.scores == train(picked()).card.scores


def test_the_context_of_a_card_composes_to_what_the_sweep_was_run_with() -> None:
    composed = compose([], primary=card_base(picked(), [], "card").content)
    for node in ("data", "model", "optimizer", "suite", "seed"):
        assert composed[node] == config()[node]
    for key in ("epochs", "batch_size", "clip", "mode"):
        assert composed["train"][key] == config()["train"][key]
