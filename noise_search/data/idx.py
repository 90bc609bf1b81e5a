"""Reader of gzipped IDX files, the format of MNIST and its relatives, that trusts nothing it reads.

A file is: two zero bytes, a code of the type of its numbers (8 for unsigned bytes), the number of dimensions,
each dimension as a big-endian 32-bit number, then the numbers, the last dimension fastest.

Source: Y. LeCun, C. Cortes & C. Burges, THE MNIST DATABASE, section "the IDX file format".
"""

from __future__ import annotations

import hashlib
import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from noise_search.errors import CallerError, raise_if_any

UNSIGNED_BYTES = 8
_AGAIN = "fetch the file again"
_GZIP = 16 + zlib.MAX_WBITS  # zlib's word for: a gzip header and nothing else


@dataclass(frozen=True, slots=True)
class IdxFile:
    """A file as it must be.

    Args:
        name: In its folder.
        shape: Of its numbers, unsigned bytes.
        sha256: Of the file as it lies on disk, 64 hexadecimal digits; None for a file that is not checked.
    """

    name: str
    shape: tuple[int, ...]
    sha256: str | None = None


def read_folder(root: Path, files: Sequence[IdxFile], where: str) -> list[Tensor]:
    """Contents of several files of one folder, each of dtype uint8 and its file's shape.

    Args:
        root: The folder.
        files: What must lie there.
        where: Key that names the folder, for messages.

    Raises:
        CallerError: With a line for every file that is missing or wrong, or one for the folder.
    """
    names = ", ".join(file.name for file in files)
    if not root.is_dir():
        what = "which is no folder" if root.exists() else "which does not exist"
        raise CallerError(f"{where}: expected a folder with the files {names}, got {str(root)!r}, {what}")
    contents, mistakes = [], []
    for file in files:
        try:
            contents.append(read_idx(root / file.name, file.shape, sha256=file.sha256))
        except CallerError as error:
            mistakes += [f"{where}: {mistake}" for mistake in error.mistakes]
    raise_if_any(mistakes)
    return contents


def read_idx(path: Path, shape: tuple[int, ...], *, sha256: str | None = None) -> Tensor:
    """Numbers of one gzipped IDX file, dtype uint8.

    No more is read or unpacked than a file of this shape can hold, whatever the file claims to be.

    Args:
        path: The file.
        shape: What its header must say.
        sha256: Of the packed file; None accepts any.

    Raises:
        CallerError: For a file that is missing, unreadable, no gzip, cut short, too long, damaged, of another
            type or shape, or another than the one with this checksum.
    """
    size = 4 + 4 * len(shape) + math.prod(shape)
    packed = _packed(path, size)
    content = _unpacked(path, packed, size)
    _check_header(path, content, shape)
    if len(content) != size:
        longer = "more than " if len(content) > size else ""
        kind = "too long" if longer else "cut short"
        raise CallerError(
            f"{path}: expected {size} bytes unpacked, got {longer}{min(len(content), size)}, {kind}; {_AGAIN}"
        )
    found = hashlib.sha256(packed).hexdigest()
    if sha256 is not None and found != sha256:
        raise CallerError(f"{path}: expected the file with SHA-256 {sha256}, got {found}; {_AGAIN}")
    return torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=4 + 4 * len(shape)).reshape(shape)


def _packed(path: Path, size: int) -> bytes:
    """Bytes of the file; one larger than gzip makes of `size` bytes at its worst is refused unread."""
    largest = size + size // 100 + 1024
    try:
        with path.open("rb") as file:
            packed = file.read(largest + 1)
    except FileNotFoundError as error:
        raise CallerError(f"{path}: expected a file, got none; put it there") from error
    except OSError as error:
        raise CallerError(f"{path}: expected a file to read, got {error.strerror}; see to its permissions") from error
    if len(packed) > largest:
        raise CallerError(f"{path}: expected at most {largest} bytes, got more; {_AGAIN}")
    return packed


def _unpacked(path: Path, packed: bytes, size: int) -> bytes:
    """Content of a gzip file, or its first `size + 1` bytes."""
    stream = zlib.decompressobj(_GZIP)
    try:
        content = stream.decompress(packed, size + 1)  # one more, so that too much is seen
    except zlib.error as error:
        if packed[:2] != b"\x1f\x8b":
            raise CallerError(
                f"{path}: expected a gzip file, got one that begins with {packed[:4].hex(' ') or 'nothing'}; {_AGAIN}"
            ) from error
        raise CallerError(f"{path}: expected a sound gzip file, got a damaged one ({error}); {_AGAIN}") from error
    if len(content) > size:
        return content
    if not stream.eof:
        raise CallerError(f"{path}: expected a whole gzip file, got one cut short after {len(packed)} bytes; {_AGAIN}")
    if stream.unused_data:
        raise CallerError(
            f"{path}: expected nothing after the end of the gzip data, got {len(stream.unused_data)} bytes; {_AGAIN}"
        )
    return content


def _check_header(path: Path, content: bytes, shape: tuple[int, ...]) -> None:
    expected = struct.pack(f">HBB{len(shape)}I", 0, UNSIGNED_BYTES, len(shape), *shape)
    header = content[: len(expected)]
    if header[:4] != expected[:4]:
        words = f"an IDX file of unsigned bytes in {len(shape)} dimensions, which begins with {expected[:4].hex(' ')}"
        raise CallerError(f"{path}: expected {words}, got {header[:4].hex(' ') or 'nothing'}; {_AGAIN}")
    if len(header) < len(expected):
        raise CallerError(f"{path}: expected a header of {len(expected)} bytes, got {len(header)}; {_AGAIN}")
    if header != expected:
        found = struct.unpack(f">{len(shape)}I", header[4:])
        raise CallerError(f"{path}: expected dimensions {list(shape)}, got {list(found)}; {_AGAIN}")
