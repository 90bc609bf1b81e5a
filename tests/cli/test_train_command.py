from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from cli_runs import Run, runner
from sweep_examples import NAME, picking_store

from noise_search.commands import pick, train
from noise_search.config import config_folder


@pytest.fixture
def ns(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in a folder with a card: exit code, standard output, lines of standard error."""
    monkeypatch.chdir(tmp_path)
    pick(NAME, output="card.yaml", store=picking_store())
    return runner(capsys)


def test_train_as_json_is_what_the_python_call_gives(ns: Run) -> None:
    code, out, _ = ns("train", "card.yaml", "--control", "--json", "seed=3")
    assert code == 0
    found, outcome = json.loads(out), train("card.yaml", ["seed=3"], control=True)
    assert outcome.control is not None
    assert found["card"]["scores"] == outcome.card.scores
    assert found["control"]["kinds"] == outcome.control.kinds
    assert (found["difference"], found["seed"], found["output"]) == (outcome.difference, 3, None)


def test_train_prints_scores_every_kind_the_seed_and_where_the_weights_are(ns: Run, tmp_path: Path) -> None:
    code, out, _ = ns("train", "card.yaml", "-o", "model.safetensors")
    assert code == 0
    for text in ("clean", "robust", "worst family", "gaussian_blur", "2 epochs, seed 0, fused", "validation split"):
        assert text in out
    assert "no noise" not in out
    assert out.splitlines()[-1] == "weights: model.safetensors"
    assert {path.name for path in tmp_path.iterdir()} == {"card.yaml", "model.safetensors"}


def test_train_with_the_control_prints_the_difference(ns: Run) -> None:
    code, out, _ = ns("train", "card.yaml", "--control")
    assert code == 0
    rows = {line.split("  ")[1]: line for line in out.splitlines() if line.startswith("  ")}
    assert {"card", "no noise", "difference"} <= set(rows)


def test_hydras_own_options_show_the_composed_configuration_and_train_nothing(ns: Run, tmp_path: Path) -> None:
    code, out, errors = ns("train", "card.yaml", "--cfg", "job", "train.epochs=7", "model=cnn")
    assert (code, errors) == (0, [])
    shown = yaml.safe_load(out)
    assert shown["train"]["epochs"] == 7
    assert shown["train"]["batch_size"] == 256
    assert shown["optimizer"]["lr"] == 0.02
    assert shown["model"] == yaml.safe_load((config_folder() / "model" / "cnn.yaml").read_text())
    assert [path.name for path in tmp_path.iterdir()] == ["card.yaml"]


def test_several_seeds_train_one_after_another(ns: Run) -> None:
    code, out, _ = ns("train", "card.yaml", "--json", "-m", "seed=0,1")
    assert (code, [one["seed"] for one in json.loads(out)]) == (0, [0, 1])
    code, out, errors = ns("train", "card.yaml", "-o", "model.safetensors", "-m", "seed=0,1")
    assert (code, out) == (2, "")
    assert errors == ["--output: expected one training, got 2; train them one by one"]


CARDS = {
    "an unknown version": ("version: 7\nterms: []\n", "card.yaml: version: expected 1, got 7; upgrade noise-search"),
    "a Python tag": ("version: 1\nterms: !!python/object/apply:os.mkdir [made]\n", "card.yaml: expected a YAML card"),
    "a magnitude that is no number": (
        "version: 1\nterms: [{site: inputs, noise: gaussian, magnitude: .nan}]\n",
        "card.yaml: terms[0].magnitude: expected",
    ),
    "another kind of data": (
        "version: 1\nterms: []\ncontext: {modality: audio, data: digits}\n",
        "card.yaml: context.modality: expected 'images'",
    ),
    "code": (
        "version: 1\nterms: []\ncontext: {model: {_target_: os.mkdir, path: made}}\n",
        "card.yaml: context.model._target_: a card names no code, got 'os.mkdir'",
    ),
}


@pytest.mark.parametrize("mistake", CARDS)
def test_a_wrong_card_is_one_line_and_exit_2(mistake: str, ns: Run, tmp_path: Path) -> None:
    text, beginning = CARDS[mistake]
    Path("card.yaml").write_text(text)
    code, out, errors = ns("train", "card.yaml")
    assert (code, out, len(errors)) == (2, "", 1), errors
    assert errors[0].startswith(beginning)
    assert [path.name for path in tmp_path.iterdir()] == ["card.yaml"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("none.yaml",), "none.yaml: cannot read the card: No such file or directory"),
        ((), "noise-search train: the following arguments are required: CARD"),
        (("card.yaml", "train.epoch=3"), "train: expected one of"),
        (("card.yaml", "train.epochs=0"), "train.epochs: expected"),
        (("card.yaml", "--baseline"), "noise-search train: error: unrecognized arguments: --baseline"),
        (("card.yaml", "budget.trials=3"), "budget.trials: expected a key of training or scoring"),
        (("card.yaml", "-o", "none/m.safetensors"), "none/m.safetensors: cannot write the weights"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line_and_exit_2(arguments: tuple[str, ...], line: str, ns: Run) -> None:
    code, out, errors = ns("train", *arguments)
    assert (code, out, len(errors)) == (2, "", 1), errors
    assert errors[0].startswith(line)
