from __future__ import annotations

import json
from pathlib import Path

import pytest
from sweep_examples import NAME, config, findings

from noise_search.commands import run_sweep, status
from noise_search.store import locate, open_store

LATE = {
    "noise": {"choices": ["gaussian", "speckle"]},
    "schedule": {"choices": ["window", "constant"], "window": {"start": {"low": 0.3, "high": 0.7}, "stop": 1.0}},
}
SWEEP = (
    "train.epochs=6",
    "stopping=halving",
    "stopping.at=[]",
    "stopping.factor=2",
    "sampler.name=random",
    "budget.trials=8",
)
COST_ONLY = ("shared", "checkpoint")


def _drive(folder: Path, *overrides: str) -> None:
    """Run the tiny sweep in a space where noise may begin late."""
    whole = {**config(*SWEEP, "train.score_every=1", *overrides), "space": {"terms": {"inputs": LATE}}}
    assert run_sweep(whole, store=folder).state == "complete"


def _numbers(folder: Path) -> dict[str, dict[str, object]]:
    found = {name: json.loads(text) for name, text in findings(folder).items()}
    return {name: {k: v for k, v in one.items() if k not in COST_ONLY} for name, one in found.items()}


@pytest.mark.parametrize("mode", ["fused", "looped"])
def test_numbers_are_those_without_sharing_and_epochs_are_saved(mode: str, tmp_path: Path) -> None:
    own = (f"train.mode={mode}", "train.score_mode=looped")
    _drive(tmp_path / "shared", *own)
    _drive(tmp_path / "alone", *own, "driver.share_prefix=false")
    assert _numbers(tmp_path / "shared") == _numbers(tmp_path / "alone")
    shared, alone = (status(NAME, store=tmp_path / name) for name in ("shared", "alone"))
    assert shared["epochs_saved"] > 0
    assert alone["epochs_saved"] == 0
    assert shared["epochs_trained"] + shared["epochs_saved"] == alone["epochs_trained"]


def test_every_rung_has_the_numbers_of_training(tmp_path: Path) -> None:
    for name, share in (("shared", "true"), ("alone", "false")):
        _drive(tmp_path / name, "train.mode=looped", "train.score_mode=looped", f"driver.share_prefix={share}")
    rows = []
    for name in ("shared", "alone"):
        with open_store(locate(tmp_path / name), create=False) as store:
            found = store.results(store.sweep(NAME).id)
        rows.append({(row.member_id, row.epoch): (row.scores, row.cells, row.history) for row in found})
    assert rows[0] == rows[1]


def test_checkpoints_of_trials_that_have_ended_are_gone(tmp_path: Path) -> None:
    _drive(tmp_path)
    folder = tmp_path / "sweeps" / NAME / "checkpoints"
    with open_store(locate(tmp_path), create=False) as store:
        control = next(m for m in store.members(store.sweep(NAME).id) if m.control == "no_noise")
    assert control is not None
    assert {path.name.partition("-")[0] for path in folder.iterdir()} == {str(control.id)}
