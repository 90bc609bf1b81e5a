"""Data that comes with an installed package, so that the default sweep downloads nothing."""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path

import numpy as np
import torch

from noise_search.data.dataset import Dataset, Split, stratified_split


def digits(*, split_seed: int = 0) -> Dataset:
    """scikit-learn's digits: 1,797 grey 8x8 images of 10 handwritten digits, split 60/20/20 by class.

    Pixels are counts of 0 to 16, given here as [0, 1].

    Source: E. Alpaydin & C. Kaynak 1998, UCI Optical Recognition of Handwritten Digits (CC BY 4.0).
    """
    table = _read_table("data/digits.csv.gz")
    inputs = torch.from_numpy(table[:, :64] / 16.0).to(torch.float32).reshape(-1, 1, 8, 8)
    labels = torch.from_numpy(table[:, 64]).to(torch.int64)
    train, validation, test = (
        Split(inputs[index], labels[index]) for index in stratified_split(labels, (0.2, 0.2), seed=split_seed)
    )
    return Dataset("digits", "images", 10, (0.0, 1.0), train, validation, test)


def _read_table(path: str) -> np.ndarray:
    """Table shipped with scikit-learn, read without importing it: the import would cost over a second."""
    package = importlib.util.find_spec("sklearn")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("data digits come with scikit-learn: pip install scikit-learn")
    file = Path(package.origin).parent / "datasets" / path
    with gzip.open(file, "rt") as lines:
        return np.loadtxt(lines, delimiter=",", dtype=np.float64)
