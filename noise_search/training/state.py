"""The state of a trial between epochs, as one flat dictionary of tensors, and of a cohort, stacked.

Keys are `parameters/NAME`, `buffers/NAME`, `optimizer/KEY/NAME` for what the optimiser remembers of each value,
`shared/KEY/NAME` for what it counts once for all trials, and `alive`: what a checkpoint file holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

State = Mapping[str, Tensor]


@dataclass(slots=True)
class CohortState:
    """Stacked parameters and buffers (trials, ...), the optimiser over them, and who has not diverged.

    alive: (trials,), bool; a member that diverged is masked from then on.
    """

    parameters: dict[str, Tensor]
    buffers: dict[str, Tensor]
    optimizer: torch.optim.Optimizer
    alive: Tensor


def initial_state(model: nn.Module) -> dict[str, Tensor]:
    """State of one trial before its first step: the model's own parameters and buffers."""
    state = {f"parameters/{name}": value.detach().clone() for name, value in model.named_parameters()}
    state |= {f"buffers/{name}": value.detach().clone() for name, value in model.named_buffers()}
    return state | {"alive": torch.tensor(True)}


def in_order(state: State, model: nn.Module) -> dict[str, Tensor]:
    """A state read from a file, in the order of the model: the norm of a gradient is summed in that order."""
    parts = {"parameters": model.named_parameters(), "buffers": model.named_buffers()}
    own = [f"{part}/{name}" for part, named in parts.items() for name, _ in named]
    return {key: state[key] for key in own} | {key: value for key, value in state.items() if key not in own}


def stack_part(states: Sequence[State], part: str) -> dict[str, Tensor]:
    """Stack `part` ("parameters" or "buffers") of several trials: name -> (trials, ...)."""
    prefix = f"{part}/"
    names = [key.removeprefix(prefix) for key in states[0] if key.startswith(prefix)]
    return {name: torch.stack([state[prefix + name] for state in states]) for name in names}


def restore_optimizer(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, Tensor], states: Sequence[State]
) -> None:
    """Fill a new optimiser over stacked `parameters` with the states of the trials, all at the same step."""
    for name, parameter in parameters.items():
        for key in states[0]:
            part, _, rest = key.partition("/")
            remembered, _, owner = rest.partition("/")
            if part == "optimizer" and owner == name:
                optimizer.state[parameter][remembered] = torch.stack([state[key] for state in states])
            elif part == "shared" and owner == name:
                optimizer.state[parameter][remembered] = states[0][key].clone()


def unstack(cohort: CohortState) -> list[dict[str, Tensor]]:
    """State of every trial of a cohort, as `initial_state` makes it, with what its optimiser remembers."""
    stacked = {f"parameters/{name}": value.detach() for name, value in cohort.parameters.items()}
    stacked |= {f"buffers/{name}": value for name, value in cohort.buffers.items()}
    stacked |= {"alive": cohort.alive}
    shared = {}
    for name, parameter in cohort.parameters.items():
        for key, value in cohort.optimizer.state[parameter].items():
            if isinstance(value, Tensor):
                if value.shape == parameter.shape:
                    stacked[f"optimizer/{key}/{name}"] = value
                else:
                    shared[f"shared/{key}/{name}"] = value
    return [
        {key: value[slot].clone() for key, value in stacked.items()}
        | {key: value.clone() for key, value in shared.items()}
        for slot in range(len(cohort.alive))
    ]
