"""Checkpoints that nobody needs any more are deleted."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from noise_search.checkpoints import SUFFIX
from noise_search.files import UNFINISHED
from noise_search.folders import Folder, FolderError
from noise_search.search.board import NO_NOISE_CONTROL, Seat
from noise_search.search.working import Work
from noise_search.store import FINAL_STATES

_log = logging.getLogger(__name__)


def forget_checkpoints(work: Work, seats: Sequence[Seat]) -> None:
    """Delete the files of members that have come to their end, and of rungs that they have left.

    Those of the no-noise control stay: trials whose noise starts later begin with them.
    """
    leaving = {str(seat.id): _needed(seat) for seat in seats if seat.control != NO_NOISE_CONTROL}
    if len(work.board.rungs) > 1 and leaving:
        # Of a file called 7-0-3, the state of member 7 with seed 0 after epoch 3, the member.
        _delete(work.opened.checkpoint_folder, lambda name: name not in leaving.get(name.partition("-")[0], {name}))


def forget_unfinished(folder: str) -> None:
    """Delete the files that a driver was writing when it was killed."""
    _delete(folder, lambda name: name.startswith(UNFINISHED))


def _needed(seat: Seat) -> set[str]:
    kept = {} if seat.state in FINAL_STATES else seat.checkpoints.get(seat.reached, {})
    return {reference["file"] for reference in kept.values()}


def _delete(url: str, is_left: Callable[[str], bool]) -> None:
    """Delete checkpoints; a folder that cannot be reached costs its room, not the sweep."""
    folder = Folder(url)
    try:
        folder.delete(name for name in folder.names() if name.endswith(SUFFIX) and is_left(name))
    except FolderError as error:
        _log.warning("checkpoints that nobody needs are left: %s", error)
