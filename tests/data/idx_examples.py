"""IDX files as small as can be, written by the format's definition."""

from __future__ import annotations

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np

from noise_search.data.idx import IdxFile

TRAIN, TEST, SIDE, CLASSES = 300, 40, 4, 10


def idx_bytes(values: np.ndarray, *, code: int = 8, shape: tuple[int, ...] | None = None) -> bytes:
    """Unpacked IDX file."""
    shape = values.shape if shape is None else shape
    return struct.pack(f">BBBB{len(shape)}I", 0, 0, code, len(shape), *shape) + values.astype(np.uint8).tobytes()


def write_idx(path: Path, values: np.ndarray) -> IdxFile:
    """Write a gzipped IDX file, and say what it is."""
    path.write_bytes(gzip.compress(idx_bytes(values), mtime=0))
    return IdxFile(path.name, values.shape, hashlib.sha256(path.read_bytes()).hexdigest())


def write_folder(folder: Path) -> tuple[IdxFile, ...]:
    """Train images and labels, test images and labels: ten classes, thirty and four pictures of each.

    Every picture has a first pixel of its own pair of (class, place), so that no two are the same.
    """
    rng = np.random.default_rng(0)
    files = []
    for part, samples in (("train", TRAIN), ("t10k", TEST)):
        images = rng.integers(0, 256, (samples, SIDE, SIDE))
        images[:, 0, 0], images[:, 0, 1] = np.arange(samples) % 256, np.arange(samples) // 256
        files.append(write_idx(folder / f"{part}-images-idx3-ubyte.gz", images))
        files.append(write_idx(folder / f"{part}-labels-idx1-ubyte.gz", np.arange(samples) % CLASSES))
    return tuple(files)
