"""Several processes that train one model: which draws they share, and whether they agree."""

from __future__ import annotations

from torch import distributed

from noise_search.errors import CallerError
from noise_search.seeds import stable_hash


def batch_seed(seed: int, *, micro_batch: int) -> int:
    """Seed of the input and target draws of one micro-batch in this process.

    The first one of the first process has the seed itself, so that the plain case has the draws of a search.

    >>> batch_seed(3, micro_batch=0)
    3
    """
    rank = distributed.get_rank() if _count() > 1 else 0
    return stable_hash(seed, "part", rank, micro_batch) if rank or micro_batch else seed


def refuse_disagreement(what: dict[str, object]) -> None:
    """Compare what has to be the same in all processes; every one of them has to call this at the same time.

    Raises:
        CallerError: In every process, naming what differs.
    """
    if _count() == 1:
        return
    everyone: list[dict[str, object]] = [{} for _ in range(_count())]
    distributed.all_gather_object(everyone, what)
    for name in what:
        given = [one[name] for one in everyone]
        if any(value != given[0] for value in given):
            raise CallerError(
                f"bind: {name}: expected the same in all processes, got {given!r:.200}; "
                "weight and gradient noise must be alike there, and draws for inputs differ by themselves"
            )


def _count() -> int:
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1
