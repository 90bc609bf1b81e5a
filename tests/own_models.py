"""Models as a user might write them, sound ones and others, for `_target_`."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from noise_search.models import InputStatistics


class Net(nn.Module):
    """Perceptron that any layer of one's own may be put into."""

    def __init__(self, statistics: InputStatistics, width: int = 8, middle: str = "nothing") -> None:
        super().__init__()
        self.first = nn.Linear(math.prod(statistics.shape), width)
        self.middle = MIDDLES[middle](width)
        self.last = nn.Linear(width, statistics.classes)

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.last(self.middle(torch.tanh(self.first(inputs.flatten(1)))))
        return logits


class Poisoned(Net):
    """Perceptron that ends its process, or raises, where noise has left too little of the images' background."""

    def __init__(self, statistics: InputStatistics, least: float, kill: bool) -> None:
        super().__init__(statistics)
        self.least, self.kill = least, kill

    def forward(self, inputs: Tensor) -> Tensor:
        if self.training and float((inputs == inputs.min()).float().mean()) < self.least:
            if self.kill:
                os.kill(os.getpid(), signal.SIGKILL)
            raise ValueError("poisoned")
        return super().forward(inputs)


_SHARED = nn.Linear(64, 16)


def on_a_shared_layer(statistics: InputStatistics) -> nn.Module:
    """Every model stands on the one layer of this module."""
    return nn.Sequential(nn.Flatten(), _SHARED, nn.ReLU(), nn.Linear(16, statistics.classes))


class WithoutStatistics(nn.Sequential):
    """Takes no statistics, and sizes as keyword arguments."""

    def __init__(self, *, pixels: int, classes: int = 10) -> None:
        super().__init__(nn.Flatten(), nn.Linear(pixels, classes))


class Function(nn.Module):
    """A layer made of a function of its input and of itself."""

    def __init__(self, function: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, inputs: Tensor) -> Any:
        return self.function(self, inputs)


class Gate(nn.Module):
    """Python control flow: leaves its inputs alone where they are negative on the whole."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(width, width), nn.ReLU())

    def forward(self, inputs: Tensor) -> Tensor:
        if inputs.sum() > 0:
            inputs = inputs + self.inner(inputs)
        return inputs


class Tied(nn.Module):
    """Two layers of one weight."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.one, self.other = nn.Linear(width, width), nn.Linear(width, width)
        self.other.weight = self.one.weight

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.other(torch.tanh(self.one(inputs)))
        return outputs


class Counter(nn.Module):
    """Counts its calls in Python, and acts on it."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, inputs: Tensor) -> Tensor:
        self.calls += 1
        return inputs * self.calls


class RunningMean(nn.Module):
    """State as it should be: a buffer, put anew at each call in train mode."""

    mean: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))

    def forward(self, inputs: Tensor) -> Tensor:
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * inputs.detach().mean(0)
        return inputs - self.mean


class Doubling(torch.autograd.Function):
    """x -> 2 x, with a rule for `vmap` that is mistaken."""

    @staticmethod
    def forward(inputs: Tensor) -> Tensor:
        return inputs * 2

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(_ctx: Any, *slopes: Tensor) -> Tensor:
        return slopes[0] * 2

    @staticmethod
    def vmap(_info: Any, in_dims: tuple[int, ...], inputs: Tensor) -> tuple[Tensor, int]:
        return Doubling.apply(inputs) * 1.5, in_dims[0]  # type: ignore[no-untyped-call]


class Deciding(torch.autograd.Function):
    """The identity, whose backward pass looks at the numbers."""

    generate_vmap_rule = True

    @staticmethod
    def forward(inputs: Tensor) -> Tensor:
        return inputs.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(_ctx: Any, *slopes: Tensor) -> Tensor:
        return slopes[0] if slopes[0].sum() > 0 else slopes[0] * 0.5


class Old(torch.autograd.Function):
    """The identity as functions were written before `torch.func`."""

    @staticmethod
    def forward(_ctx: Any, inputs: Tensor) -> Tensor:
        return inputs.clone()

    @staticmethod
    def backward(_ctx: Any, *slopes: Tensor) -> Tensor:
        return slopes[0]


def _put_in(_: Function, inputs: Tensor) -> Tensor:
    outputs = torch.zeros(inputs.shape, dtype=inputs.dtype)
    outputs[:] = inputs
    return outputs


def _added(_: Function, inputs: Tensor) -> Tensor:
    outputs = torch.zeros(inputs.shape, dtype=inputs.dtype)
    outputs += inputs
    return outputs


def _numpy(_: Function, inputs: Tensor) -> Tensor:
    return inputs + float(np.abs(inputs.detach().numpy()).max())


def _spectral(width: int) -> nn.Module:
    return torch.nn.utils.parametrizations.spectral_norm(nn.Linear(width, width))


MIDDLES: dict[str, Callable[[int], nn.Module]] = {
    "nothing": lambda _: nn.Identity(),
    "dropout": lambda _: nn.Dropout(0.3),
    "gate": Gate,
    "tied": Tied,
    "running mean": RunningMean,
    "batch norm": nn.BatchNorm1d,
    "counter": lambda _: Counter(),
    "item": lambda _: Function(lambda _, x: x * x.mean().item()),
    "numpy": lambda _: Function(_numpy),
    "mask": lambda _: Function(lambda _, x: x * x[x > 0].mean()),
    "nonzero": lambda _: Function(lambda _, x: x * len(x.nonzero())),
    "put in": lambda _: Function(_put_in),
    "added": lambda _: Function(_added),
    "old": lambda _: Function(lambda _, x: Old.apply(x)),  # type: ignore[no-untyped-call]
    "spectral norm": _spectral,
    "wrong rule": lambda _: Function(lambda _, x: Doubling.apply(x)),  # type: ignore[no-untyped-call]
    "deciding backward": lambda _: Function(lambda _, x: Deciding.apply(x)),  # type: ignore[no-untyped-call]
    "batch mean": lambda _: Function(lambda _, x: x - x.mean(0)),
    "numpy noise": lambda _: Function(lambda _, x: x + float(np.random.random())),
    "torch noise": lambda _: Function(lambda _, x: x + torch.rand(())),
    "train noise": lambda _: Function(lambda layer, x: x + torch.rand(()) if layer.training else x),
    "cut off": lambda _: Function(lambda _, x: x.detach()),
    "failing": lambda _: Function(lambda _, x: x @ torch.ones(3)),
    "not finite": lambda _: Function(lambda _, x: x / 0),
    "steep": lambda _: Function(lambda _, x: (x - x).abs().sqrt() + x),
}


def judged(statistics: InputStatistics, kind: str) -> Any:
    """Something that is no sound model, each for a reason of its own."""
    net = Net(statistics)
    logits = {
        "five logits": lambda _, x: x[:, :5],
        "no batch": lambda _, x: x.mean(0),
        "a pair": lambda _, x: (x, x),
        "labels": lambda _, x: x.argmax(1, keepdim=True).expand(-1, 10),
        "double": lambda _, x: x.double(),
        "no gradient": lambda _, x: x.detach(),
        "two samples": lambda _, x: x.reshape(-1, 2, 10).reshape(-1, 10),
    }
    if kind in logits:
        return nn.Sequential(net, Function(logits[kind]))
    if kind == "frozen":
        net.first.requires_grad_(False)
    if kind == "lazy":
        net.middle = nn.LazyLinear(8)
    if kind == "shared buffer":
        net.middle = nn.Sequential(RunningMean(8), RunningMean(8))
        net.middle[1].mean = net.middle[0].mean
    others = {"no module": lambda x: x, "no parameters": nn.Flatten(), "nothing": None}
    return others.get(kind, net)


def raising(statistics: InputStatistics, width: int = 3) -> nn.Module:
    """Fails when it is called."""
    raise ValueError(f"no width\nof {width} for {statistics.classes} classes")
