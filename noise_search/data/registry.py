"""Shipped data sets, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from noise_search.data import fashion_mnist
from noise_search.data.bundled import digits
from noise_search.data.dataset import Dataset


@dataclass(frozen=True, slots=True)
class Source:
    """Registry entry of a data set.

    Args:
        load: Takes `split_seed` and `limit`, and `root` where there are files.
        modality: Kind of data.
        dimensions: Of one sample.
        summary: What it is.
        files: What must lie in the folder `data.root`; none for data that come with a package.
        origin: Which files these are, and who publishes them.
    """

    load: Callable[..., Dataset]
    modality: str
    dimensions: int
    summary: str
    files: tuple[str, ...] = ()
    origin: str = ""


DATASETS: dict[str, Source] = {
    "digits": Source(digits, "images", 3, "8x8 grey handwritten digits, 1,797 samples (scikit-learn)"),
    "fashion_mnist": Source(
        fashion_mnist.fashion_mnist,
        "images",
        3,
        "28x28 grey pictures of clothing, 10 classes, 70,000 samples",
        tuple(file.name for file in fashion_mnist.FILES),
        "the four files that github.com/zalandoresearch/fashion-mnist publishes, as they are",
    ),
}
