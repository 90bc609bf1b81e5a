"""Which members of a job train together, and the lanes in which these groups run side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch

from noise_search.training.job import Job, Member, Workbench, own_model, skeleton
from noise_search.training.lanes import Report, run_in_lanes
from noise_search.training.state import State, initial_state
from noise_search.training.threads import cpu_threads, repeatable_kernels

Found = TypeVar("Found")
RunGroup = Callable[[Job, Workbench, Sequence[State], Report], list[Found]]


def side_by_side(
    job: Job, workbench: Workbench, states: Sequence[State] | None, run: RunGroup[Found], on_epoch: Report
) -> list[Found]:
    """Split a job into groups that train together, and run them.

    On a CPU groups share out its threads. Neither they nor the groups change a trial's numbers.

    Args:
        job: Members in slot order.
        workbench: Data, model and yardstick.
        states: State of each member; None starts from initial weights.
        run: Trains one group, given as a job of its own; one value for each of its slots.
        on_epoch: Told of finished member-epochs.

    Returns:
        What `run` found, in slot order.
    """
    # Here, not in the lanes: a model is made from torch's one generator.
    states = initial_states(job.members, workbench) if states is None else states
    groups = _groups(job, workbench)
    benches = [workbench, *(own_model(workbench) for _ in range(_lanes(workbench, len(groups)) - 1))]
    found = run_in_lanes([_task(job, slots, states, run) for slots in groups], benches, on_epoch)
    by_slot = {
        slot: one for slots, all_ in zip(groups, found, strict=True) for slot, one in zip(slots, all_, strict=True)
    }
    return [by_slot[slot] for slot in range(len(job.members))]


def initial_states(members: Sequence[Member], workbench: Workbench) -> list[State]:
    """Initial weights of each member's seed."""
    initial = {seed: _initial(workbench, seed) for seed in {member.seed for member in members}}
    return [initial[member.seed] for member in members]


def _initial(workbench: Workbench, seed: int) -> State:
    model = skeleton(workbench.setup, workbench.dataset, seed=seed)
    return initial_state(model.to(workbench.device, workbench.dtype))


def _groups(job: Job, workbench: Workbench) -> list[list[int]]:
    """Slots that train together: one each when looped; by seed where the model draws its own numbers."""
    slots = range(len(job.members))
    if workbench.setup.mode == "looped":
        return [[slot] for slot in slots]
    if workbench.stochastic:
        seeds = dict.fromkeys(member.seed for member in job.members)
        return [[slot for slot in slots if job.members[slot].seed == seed] for seed in seeds]
    lanes = _lanes(workbench, max(1, len(slots) // 2))  # a trial alone would be doubled
    return [part.tolist() for part in np.array_split(slots, lanes)]


def _lanes(workbench: Workbench, groups: int) -> int:
    """How many groups run side by side: one on a GPU, and where trials meet in torch's one generator or in a layer."""
    if workbench.device.type != "cpu" or workbench.stochastic or workbench.shared:
        return 1
    return min(torch.get_num_threads(), groups)


def _task(
    job: Job, slots: Sequence[int], states: Sequence[State], run: RunGroup[Found]
) -> Callable[[Workbench, Report], list[Found]]:
    """Training of some slots of a job, on whatever workbench is free."""
    group = replace(job, members=tuple(job.members[slot] for slot in slots))
    before = [states[slot] for slot in slots]
    return lambda workbench, on_epoch: _run_padded(group, workbench, before, run, on_epoch)


def _run_padded(
    job: Job, workbench: Workbench, states: Sequence[State], run: RunGroup[Found], on_epoch: Report
) -> list[Found]:
    """Run a group; a fused one of width 1 is doubled, because width 1 takes another kernel.

    On one thread: kernels that share a sample's sums among several differ in the last bits, and those of small models
    wait for each other longer than they work.
    """
    with cpu_threads(1), repeatable_kernels(workbench.device):
        if workbench.setup.mode == "looped" or len(job.members) > 1:
            return run(job, workbench, states, on_epoch)
        twins = replace(job, members=job.members * 2)
        return run(twins, workbench, [*states, *states], lambda epochs: on_epoch(min(epochs, 1)))[:1]
