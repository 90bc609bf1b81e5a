"""Checkpoints that nobody needs any more are deleted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from noise_search.checkpoints import SUFFIX
from noise_search.files import UNFINISHED
from noise_search.search.board import NO_NOISE_CONTROL, Seat
from noise_search.search.working import Work
from noise_search.store import FINAL_STATES


def forget_checkpoints(work: Work, seats: Sequence[Seat]) -> None:
    """Delete the files of members that have come to their end, and of rungs that they have left.

    Those of the no-noise control stay: trials whose noise starts later begin with them.
    """
    folder = work.opened.checkpoint_folder
    if len(work.board.rungs) == 1 or not folder.is_dir():
        return
    for seat in seats:
        if seat.control == NO_NOISE_CONTROL:
            continue
        kept = {} if seat.state in FINAL_STATES else seat.checkpoints.get(seat.reached, {})
        needed = {reference["file"] for reference in kept.values()}
        for path in folder.glob(f"{seat.id}-*{SUFFIX}"):
            if path.name not in needed:
                path.unlink(missing_ok=True)


def forget_unfinished(folder: Path) -> None:
    """Delete the files that a driver was writing when it was killed."""
    for path in folder.glob(f"{UNFINISHED}*{SUFFIX}"):
        path.unlink(missing_ok=True)
