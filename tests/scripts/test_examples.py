"""The example scripts run as they stand, on a card with every site and few epochs."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest
import torch

from noise_search.policy import Card, Policy, Term, save_card
from noise_search.schedules import Schedule

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "scripts" / "examples"
CONTEXT = {"modality": "images", "input_range": [0.0, 1.0], "epochs": 6, "batch_size": 64}
TERMS = (
    Term("inputs", "gaussian", 0.3, 0.7, schedule=Schedule("linear")),
    Term("weights", "relative", 0.02),
    Term("targets", "label_smoothing", 0.05),
    Term("gradients", "gaussian", 0.1),
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(
        "ignore:.*does not have many workers:UserWarning",
        "ignore:`isinstance.treespec, LeafSpec.` is deprecated",  # Lightning under torch 2.13
        "ignore:The number of training batches:UserWarning",
    ),
]


@pytest.mark.parametrize("script", ["plain_pytorch.py", "lightning_loop.py"])
def test_an_example_learns_the_digits_with_a_card_and_leaves_its_weights(
    script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save_card(Card(Policy(TERMS), CONTEXT), tmp_path / "card.yaml")
    monkeypatch.setattr(sys, "argv", [script, str(tmp_path / "card.yaml"), "1", str(tmp_path / "weights.pt")])
    runpy.run_path(str(EXAMPLES / script), run_name="__main__")
    (accuracy,) = re.findall(r"accuracy: clean ([\d.]+), under Gaussian noise of 0.3 ([\d.]+)", capsys.readouterr().out)
    clean, noisy = map(float, accuracy)
    assert clean > 0.9
    assert noisy > 0.6
    assert "network.0.weight" in torch.load(tmp_path / "weights.pt")


def test_the_plain_example_is_about_thirty_lines() -> None:
    lines = (EXAMPLES / "plain_pytorch.py").read_text(encoding="utf-8").splitlines()
    assert len([line for line in lines if line and not line.startswith(("import", "from", '"""'))]) <= 30
