"""Jobs that a dead driver has left behind: they run again as they were, in the same turns."""

from __future__ import annotations

from collections.abc import Sequence

from noise_search.search.working import Group, Work
from noise_search.store import JobRecord

_GIVEN_UP = ("failed", "abandoned")


def plan_left_behind(work: Work) -> None:
    """Plan again what was under way, and what was left of jobs that had failed.

    Members that a job was to bring further and that have not come further since belong together as in the last job of
    each. The turn of a job is that of the first in the chain of failed and abandoned jobs that its members come from.
    """
    jobs = work.opened.store.jobs(work.opened.sweep.id)
    due = {seat.id: seat for seat in work.board.due()}
    turns, last = _turns(jobs), {member_id: job for job in jobs for member_id in job.members if member_id in due}
    left = {job.id: job for member_id, job in last.items() if job.from_epoch == due[member_id].reached}
    for job in sorted(left.values(), key=lambda job: (turns[job.id], job.id)):
        members = dict.fromkeys(job.members)  # each once, whatever its seeds
        seats = tuple(due[one] for one in members if one in due and last[one].id == job.id)
        work.planned.append(Group(seats, job.from_epoch, job.to_epoch, turns[job.id]))
    work.turn = max(turns.values(), default=0)
    work.split |= {turns[job.id] for job in jobs if job.state == "failed"} & {turns[job_id] for job_id in left}


def _turns(jobs: Sequence[JobRecord]) -> dict[int, int]:
    """Job -> number of the job that its turn began with."""
    turns: dict[int, int] = {}
    last: dict[int, JobRecord] = {}
    for job in jobs:
        before = [last[member_id] for member_id in job.members if member_id in last]
        again = [turns[one.id] for one in before if one.state in _GIVEN_UP and one.from_epoch == job.from_epoch]
        turns[job.id] = min(again, default=job.id)
        last |= dict.fromkeys(job.members, job)
    return turns
