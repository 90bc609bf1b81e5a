"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from noise_search.errors import CallerError

UNFINISHED = "tmp"  # what the name of a file begins with until it is moved to its place


def write_whole(path: str | Path, data: bytes, what: str) -> None:
    """Write a file beside its place and move it there.

    Args:
        path: Where it is to lie, in a folder that is there.
        data: Its content.
        what: What it is, for the message.

    Raises:
        CallerError: When the folder is missing or cannot be written.
    """
    target = Path(path)
    try:
        with tempfile.NamedTemporaryFile(
            dir=target.parent, prefix=UNFINISHED, suffix=target.suffix, delete=False
        ) as file:
            temporary = Path(file.name)
            try:
                file.write(data)
                file.flush()
                temporary.chmod(0o644)
                temporary.replace(target)
            finally:
                temporary.unlink(missing_ok=True)
    except OSError as error:
        raise CallerError(f"{target}: cannot write the {what}: {error.strerror}") from error


def refuse_unwritable(path: str | Path, what: str) -> None:
    """Refuse a place for a file before the work that makes it is done.

    Raises:
        CallerError: Its folder is missing or cannot be written, or a folder lies in its place.
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise CallerError(f"{target}: cannot write the {what}: expected the folder {target.parent}, got none")
    if target.is_dir():
        raise CallerError(f"{target}: cannot write the {what}: expected the name of a file, got a folder")
    if not os.access(target.parent, os.W_OK):
        raise CallerError(f"{target}: cannot write the {what}: expected a folder that can be written")
