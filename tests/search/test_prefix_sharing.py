from __future__ import annotations

import json
from pathlib import Path

import pytest
from sweep_examples import NAME, drive, findings

from noise_search.commands import status
from noise_search.store import locate, open_store

LATE = (
    "space.terms={inputs: {noise: {choices: [gaussian, speckle]}, schedule: "
    "{choices: [window, constant], window: {start: {low: 0.3, high: 0.7}, stop: 1.0}}}}"
)
SWEEP = (LATE, "train.epochs=6", "stopping=halving", "stopping.factor=2", "sampler.name=random", "budget.trials=8")
COST_ONLY = ("shared", "checkpoint")


def _numbers(folder: Path) -> dict[str, dict[str, object]]:
    found = {name: json.loads(text) for name, text in findings(folder).items()}
    return {name: {k: v for k, v in one.items() if k not in COST_ONLY} for name, one in found.items()}


@pytest.mark.parametrize("mode", ["fused", "looped"])
def test_numbers_are_those_without_sharing_and_epochs_are_saved(mode: str, tmp_path: Path) -> None:
    own = (*SWEEP, f"train.mode={mode}", "train.score_mode=looped", "train.score_every=1")
    drive(tmp_path / "shared", *own)
    drive(tmp_path / "alone", *own, "driver.share_prefix=false")
    assert _numbers(tmp_path / "shared") == _numbers(tmp_path / "alone")
    shared, alone = (status(NAME, store=tmp_path / name) for name in ("shared", "alone"))
    assert shared["epochs_saved"] > 0
    assert alone["epochs_saved"] == 0
    assert shared["epochs_trained"] + shared["epochs_saved"] == alone["epochs_trained"]


def test_every_rung_has_the_numbers_of_training(tmp_path: Path) -> None:
    own = (*SWEEP, "train.mode=looped", "train.score_mode=looped", "train.score_every=1")
    for name, share in (("shared", "true"), ("alone", "false")):
        drive(tmp_path / name, *own, f"driver.share_prefix={share}")
    rows = []
    for name in ("shared", "alone"):
        with open_store(locate(tmp_path / name), create=False) as store:
            found = store.results(store.sweep(NAME).id)
        rows.append({(row.member_id, row.epoch): (row.scores, row.cells, row.history) for row in found})
    assert rows[0] == rows[1]


def test_checkpoints_of_trials_that_have_ended_are_gone(tmp_path: Path) -> None:
    drive(tmp_path, *SWEEP)
    folder = tmp_path / "sweeps" / NAME / "checkpoints"
    with open_store(locate(tmp_path), create=False) as store:
        control = store.find_control(store.sweep(NAME).id, "no_noise")
    assert control is not None
    assert {path.name.partition("-")[0] for path in folder.iterdir()} == {str(control.id)}
