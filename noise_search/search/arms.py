"""What a winner is compared with to see whether its schedule mattered: its own noise, otherwise distributed in time.

Made from the winner's tables, gates and all, so that every comparison has the same noises at the same sites:

    reversed   rows of the tables from the end to the beginning
    shuffled   epochs in another order, one order for all terms, another for each seed
    at mean    every magnitude at its mean over time
    at rms     every magnitude at its root mean square over time
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from noise_search.policy import Policy, Term
from noise_search.schedules import Schedule
from noise_search.seeds import generator

AT_MEAN, AT_RMS, REVERSED, SHUFFLED = "constant at its mean", "constant at its rms", "reversed", "shuffled"
ORDERING = (REVERSED, SHUFFLED, AT_MEAN, AT_RMS)


def has_schedule(policy: Policy, steps: int) -> bool:
    """Whether any magnitude changes during training."""
    return any(bool((table != table[0]).any()) for table in policy.tabulate(steps).values())


def ordering_arms(policy: Policy, *, steps: int, epochs: int, seed: int) -> dict[str, Policy]:
    """The winner's noise otherwise distributed in time, by name; nothing where it has no schedule.

    Args:
        policy: Of the winner.
        steps: Of the whole training.
        epochs: Of the whole training, of equally many steps.
        seed: Of the training, for the order of epochs.
    """
    if not has_schedule(policy, steps):
        return {}
    order = torch.randperm(epochs, generator=generator(seed, "shuffled"))
    return {
        REVERSED: _rearranged(policy, steps, lambda table: table.flip(0)),
        SHUFFLED: _rearranged(policy, steps, lambda table: table.view(epochs, -1)[order].flatten()),
        AT_MEAN: _constant(policy, steps, lambda table: float(table.mean())),
        AT_RMS: _constant(policy, steps, lambda table: math.sqrt(float(table.square().mean()))),
    }


def _rearranged(policy: Policy, steps: int, rearrange: Callable[[Tensor], Tensor]) -> Policy:
    tables = policy.tabulate(steps)
    return Policy(tuple(replace(term, schedule=_as_table(term, rearrange(tables[term.key]))) for term in policy.terms))


def _as_table(term: Term, table: Tensor) -> Schedule:
    """Schedule with a value for every step."""
    values = table / term.magnitude if term.magnitude > 0 else torch.zeros_like(table)
    return Schedule("table", (("values", tuple(values.clamp(0.0, 1.0).tolist())),))


def _constant(policy: Policy, steps: int, level: Callable[[Tensor], float]) -> Policy:
    tables: Mapping[str, Tensor] = policy.tabulate(steps)
    return Policy(tuple(replace(term, magnitude=level(tables[term.key]), schedule=Schedule()) for term in policy.terms))
