from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from apply_examples import card

from noise_search.policy import Term, save_card

HEAVY = (
    "optuna",
    "mlflow",
    "hydra",
    "omegaconf",
    "sqlalchemy",
    "alembic",
    "pydantic",
    "sklearn",
    "pandas",
    "plotly",
    "pytorch_lightning",
)
PROGRAM = """
import json, sys
import torch
from torch import nn
import noise_search.apply
from noise_search import load_card
model = nn.Linear(4, 3)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
noise = load_card(sys.argv[1]).bind(model, optimizer, total_steps=1, seed=0)
with noise.step():
    inputs, targets = noise.batch(torch.rand(2, 4), torch.tensor([0, 1]))
    nn.functional.cross_entropy(model(inputs), targets).backward()
print(json.dumps(sorted(sys.modules)))
"""


@pytest.mark.slow
def test_a_card_is_loaded_and_applied_with_torch_numpy_and_yaml_alone(tmp_path: Path) -> None:
    terms = (Term("inputs", "gaussian", 0.2), Term("weights", "relative", 0.1))
    save_card(card(*terms, context={"modality": "tabular", "input_range": None}), tmp_path / "card.yaml")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "card.yaml")]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    loaded = json.loads(finished.stdout)
    assert "noise_search.apply.binding" in loaded
    assert [name for name in HEAVY if name in loaded] == []
