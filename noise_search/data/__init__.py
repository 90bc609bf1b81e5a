"""Data sets, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from noise_search.data.bundled import digits
from noise_search.data.dataset import Dataset, Split, stratified_split


@dataclass(frozen=True, slots=True)
class Source:
    """Registry entry of a data set."""

    load: Callable[..., Dataset]
    modality: str
    dimensions: int
    summary: str


DATASETS: dict[str, Source] = {
    "digits": Source(digits, "images", 3, "8x8 grey handwritten digits, 1,797 samples (scikit-learn)"),
}

__all__ = ["DATASETS", "Dataset", "Source", "Split", "stratified_split"]
