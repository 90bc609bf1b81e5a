from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import yaml
from hydra.core.global_hydra import GlobalHydra

from noise_search.config import Collected, check, collect, compose, config_folder
from noise_search.corruptions.suites import HELD_OUT
from noise_search.errors import CallerError

TOP = (
    "configuration: expected one of ['budget', 'controls', 'data', 'driver', 'executor', 'experiment', 'log', 'model', "
    "'name', 'objective', 'optimizer', 'sampler', 'seed', 'space', 'stopping', 'store', 'suite', "
    "'tracking', 'train'], got"
)
MODELS = "['cnn', 'cnn_bn', 'gru', 'mlp', 'resnet', 'resnet_bn', 'transformer']"
TRAIN = (
    "train: expected one of ['batch_size', 'clip', 'device', 'epochs', 'mode', 'score_every', 'score_mode', "
    "'threads'], got"
)


def mistakes_of(*overrides: str) -> list[str]:
    with pytest.raises(CallerError) as error:
        compose(overrides)
    assert all("\n" not in mistake for mistake in error.value.mistakes)
    return list(error.value.mistakes)


# --- composing


def test_the_shipped_configuration_is_a_plain_dictionary_without_hydras_own_node() -> None:
    config = compose([])
    assert type(config) is dict
    assert "hydra" not in config
    assert (config["budget"]["trials"], config["model"]["name"], config["suite"]["name"]) == (32, "cnn", "digits")


def test_overrides_change_choices_and_values() -> None:
    config = compose(["model=mlp", "budget.trials=64", "model.hidden=[8]", "train.clip=null", "name=a"])
    assert config["model"] == {"name": "mlp", "hidden": [8]}
    assert (config["budget"]["trials"], config["train"]["clip"], config["name"]) == (64, None, "a")


def test_the_shipped_experiment_names_its_modes() -> None:
    train = compose([])["train"]
    assert (train["mode"], train["score_mode"]) == ("fused", "looped")
    assert compose(["train.mode=looped"])["train"]["mode"] == "looped"


def test_the_store_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOISE_SEARCH_STORE", "/somewhere")
    assert compose([])["store"]["url"] == "/somewhere"
    monkeypatch.delenv("NOISE_SEARCH_STORE")
    assert compose([])["store"]["url"] == "./noise_search_runs"


def every_shipped_choice() -> list[str]:
    files = [file for file in sorted(config_folder().glob("*/*.yaml")) if not file.stem.endswith(HELD_OUT)]
    return [f"{file.parent.name}={file.stem}" for file in files]


NEEDS_FILES = {"data=fashion_mnist", "experiment=fashion_mnist", "suite=fashion_mnist"}
COMES_WITH = {"suite=fashion_mnist": ["data=fashion_mnist"], "store=postgres": ["store.url=postgresql://db/noise"]}


@pytest.mark.parametrize("choice", every_shipped_choice())
def test_every_shipped_choice_composes(choice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOISE_SEARCH_DATA", str(tmp_path))
    found = check(compose([choice, *COMES_WITH.get(choice, [])]))
    # Without its files there is one mistake, and it is not in what we ship.
    files = "data.root: expected a folder with the files train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, "
    assert [mistake[: len(files)] for mistake in found] == [files] * (choice in NEEDS_FILES)


@pytest.mark.parametrize("name", sorted(file.stem for file in (config_folder() / "suite").glob(f"*{HELD_OUT}.yaml")))
def test_no_sweep_is_steered_by_a_shipped_held_out_suite(name: str) -> None:
    (mistake,) = check(compose([f"suite={name}"]))
    assert mistake.startswith(f"suite: expected one that may steer a search, got {name}, which is held out ")
    assert mistake.endswith(f"; take suite={name.removesuffix(HELD_OUT)}")


def test_the_folder_of_fashion_mnist_is_looked_for_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOISE_SEARCH_DATA", "/somewhere")
    assert compose(["data=fashion_mnist"])["data"]["root"] == "/somewhere/fashion-mnist"
    monkeypatch.delenv("NOISE_SEARCH_DATA")
    assert compose(["data=fashion_mnist"])["data"]["root"] == "data/fashion-mnist"


def test_an_experiment_changes_what_the_sweep_itself_says_and_the_command_line_both() -> None:
    train = compose(["experiment=fashion_mnist", "train.threads=1"])["train"]
    assert (train["epochs"], train["batch_size"], train["mode"], train["threads"]) == (12, 128, "looped", 1)
    assert compose(["experiment=fashion_mnist"])["suite"]["data"] == "fashion_mnist"


def test_composing_leaves_no_trace_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    environment, arguments = dict(os.environ), list(sys.argv)
    compose([])
    with pytest.raises(CallerError):
        compose(["model=nope"])
    collect(["budget.trials=1"], "noise-search sweep")
    assert list(tmp_path.iterdir()) == []
    assert (dict(os.environ), sys.argv) == (environment, arguments)
    assert not GlobalHydra.instance().is_initialized()


def test_a_folder_of_ones_own_adds_choices(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "tiny.yaml").write_text(yaml.safe_dump({"name": "mlp", "hidden": [4]}))
    assert compose(["model=tiny"], config_dir=tmp_path)["model"]["hidden"] == [4]
    assert mistakes_of("model=tiny") == [f"model: expected one of {MODELS}, got 'tiny'"]


def test_a_folder_of_ones_own_that_is_missing_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(CallerError) as error:
        compose([], config_dir=tmp_path / "gone")
    assert error.value.mistakes == (f"config_dir: expected a folder, got '{tmp_path / 'gone'}'",)


# --- mistakes


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("model=nope", f"model: expected one of {MODELS}, got 'nope'"),
        ("model=cn", f"model: expected one of {MODELS}, got 'cn'; did you mean 'cnn'?"),
        ("optimizer=lion", "optimizer: expected one of ['adamw', 'sgd'], got 'lion'"),
        ("suite=nope", "suite: expected one of ['digits', 'fashion_mnist', 'literature'], got 'nope'"),
        (
            "suite=digits_held_ou",
            "suite: expected one of ['digits', 'fashion_mnist', 'literature'], got 'digits_held_ou'",
        ),
        ("data=nope", "data: expected one of ['digits', 'fashion_mnist'], got 'nope'"),
        ("experiment=nope", "experiment: expected one of ['default', 'fashion_mnist'], got 'nope'"),
        ("trian.epochs=3", f"{TOP} 'trian'; did you mean 'train'?"),
        ("train.epoch=3", f"{TRAIN} 'epoch'; did you mean 'epochs'?"),
        ("nope=3", f"{TOP} 'nope'"),
        (
            "optimizer.options.momentum=0.9",
            "optimizer.options.momentum: no such key; to add it, write +optimizer.options.momentum=...",
        ),
        (
            "space.terms.inputs.magnitude.shot=0.9",
            "space.terms.inputs.magnitude.shot: no such key; to add it, write +space.terms.inputs.magnitude.shot=...",
        ),
        ("train.epochs=${nope}", "train.epochs=${nope}: Interpolation key 'nope' not found"),
        ("train.epochs=???", "train.epochs: expected a value, got none"),
        ("model=3", "model=3: Config group override must be a string or a list. Got int"),
        ("budget.trials", "budget.trials: Error parsing override 'budget.trials'; missing EQUAL at '<EOF>'"),
        ("train.epochs=[1", "train.epochs=[1: no viable alternative at input '[1'"),
        ("budget.trials=1,2", "budget.trials=1,2: Ambiguous value for argument 'budget.trials=1,2'"),
        ("+train.epochs=3", "+train.epochs=3: Could not append to config. An item is already at 'train.epochs'."),
        ("executor.gpus=1", "executor.gpus: expected executor=ray with it, got none of these choices"),
        ("executor.adress=a", "executor: expected one of ['name'], got 'adress'"),
        ("~train.epoch", "~train.epoch: Could not delete from config. 'train.epoch' does not exist."),
    ],
)
def test_a_wrong_override_is_told_the_key_the_value_and_what_is_allowed(override: str, expected: str) -> None:
    (mistake,) = mistakes_of(override)
    assert mistake == expected or mistake.startswith(f"{expected};")
    assert "full_key" not in mistake
    assert "Config search path" not in mistake


def test_keys_beside_the_name_of_an_executor_that_is_none_are_told_of_with_their_choice() -> None:
    found = mistakes_of("executor.name=slurm", "executor.gpus=1")
    assert found == ["executor.gpus: expected executor=ray with it, got none of these choices"]


def test_every_wrong_override_is_told_of_at_once() -> None:
    found = mistakes_of("trian.epochs=3", "model=mlp", "train.epoch=3", "budget.trials=4", "space=nope")
    assert found == [
        "space: expected one of ['default', 'flat', 'gaussian', 'images', 'schedules'], got 'nope'",
        f"{TOP} 'trian'; did you mean 'train'?",
        f"{TRAIN} 'epoch'; did you mean 'epochs'?",
    ]


def test_an_override_is_judged_beside_the_choices_of_groups_wherever_they_stand() -> None:
    overrides = ["model.channels=[2]", "nope=1", "+model.extra=1", "model=mlp"]
    assert mistakes_of(*overrides) == [f"{TOP} 'nope'", "model: expected one of ['hidden', 'name'], got 'channels'"]


def test_a_mistake_does_not_spoil_the_next_call() -> None:
    mistakes_of("model=nope")
    assert compose(["model=mlp"])["model"]["name"] == "mlp"


# --- the command line


def test_a_command_line_gives_the_configuration_that_composing_gives() -> None:
    expected = Collected(compose(["budget.trials=3", "model=mlp"]), ())
    assert collect(["budget.trials=3", "model=mlp"], "noise-search sweep") == [expected]


def test_a_multirun_gives_one_configuration_for_each_combination() -> None:
    found = collect(["-m", "seed=0,1", "budget.trials=3", "model=mlp,cnn"], "noise-search sweep")
    made = [(one.config["seed"], one.config["model"]["name"]) for one in found]
    assert made == [(0, "mlp"), (0, "cnn"), (1, "mlp"), (1, "cnn")]
    assert [one.overrides for one in found] == [(f"seed={seed}", f"model={model}") for seed, model in made]


def test_asking_for_the_configuration_prints_it_and_gives_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert collect(["--cfg", "job", "budget.trials=3"], "noise-search sweep") == []
    assert yaml.safe_load(capsys.readouterr().out)["budget"] == {"trials": 3, "minutes": None, "seeds": 1}


def test_a_folder_on_the_command_line_adds_choices(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "tiny.yaml").write_text(yaml.safe_dump({"name": "mlp", "hidden": [4]}))
    (found,) = collect(["--config-dir", str(tmp_path), "model=tiny"], "noise-search sweep")
    assert found.config["model"]["hidden"] == [4]


@pytest.mark.parametrize("arguments", [["--config-dir", "{folder}", "model=tiny"], []])
def test_every_mistake_of_a_command_line_is_told_at_once(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "tiny.yaml").write_text(yaml.safe_dump({"name": "mlp", "hidden": [4]}))
    filled = [argument.format(folder=tmp_path) for argument in arguments]
    with pytest.raises(CallerError) as error:
        collect([*filled, "trian.epochs=3", "train.epoch=3"], "noise-search sweep")
    assert error.value.mistakes == (f"{TOP} 'trian'; did you mean 'train'?", f"{TRAIN} 'epoch'; did you mean 'epochs'?")


def test_a_wrong_choice_of_a_multirun_is_told_in_one_line() -> None:
    with pytest.raises(CallerError) as error:
        collect(["-m", "model=mlp,nope"], "noise-search sweep")
    assert error.value.mistakes == (f"model: expected one of {MODELS}, got 'nope'",)
