"""Models: plain PyTorch modules that take raw inputs and normalise them inside; shipped ones by name, and your own.

Sizes are even on purpose: at odd layer widths a member of a cohort can differ in the last bits by its slot.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import nn

from noise_search.errors import CallerError
from noise_search.models.feedforward import CnnParameters, MlpParameters, cnn, mlp
from noise_search.models.gru import GruParameters, gru
from noise_search.models.own import argument_mistakes, forward_mistakes, own_network
from noise_search.models.parts import InputStatistics, Model, Normalise
from noise_search.models.resnet import ResnetParameters, resnet
from noise_search.models.transformer import TransformerParameters, check_transformer, transformer
from noise_search.seeds import stable_hash

MODELS: dict[str, Model] = {
    "mlp": Model(MlpParameters, mlp, None, "multi-layer perceptron on flattened inputs"),
    "cnn": Model(CnnParameters, cnn, (3,), "small CNN with strided convolutions, group or batch norm"),
    "resnet": Model(ResnetParameters, resnet, (3,), "small residual network of basic blocks, group or batch norm"),
    "gru": Model(GruParameters, gru, (2, 3), "GRU over the rows of an image or the time of a sequence"),
    "transformer": Model(
        TransformerParameters, transformer, (3,), "pre-norm transformer encoder on image patches", check_transformer
    ),
}


def build_model(
    name: str,
    parameters: Any,
    statistics: InputStatistics,
    *,
    seed: int,
    target: str | None = None,
    normalise: bool = True,
) -> nn.Module:
    """Model on the CPU in float32, its initial weights a function of `seed` alone.

    The weights come from torch's global generator, the only one modules initialise from; its state is put back.

    Args:
        name: Of a shipped model; not looked at where there is a `target`.
        parameters: As the registry entry of `name` has them, or keyword arguments for `target`.
        statistics: Of the data.
        seed: Of the initial weights.
        target: Dotted path of a callable of one's own that makes the module.
        normalise: Whether `Normalise` stands before it.

    Raises:
        CallerError: When the parameters do not suit the data, or `target` makes no module that can be trained.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(stable_hash(seed, "init"))  # torch.manual_seed seeds accelerators too
        if target is None:
            _refuse_dimensions(name, statistics)
            network = MODELS[name].build(statistics, parameters)
        else:
            network = own_network(target, parameters, statistics)
    first = [("normalise", Normalise(statistics.mean, statistics.std))] if normalise else []
    return nn.Sequential(OrderedDict([*first, ("network", network)]))


def _refuse_dimensions(name: str, statistics: InputStatistics) -> None:
    taken, given = MODELS[name].dimensions, len(statistics.shape)
    if taken is not None and given not in taken:
        raise CallerError(
            f"model.name: {name} takes samples of {list(taken)} dimensions, got data of {given}; choose another model"
        )


__all__ = [
    "MODELS",
    "CnnParameters",
    "GruParameters",
    "InputStatistics",
    "MlpParameters",
    "Model",
    "Normalise",
    "ResnetParameters",
    "TransformerParameters",
    "argument_mistakes",
    "build_model",
    "cnn",
    "forward_mistakes",
    "gru",
    "mlp",
    "resnet",
    "transformer",
]
