"""A small model in a plain loop with bound noise, for the tests of binding."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from apply_examples import card
from torch import Tensor, nn

from noise_search.policy import Term

INPUTS = Term("inputs", "gaussian", 0.2)
WEIGHTS = Term("weights", "relative", 0.1)
TARGETS = Term("targets", "label_smoothing", 0.2)
GRADIENTS = Term("gradients", "gaussian", 0.3)
IMAGE = torch.rand((8, 1, 4, 4), generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(8) % 3


def network() -> nn.Sequential:
    """A small model with biases, a norm and buffers, the same every time."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))


class Loop:
    """A model, its optimiser and bound noise."""

    def __init__(self, *terms: Term, total_steps: int = 10, seed: int = 0) -> None:
        self.model = network()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)
        bound = card(*terms)
        self.noise = bound.bind(self.model, self.optimizer, total_steps=total_steps, seed=seed, classes=3)

    def forward_backward(self) -> None:
        inputs, targets = self.noise.batch(IMAGE, LABELS)
        F.cross_entropy(self.model(inputs), targets).backward()  # type: ignore[no-untyped-call]

    def train(self, steps: int = 1) -> None:
        for _ in range(steps):
            with self.noise.step():
                self.forward_backward()
            self.optimizer.step()
            self.optimizer.zero_grad()

    def state(self) -> dict[str, Tensor]:
        return {name: value.clone() for name, value in self.model.state_dict().items()}
