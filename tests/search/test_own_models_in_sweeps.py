from __future__ import annotations

import logging
from pathlib import Path

import pytest
import sweep_examples
import yaml

from noise_search.cli import main
from noise_search.commands import sweep
from noise_search.errors import CallerError
from noise_search.store import locate, open_store

GATED = {"_target_": "own_models.Net", "width": 8, "middle": "gate"}
TINY = tuple(
    override for override in sweep_examples.TINY if not override.startswith(("model", "name", "budget", "train.batch"))
)
FEW = (*TINY, "budget.trials=2", "train.batch_size=128", "name=own")


@pytest.fixture
def config_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "configuration"
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "gated.yaml").write_text(yaml.safe_dump(GATED))
    return folder


def test_a_model_with_control_flow_is_swept_looped_and_the_layer_is_told_once(
    config_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        outcome = sweep(
            [*FEW, "model=gated", "train.mode=auto", "train.score_mode=auto"],
            store=tmp_path / "store",
            config_dir=config_dir,
        )
    assert outcome.state == "complete"
    told = [record.getMessage() for record in caplog.records if "cannot be fused" in record.getMessage()]
    assert len(told) == 1
    assert told[0].startswith(
        "trials train one after another: model cannot be fused: "
        "layer 'network.middle' (Gate): data-dependent control flow"
    )
    with open_store(locate(tmp_path / "store"), create=False) as store:
        record = store.sweep("own")
        assert (record.train_mode, record.score_mode) == ("looped", "looped")
        assert record.identity["model._target_"] == "own_models.Net"
        assert (record.identity["model.width"], record.identity["model.middle"]) == (8, "gate")


def test_fused_is_refused_before_anything_is_written(
    config_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "store"
    arguments = ["--config-dir", str(config_dir), "model=gated", "train.mode=fused", *FEW]
    assert main(["sweep", "--store", str(store), *arguments]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(
        "train.mode: expected looped or auto for this model, got fused: model cannot be fused: layer "
    )
    assert not store.exists()


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            ["model={_target_: own_models.raising}"],
            "model._target_: own_models.raising failed with ValueError: no width",
        ),
        (["model={_target_: own_models.judged, kind: five logits}"], "model: expected logits of shape (2, 10)"),
        (["model={_target_: own_models.Net, middle: counter}"], "model: expected the same logits for the same inputs"),
        (["model={_target_: nowhere.Net}"], "model._target_: found no module 'nowhere'"),
        (
            ["model=transformer", "model.patch=3"],
            "model.patch: expected one of [1, 2, 4, 8] for images of 8x8 pixels, got 3",
        ),
    ],
)
def test_a_model_that_does_not_do_is_refused_before_anything_is_written(
    overrides: list[str], expected: str, tmp_path: Path
) -> None:
    with pytest.raises(CallerError) as caught:
        sweep([*FEW, *overrides], store=tmp_path / "store")
    assert str(caught.value).startswith(expected)
    assert list(tmp_path.iterdir()) == []
