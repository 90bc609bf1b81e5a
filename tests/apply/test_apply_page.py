"""What docs/apply.md says runs as it stands there."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from apply_examples import EVERY_NOISE, IMAGES
from readme_blocks import blocks, links

from noise_search.policy import Card, save_card

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "apply.md"


def test_the_loop_of_the_page_trains_with_every_noise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (loop,) = (block.text for block in blocks(PAGE.read_text(encoding="utf-8")) if block.language == "python")
    save_card(Card(EVERY_NOISE, IMAGES), tmp_path / "card.yaml")
    monkeypatch.chdir(tmp_path)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    before = model.get_parameter("1.weight").detach().clone()
    space = {
        "torch": torch,
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
        "total_steps": 3,
        "batches": [(torch.full((16, 1, 8, 8), 0.5), torch.arange(16) % 10) for _ in range(3)],
    }
    exec(compile(loop, str(PAGE), "exec"), space)
    assert space["noise"].steps_done == 3  # type: ignore[attr-defined]  # bound by the page
    assert not torch.equal(model.get_parameter("1.weight"), before)


def test_links_of_the_page_lead_somewhere() -> None:
    found = links(PAGE.read_text(encoding="utf-8"))
    assert found
    assert all((PAGE.parent / target).exists() for target in found)
