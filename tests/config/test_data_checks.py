from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from noise_search.config import build, check, compose
from noise_search.data import forget_loaded
from noise_search.spec import DataSpec

MODULE = """
import torch
from noise_search.data import cut_dataset

def load(samples=60, name="pictures", modality="images", split_seed=0, limit=None, folder=None, input_range=(0, 1)):
    rng = torch.Generator().manual_seed(0)
    shape = (1, 8, 8) if modality == "images" else (5,)
    made = torch.rand((limit or samples, *shape), generator=rng)
    labels = torch.arange(len(made)) % 3
    return cut_dataset(
        name=name, modality=modality, samples=(made, labels), input_range=input_range, split_seed=split_seed
    )
"""
OWN = {"_target_": "checked_data.load"}


@pytest.fixture(autouse=True)
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Working folder with a module `checked_data`, forgotten afterwards."""
    (tmp_path / "checked_data.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    forget_loaded()
    sys.modules.pop("checked_data", None)


def config(data: Any, *overrides: str, suite: str = "literature") -> dict[str, Any]:
    return {**compose([f"suite={suite}", "model=mlp", *overrides]), "data": data}


# --- shipped data


def test_the_folder_of_files_is_made_absolute_from_where_the_command_is_run(own_module: Path) -> None:
    found = check(config({"name": "fashion_mnist", "root": "here"}))
    assert len(found) == 1
    assert f"got '{own_module / 'here'}', which does not exist" in found[0]


def test_a_home_folder_is_spelt_out(monkeypatch: pytest.MonkeyPatch, own_module: Path) -> None:
    monkeypatch.setenv("HOME", str(own_module))
    (found,) = check(config({"name": "fashion_mnist", "root": "~/fm"}))
    assert f"got '{own_module / 'fm'}'" in found


def test_a_data_set_without_files_takes_no_folder() -> None:
    expected = "data: expected one of ['limit', 'name', 'split_seed'], got 'root'"
    assert check(config({"name": "digits", "root": "here"})) == [expected]


@pytest.mark.parametrize("key", ["target", "parameters"])
def test_what_only_data_of_ones_own_have_is_no_key_of_shipped_ones(key: str) -> None:
    (found,) = check(config({"name": "digits", key: "os.getcwd"}))
    assert found.startswith("data: expected one of ['limit', 'name', 'split_seed'], got ")


def test_a_limit_is_checked_with_everything_else() -> None:
    found = check(config({"name": "digits", "limit": 99}, "train.epochs=0"))
    assert sorted(found) == [
        "data.limit: expected null or a number from 100 to 1438, got 99",
        "train.epochs: expected greater than or equal to 1, got 0",
    ]
    assert check(config({"name": "digits", "limit": "few"})) == ["data.limit: expected integer, got 'few'"]
    assert check(config({"name": "digits", "limit": 100})) == []


def test_missing_files_are_told_with_everything_else() -> None:
    found = check(config({"name": "fashion_mnist", "root": "nowhere"}, "seed=-1", "optimizer.lr=0"))
    assert [mistake.partition(":")[0] for mistake in found] == ["data.root", "seed", "optimizer.lr"]


# --- data of one's own


def test_data_of_ones_own_are_a_path_and_plain_parameters() -> None:
    spec = build(config({**OWN, "samples": 90, "folder": "a", "split_seed": 2, "limit": 45}))
    assert spec.data == DataSpec(
        "pictures", 2, limit=45, target="checked_data.load", parameters={"samples": 90, "folder": "a"}
    )


def test_the_name_is_the_configurations_else_the_data_sets() -> None:
    assert build(config({**OWN, "name": "called_so"})).data.name == "called_so"
    assert build(config(OWN)).data.name == "pictures"


BAD: dict[str, tuple[Any, list[str]]] = {
    "a path that is none": (
        {"_target_": None},
        ["data._target_: expected a dotted path such as my_package.my_module.build, got None"],
    ),
    "a path without a module": (
        {"_target_": "load"},
        ["data._target_: expected a dotted path such as my_package.my_module.build, got 'load'"],
    ),
    "another of Hydra's special keys": (
        {**OWN, "_partial_": True},
        ["data: expected keys that an argument can have, got '_partial_'"],
    ),
    "a key that is a number": ({**OWN, 3: 4}, ["data: expected keys that an argument can have, got 3"]),
    "a name of shipped data": (
        {**OWN, "name": "digits"},
        ["data.name: 'digits' is taken; give data of your own another name"],
    ),
    "a name that is taken by none": (
        {**OWN, "name": "any"},
        ["data.name: 'any' is taken; give data of your own another name"],
    ),
    "a name with a slash": (
        {**OWN, "name": "a/b"},
        ["data.name: expected up to 100 letters, digits, '-', '_' and '.', the first no '-' or '.', got 'a/b'"],
    ),
    "a name that is a number": ({**OWN, "name": 3}, ["data.name: expected string, got 3"]),
    "a modality without a suite": (
        {**OWN, "modality": "tabular", "input_range": None},
        ["data.modality: expected one of ['images'], got 'tabular'"],
    ),
    "a limit that is a word": ({**OWN, "limit": "few"}, ["data.limit: expected integer, got 'few'"]),
}


@pytest.mark.parametrize(("data", "expected"), BAD.values(), ids=BAD)
def test_wrong_data_of_ones_own_are_told_of(data: Any, expected: list[str]) -> None:
    assert check(config(data)) == expected


def test_what_is_wrong_with_the_data_is_told_with_everything_else() -> None:
    found = check(config({**OWN, "input_range": [0, 2]}, "train.epochs=0", "budget.trials=0"))
    assert sorted(mistake.partition(":")[0] for mistake in found) == [
        "budget.trials",
        "data.input_range",
        "train.epochs",
    ]


def test_a_model_that_cannot_take_the_samples_is_refused() -> None:
    flat = {**OWN, "modality": "tabular", "input_range": None}
    assert check(config(flat, "model=cnn")) == ["data.modality: expected one of ['images'], got 'tabular'"]


# --- suites


def test_a_suite_of_other_data_is_refused_with_what_to_do() -> None:
    (found,) = check(config(OWN, suite="digits"))
    assert found == (
        "suite: expected one made on pictures, got digits for images of digits; make one with "
        "scripts/calibrate_suite, or take suite=literature: published strengths, uncalibrated"
    )


@pytest.mark.parametrize("data", [OWN, {"name": "digits"}], ids=["own", "digits"])
def test_published_strengths_serve_any_images(data: Any) -> None:
    assert build(config(data)).suite.name == "literature"
