"""Data that comes with an installed package, so that the default sweep downloads nothing."""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path

import numpy as np
import torch

from noise_search.data.dataset import Dataset, Split, check_limit, stratified_sample, stratified_split


def digits(*, split_seed: int = 0, limit: int | None = None) -> Dataset:
    """scikit-learn's digits: 1,797 grey 8x8 images of 10 handwritten digits, split 60/20/20 by class.

    Pixels are counts of 0 to 16, given here as [0, 1].

    Args:
        split_seed: Of the cuts, and of what `limit` leaves.
        limit: So many images, by class, of those that are not for testing, cut 3:1 into train and validation;
            None takes all. The test split stays as it is.

    Raises:
        CallerError: For a limit out of range.

    Source: E. Alpaydin & C. Kaynak 1998, UCI Optical Recognition of Handwritten Digits (CC BY 4.0).
    """
    table = _read_table("data/digits.csv.gz")
    inputs = torch.from_numpy(table[:, :64] / 16.0).to(torch.float32).reshape(-1, 1, 8, 8)
    labels = torch.from_numpy(table[:, 64]).to(torch.int64)
    train, validation, test = stratified_split(labels, (0.2, 0.2), seed=split_seed)
    check_limit(limit, classes=10, samples=len(train) + len(validation))
    if limit is not None:
        rest = torch.cat([train, validation]).sort().values
        rest = rest[stratified_sample(labels[rest], limit, seed=split_seed)]
        train, validation, _ = (rest[part] for part in stratified_split(labels[rest], (0.25, 0.0), seed=split_seed))
    splits = (Split(inputs[index], labels[index]) for index in (train, validation, test))
    return Dataset("digits", "images", 10, (0.0, 1.0), *splits)


def _read_table(path: str) -> np.ndarray:
    """Table shipped with scikit-learn, read without importing it: the import would cost over a second."""
    package = importlib.util.find_spec("sklearn")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("data digits come with scikit-learn: pip install scikit-learn")
    file = Path(package.origin).parent / "datasets" / path
    with gzip.open(file, "rt") as lines:
        return np.loadtxt(lines, delimiter=",", dtype=np.float64)
