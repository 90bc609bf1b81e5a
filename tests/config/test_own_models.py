from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from noise_search.config import build, check, collect, compose, config_folder
from noise_search.models import MODELS
from noise_search.spec import ModelSpec

OWN = "model={_target_: own_models.Net, width: 6}"


def mistakes(**node: Any) -> list[str]:
    return check({**compose([]), "model": node})


@pytest.mark.parametrize("path", sorted((config_folder() / "model").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_file_of_a_model_is_sound(path: Path) -> None:
    spec = build(compose([f"model={path.stem}"])).model
    assert spec.name in MODELS
    assert isinstance(spec.parameters, MODELS[spec.name].parameters)


def test_every_shipped_model_has_a_file_that_names_each_of_its_parameters() -> None:
    for name, model in MODELS.items():
        node = compose([f"model={name}"])["model"]
        assert node.keys() == {"name", *model.parameters.__dataclass_fields__}
        assert build(compose([f"model={name}"])).model.parameters == model.parameters()


def test_a_model_of_ones_own_takes_the_place_of_the_shipped_one() -> None:
    config = compose([OWN])
    assert config["model"] == {"_target_": "own_models.Net", "width": 6}
    assert collect([OWN, "seed=1"], "noise-search sweep")[0].config["model"] == config["model"]
    assert build(config).model == ModelSpec("Net", {"width": 6}, "own_models.Net", normalise=True)


def test_a_model_of_ones_own_may_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    node = {"_target_": "own_models.WithoutStatistics", "pixels": 64, "normalise": False}
    (tmp_path / "model" / "mine.yaml").write_text(yaml.safe_dump(node))
    spec = build(compose(["model=mine", "model.pixels=64"], config_dir=tmp_path)).model
    assert spec == ModelSpec("WithoutStatistics", {"pixels": 64}, "own_models.WithoutStatistics", normalise=False)


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (
            {"_target_": "own_models.Net", "wdth": 3, "normalise": "no"},
            [
                "model.normalise: expected true or false, got 'no'",
                "model: expected one of ['middle', 'width'], got 'wdth'; did you mean 'width'?",
            ],
        ),
        ({"_target_": "own_models.Nett"}, ["model._target_: own_models has no 'Nett', got 'own_models.Nett'"]),
        ({"_target_": "own_models.Net", "width": float("nan")}, ["model.width: expected a finite number, got nan"]),
    ],
)
def test_mistakes_in_a_model_of_ones_own_are_told_at_once(node: dict[str, Any], expected: list[str]) -> None:
    assert mistakes(**node) == expected


def test_heads_that_do_not_divide_the_width_are_told_with_their_key() -> None:
    config = compose(["model=transformer", "model.heads=5"])
    assert check(config) == ["model.heads: expected a divisor of model.width 64, got 5"]


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("model=resnet,model.blocks=0", "model.blocks: expected greater than or equal to 1, got 0"),
        ("model=gru,model.layers=5", "model.layers: expected less than or equal to 4, got 5"),
        ("model=transformer,model.dropout=1", "model.dropout: expected less than 1, got 1"),
        ("model=transformer,model.patch=0", "model.patch: expected greater than or equal to 1, got 0"),
    ],
)
def test_a_parameter_out_of_its_range_is_told(override: str, expected: str) -> None:
    assert check(compose(override.split(","))) == [expected]
