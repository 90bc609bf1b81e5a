"""Fashion-MNIST from the four files that its authors publish."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from noise_search.data.dataset import Dataset, Split, check_limit, stratified_sample, stratified_split
from noise_search.data.idx import IdxFile, read_folder
from noise_search.errors import CallerError

CLASSES = 10
VALIDATION_SHARE = 1 / 6
FILES = (
    IdxFile(
        "train-images-idx3-ubyte.gz",
        (60_000, 28, 28),
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    ),
    IdxFile(
        "train-labels-idx1-ubyte.gz",
        (60_000,),
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    ),
    IdxFile(
        "t10k-images-idx3-ubyte.gz",
        (10_000, 28, 28),
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    ),
    IdxFile(
        "t10k-labels-idx1-ubyte.gz",
        (10_000,),
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    ),
)


def fashion_mnist(
    root: str | Path | None, *, split_seed: int = 0, limit: int | None = None, files: Sequence[IdxFile] = FILES
) -> Dataset:
    """Fashion-MNIST: 70,000 grey 28x28 images of 10 kinds of clothing, pixels given as [0, 1].

    The test set is the files' own, whole. Validation is a sixth of each class of the others.

    Args:
        root: Folder with the four files.
        split_seed: Of the cut between train and validation, and of what `limit` leaves.
        limit: So many images, by class, of the 60,000, before they are cut; None takes all. With one seed a
            smaller limit takes images that a larger one takes as well.
        files: Train images, train labels, test images, test labels, as they must be.

    Raises:
        CallerError: For every file that is missing or not the published one, and a limit out of range.

    Source: H. Xiao, K. Rasul & R. Vollgraf 2017, arXiv:1708.07747 (MIT licence).
    """
    check_limit(limit, classes=CLASSES, samples=files[0].shape[0])
    if root is None:
        names = ", ".join(file.name for file in files)
        raise CallerError(f"data.root: expected a folder with the files {names}, got nothing; set data.root")
    images, labels, test_images, test_labels = read_folder(Path(root).expanduser(), files, "data.root")
    chosen = stratified_sample(labels, limit, seed=split_seed)
    train, validation, _ = (
        chosen[part] for part in stratified_split(labels[chosen], (VALIDATION_SHARE, 0.0), seed=split_seed)
    )
    return Dataset(
        "fashion_mnist",
        "images",
        CLASSES,
        (0.0, 1.0),
        _split(images[train], labels[train]),
        _split(images[validation], labels[validation]),
        _split(test_images, test_labels),
    )


def _split(images: Tensor, labels: Tensor) -> Split:
    return Split(images[:, None].to(torch.float32).div_(255), labels.to(torch.int64))
