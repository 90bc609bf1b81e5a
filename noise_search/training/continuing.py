"""Jobs that begin where trials stopped: states come from checkpoints, and go into new ones."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

from torch import Tensor

from noise_search.checkpoints import (
    CheckpointError,
    Position,
    Reference,
    fingerprint,
    read_checkpoint,
    write_checkpoint,
)
from noise_search.folders import Folder
from noise_search.training.job import Job, Member, Result, Workbench
from noise_search.training.loop import Progress, run_job
from noise_search.training.state import in_order

T = TypeVar("T")
REQUESTS = 8  # to an object store at the same time
_log = logging.getLogger(__name__)


def run_from_checkpoints(job: Job, workbench: Workbench, on_epoch: Progress) -> list[Result]:
    """Train a job from its members' checkpoints, and write new ones where the job asks for them.

    A member whose checkpoint cannot be used is trained again from the start: that costs time and changes no number.

    Args:
        job: Members in slot order, and the epochs to train.
        workbench: Data, model and yardstick.
        on_epoch: Told how many member-epochs of the job were just finished; of what is trained again 0, every time.
    """
    place = fingerprint(workbench.setup.mode, workbench.device)
    before, after = (Position(epoch, workbench.steps_per_epoch) for epoch in (job.from_epoch, job.to_epoch))
    found = _each(job, lambda member: _read(member, job.folder, place, before, workbench), job.members)
    lost = [slot for slot, state in enumerate(found) if state is None] if job.from_epoch else []
    if lost:
        again = Job(tuple(job.members[slot] for slot in lost), 0, job.from_epoch)
        for slot, state in zip(lost, _train_again(again, workbench, on_epoch), strict=True):
            found[slot] = state
    states = [state for state in found if state is not None] if job.from_epoch else None
    results, ended = run_job(job, workbench, states, on_epoch=on_epoch)
    folder = job.folder if job.keep else None
    kept = _each(job, lambda member, state: _write(member, state, folder, place, after), job.members, ended)
    return [
        replace(result, checkpoint=reference, retrained=job.from_epoch if slot in lost else 0)
        for slot, (result, reference) in enumerate(zip(results, kept, strict=True))
    ]


def _each(job: Job, do: Callable[..., T], *of: Sequence[object]) -> list[T]:
    """What `do` makes of every slot: in turn in a folder of this machine, side by side where a network lies between."""
    if job.folder is None or Folder(job.folder).is_local:
        return [do(*slot) for slot in zip(*of, strict=True)]
    with ThreadPoolExecutor(REQUESTS) as threads:
        return list(threads.map(do, *of))


def _train_again(job: Job, workbench: Workbench, on_epoch: Progress) -> list[dict[str, Tensor]]:
    return run_job(job, workbench, on_epoch=lambda _: on_epoch(0))[1]


def _read(
    member: Member, folder: str | None, place: str, position: Position, workbench: Workbench
) -> dict[str, Tensor] | None:
    if member.checkpoint is None or folder is None:
        return None
    try:
        state = read_checkpoint(folder, member.checkpoint, place, position)
    except CheckpointError as error:
        _log.warning("a trial is trained again from its start: %s", error)
        return None
    return {key: value.to(workbench.device) for key, value in in_order(state, workbench.model).items()}


def _write(
    member: Member, state: dict[str, Tensor], folder: str | None, place: str, position: Position
) -> Reference | None:
    if folder is None:
        return None
    try:
        return write_checkpoint(folder, f"{member.name}-{member.seed}-{position.epoch}", state, place, position)
    except CheckpointError as error:
        _log.warning("no checkpoint, so that the trial may have to be trained again: %s", error)
        return None
