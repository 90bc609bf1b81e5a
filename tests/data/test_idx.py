from __future__ import annotations

import gzip
import hashlib
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from idx_examples import idx_bytes, write_idx

from noise_search.data.idx import IdxFile, read_folder, read_idx
from noise_search.errors import CallerError

VALUES = np.arange(24).reshape(2, 3, 4)
SIZE = 4 + 3 * 4 + 24  # magic, three dimensions, numbers
CONTENT = idx_bytes(VALUES)
PACKED = gzip.compress(CONTENT, mtime=0)


def mistake(path: Path, shape: tuple[int, ...] = (2, 3, 4), sha256: str | None = None) -> str:
    with pytest.raises(CallerError) as caught:
        read_idx(path, shape, sha256=sha256)
    (line,) = caught.value.mistakes
    assert "\n" not in line
    return line


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple), st.integers(0, 9))
def test_numbers_come_back_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, shape: tuple[int, ...], seed: int
) -> None:
    values = np.random.default_rng(seed).integers(0, 256, shape)
    path = tmp_path_factory.mktemp("idx") / "a.gz"
    file = write_idx(path, values)
    found = read_idx(path, shape, sha256=file.sha256)
    assert found.dtype == torch.uint8
    assert found.tolist() == values.tolist()


def test_a_file_without_a_checksum_is_read_as_it_is(tmp_path: Path) -> None:
    write_idx(tmp_path / "a.gz", VALUES)
    assert read_idx(tmp_path / "a.gz", (2, 3, 4)).tolist() == VALUES.tolist()


def with_one_bit_turned() -> bytes:
    packed = gzip.compress(CONTENT, compresslevel=0, mtime=0)
    place = len(packed) - 9  # the last number, before the eight bytes of gzip's own checksum and length
    return packed[:place] + bytes([packed[place] ^ 16]) + packed[place + 1 :]


def cut(content: bytes, count: int) -> tuple[bytes, str]:
    shorter = content[:-count]
    return shorter, f"expected a whole gzip file, got one cut short after {len(shorter)} bytes"


WRONG: dict[str, tuple[bytes, str]] = {
    "an empty file": (b"", "expected a whole gzip file, got one cut short after 0 bytes"),
    "no gzip": (CONTENT, "expected a gzip file, got one that begins with 00 00 08 03"),
    "a page of the web": (b"<html>", "expected a gzip file, got one that begins with 3c 68 74 6d"),
    "gzip cut short": cut(PACKED, 12),
    "gzip without its end": cut(PACKED, 1),
    "a turned bit": (with_one_bit_turned(), "expected a sound gzip file, got a damaged one ("),
    "something after the end": (PACKED + b"more", "expected nothing after the end of the gzip data, got 4 bytes"),
    "numbers cut short": (gzip.compress(CONTENT[:-1]), f"expected {SIZE} bytes unpacked, got {SIZE - 1}, cut short"),
    "numbers too many": (
        gzip.compress(CONTENT + b"\0"),
        f"expected {SIZE} bytes unpacked, got more than {SIZE}, too long",
    ),
    "nothing inside": (
        gzip.compress(b""),
        "expected an IDX file of unsigned bytes in 3 dimensions, which begins with 00 00 08 03, got nothing",
    ),
    "another magic": (
        gzip.compress(b"\1" + CONTENT[1:]),
        "expected an IDX file of unsigned bytes in 3 dimensions, which begins with 00 00 08 03, got 01 00 08 03",
    ),
    "another type": (
        gzip.compress(idx_bytes(VALUES, code=13)),
        "expected an IDX file of unsigned bytes in 3 dimensions, which begins with 00 00 08 03, got 00 00 0d 03",
    ),
    "fewer dimensions": (
        gzip.compress(idx_bytes(VALUES, shape=(2, 12))),
        "expected an IDX file of unsigned bytes in 3 dimensions, which begins with 00 00 08 03, got 00 00 08 02",
    ),
    "other dimensions": (
        gzip.compress(idx_bytes(VALUES, shape=(2, 4, 3))),
        "expected dimensions [2, 3, 4], got [2, 4, 3]",
    ),
    "a header cut short": (gzip.compress(CONTENT[:9]), "expected a header of 16 bytes, got 9"),
}


@pytest.mark.parametrize(("content", "expected"), WRONG.values(), ids=WRONG)
def test_a_wrong_file_is_refused_with_what_was_expected_what_is_there_and_what_to_do(
    tmp_path: Path, content: bytes, expected: str
) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(content)
    found = mistake(path)
    assert found.startswith(f"{path}: {expected}")
    assert found.endswith("; fetch the file again")


def test_another_file_of_the_same_shape_is_refused_by_its_checksum(tmp_path: Path) -> None:
    file = write_idx(tmp_path / "a.gz", VALUES)
    write_idx(tmp_path / "a.gz", VALUES + 1)
    there = hashlib.sha256((tmp_path / "a.gz").read_bytes()).hexdigest()
    expected = f"expected the file with SHA-256 {file.sha256}, got {there}; fetch the file again"
    assert mistake(tmp_path / "a.gz", sha256=file.sha256) == f"{tmp_path / 'a.gz'}: {expected}"


def test_a_missing_file_and_a_folder_in_its_place_are_told_of(tmp_path: Path) -> None:
    assert mistake(tmp_path / "none.gz") == f"{tmp_path / 'none.gz'}: expected a file, got none; put it there"
    (tmp_path / "folder.gz").mkdir()
    assert "expected a file to read, got Is a directory" in mistake(tmp_path / "folder.gz")


def test_a_small_file_that_would_unpack_to_very_much_is_refused_without_unpacking_it(tmp_path: Path) -> None:
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(CONTENT + bytes(50_000_000)))
    assert path.stat().st_size < 100_000
    shape = (2000, 100)  # so that the packed file is not too large to begin with
    path.write_bytes(gzip.compress(idx_bytes(np.zeros(shape)) + bytes(50_000_000)))
    tracemalloc.start()
    try:
        found = mistake(path, shape)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "too long" in found
    assert peak < 5_000_000


def test_a_large_file_is_refused_without_reading_it_whole(tmp_path: Path) -> None:
    path = tmp_path / "large.gz"
    with path.open("wb") as file:
        file.truncate(50_000_000)
    tracemalloc.start()
    try:
        found = mistake(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found == f"{path}: expected at most {SIZE + 1024} bytes, got more; fetch the file again"
    assert peak < 1_000_000


def test_numbers_that_gzip_cannot_make_smaller_are_read(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (300, 300))
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(idx_bytes(values), compresslevel=0))
    assert path.stat().st_size > values.size
    assert read_idx(path, (300, 300)).tolist() == values.tolist()


# --- folders

FILES = (IdxFile("a.gz", (2, 3, 4)), IdxFile("b.gz", (2,)))


def folder_mistakes(root: Path) -> tuple[str, ...]:
    with pytest.raises(CallerError) as caught:
        read_folder(root, FILES, "data.root")
    return caught.value.mistakes


def test_the_files_of_a_folder_come_in_the_order_asked_for(tmp_path: Path) -> None:
    write_idx(tmp_path / "a.gz", VALUES)
    write_idx(tmp_path / "b.gz", np.array([7, 8]))
    first, second = read_folder(tmp_path, FILES, "data.root")
    assert (first.tolist(), second.tolist()) == (VALUES.tolist(), [7, 8])


def test_every_wrong_file_of_a_folder_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(b"???")
    first, second = folder_mistakes(tmp_path)
    assert first.startswith(f"data.root: {tmp_path / 'a.gz'}: expected a gzip file")
    assert second.startswith(f"data.root: {tmp_path / 'b.gz'}: expected a file, got none")


@pytest.mark.parametrize(
    ("make", "what"),
    [(str, "which does not exist"), (lambda path: path.write_text(""), "which is no folder")],
    ids=["missing", "a file"],
)
def test_a_folder_that_is_none_is_told_once_with_the_files_it_should_hold(
    tmp_path: Path, make: Callable[[Path], object], what: str
) -> None:
    root = tmp_path / "root"
    make(root)
    assert folder_mistakes(root) == (
        f"data.root: expected a folder with the files a.gz, b.gz, got {str(root)!r}, {what}",
    )
