"""Trained weights as a file that other programs read."""

from __future__ import annotations

import copy
import json

import torch
from safetensors.torch import save

import noise_search
from noise_search.policy import Policy, policy_to_list
from noise_search.spec import SweepSpec
from noise_search.training.job import Workbench
from noise_search.training.state import State


def weights_file(workbench: Workbench, state: State, policy: Policy, spec: SweepSpec) -> bytes:
    """Parameters and buffers under the names that the model's own `state_dict` has, with what made them.

    Args:
        workbench: The model was trained on.
        state: Of its training, after the last epoch.
        policy: It was trained with.
        spec: Of the training.

    Returns:
        A file in safetensors' format.
    """
    model = copy.deepcopy(workbench.model).cpu()
    with torch.no_grad():
        for part, values in (("parameters", model.named_parameters()), ("buffers", model.named_buffers())):
            for name, value in values:
                value.copy_(state[f"{part}/{name}"])
    tensors = {name: value.detach().clone().contiguous() for name, value in model.state_dict().items()}
    facts = {
        "noise_search": noise_search.__version__,
        "model": json.dumps(spec.raw["model"]),
        "data": spec.data.name,
        "seed": str(spec.seed),
        "epochs": str(spec.train.epochs),
        "terms": json.dumps(policy_to_list(policy)),
    }
    return save(tensors, metadata=facts)
