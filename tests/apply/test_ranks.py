from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from apply_examples import card
from torch import Tensor, distributed, nn
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel

from noise_search.apply import BoundNoise
from noise_search.errors import CallerError
from noise_search.policy import Term

TERMS = (Term("inputs", "gaussian", 0.2), Term("weights", "relative", 0.1), Term("gradients", "gaussian", 0.3))
PROCESSES, STEPS = 2, 3


def train(seed: int, *, in_ddp: bool) -> dict[str, Any]:
    """Train on the same pictures in every process; what was seen on the way."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    whole = DistributedDataParallel(model) if in_ddp else model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    noise: BoundNoise = card(*TERMS).bind(whole, optimizer, total_steps=STEPS, seed=seed)
    seen: dict[str, list[Tensor]] = {"inputs": [], "weights": []}
    for _ in range(STEPS):
        with noise.step():
            inputs, labels = noise.batch(torch.full((4, 1, 4, 4), 0.5), torch.tensor([0, 1, 2, 0]))
            seen["inputs"].append(inputs)
            seen["weights"].append(model.get_parameter("1.weight").detach().clone())
            F.cross_entropy(whole(inputs), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
    return {**seen, "state": model.state_dict()}


def one_process(rank: int, folder: str, seeds: list[int]) -> None:
    """Body of each of the processes: what it found is left in a file of its own."""
    store = f"file://{folder}/store"
    distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=PROCESSES)
    try:
        found = train(seeds[rank], in_ddp=True)
    except CallerError as error:
        found = {"error": str(error)}
    torch.save(found, Path(folder) / f"{rank}.pt")
    distributed.destroy_process_group()


def both(folder: Path, seeds: list[int]) -> list[dict[str, Any]]:
    spawn(one_process, (str(folder), seeds), nprocs=PROCESSES)  # type: ignore[no-untyped-call]
    return [torch.load(folder / f"{rank}.pt") for rank in range(PROCESSES)]


@pytest.mark.slow
def test_two_processes_share_the_draws_for_weights_and_gradients_and_no_other(tmp_path: Path) -> None:
    first, second = both(tmp_path, [0, 0])
    for step in range(STEPS):
        assert torch.equal(first["weights"][step], second["weights"][step])
        assert not torch.equal(first["inputs"][step], second["inputs"][step])
    assert all(torch.equal(first["state"][name], second["state"][name]) for name in first["state"])
    alone = train(0, in_ddp=False)
    assert torch.equal(alone["inputs"][0], first["inputs"][0])
    assert torch.equal(alone["weights"][0], first["weights"][0])


@pytest.mark.slow
def test_processes_that_were_given_other_seeds_are_all_told(tmp_path: Path) -> None:
    for found in both(tmp_path, [0, 1]):
        assert found["error"].startswith("bind: seed: expected the same in all processes, got [0, 1]")
