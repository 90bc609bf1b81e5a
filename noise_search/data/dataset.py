"""A data set in memory: three splits of tensors, their units and a hash of their content."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from noise_search.errors import CallerError
from noise_search.models import InputStatistics
from noise_search.seeds import generator

LEAST_PER_CLASS = 10  # samples that a limit must leave


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Inputs (samples, ...) in raw units, float32, and labels (samples,), int64."""

    inputs: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device, dtype: torch.dtype) -> Split:
        """The same split with its inputs on `device` as `dtype`."""
        return Split(self.inputs.to(device, dtype), self.labels.to(device))


@dataclass(frozen=True, eq=False)  # without slots, so that what takes a second is computed once
class Dataset:
    """Splits and what they mean.

    train fits; validation steers the search; test is read at the end of a confirmation only.

    Args:
        modality: images, audio or tabular.
        input_range: Bounds of the inputs, to which noisy ones are clipped; None for data without bounds.
    """

    name: str
    modality: str
    classes: int
    input_range: tuple[float, float] | None
    train: Split
    validation: Split
    test: Split

    @cached_property
    def statistics(self) -> InputStatistics:
        """Shape, classes, and mean and SD of all training inputs."""
        inputs = self.train.inputs
        return InputStatistics(
            shape=tuple(inputs.shape[1:]),
            classes=self.classes,
            mean=float(inputs.double().mean()),
            std=float(inputs.double().std()),
        )

    @cached_property
    def digest(self) -> str:
        """SHA-256 of every split's shape and bytes."""
        digest = hashlib.sha256()
        for split in (self.train, self.validation, self.test):
            for tensor in (split.inputs, split.labels):
                digest.update(str(tuple(tensor.shape)).encode())
                digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()


def stratified_split(labels: Tensor, shares: tuple[float, float], *, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Indices of train, validation and test, each class cut by the same shares, in increasing order.

    Args:
        labels: (samples,).
        shares: Of validation and of test, in [0, 1].
        seed: Of the permutation within each class.
    """
    parts: tuple[list[Tensor], list[Tensor], list[Tensor]] = ([], [], [])
    for label in sorted(set(labels.tolist())):
        members = (labels == label).nonzero().squeeze(1)
        order = torch.randperm(len(members), generator=generator(seed, "split", label))
        sizes = [round(share * len(members)) for share in shares]
        cut = torch.split(members[order], [len(members) - sum(sizes), *sizes])
        for part, piece in zip(parts, cut, strict=True):
            part.append(piece)
    train, validation, test = (torch.cat(part).sort().values for part in parts)
    return train, validation, test


def stratified_sample(labels: Tensor, count: int | None, *, seed: int) -> Tensor:
    """Indices of `count` samples, each class in its share (by largest remainder), in increasing order.

    Args:
        labels: (samples,).
        count: At most as many as there are; None takes all.
        seed: Of the permutation within each class, whose first members are taken: of two samples by one seed
            the smaller is part of the larger, but for the rounding of shares.
    """
    if count is None:
        return torch.arange(len(labels))
    classes, sizes = (values.tolist() for values in torch.unique(labels, return_counts=True))
    exact = [count * size / len(labels) for size in sizes]
    taken = [int(share) for share in exact]
    for place in sorted(range(len(exact)), key=lambda i: taken[i] - exact[i])[: count - sum(taken)]:
        taken[place] += 1
    parts = []
    for label, size in zip(classes, taken, strict=True):
        members = (labels == label).nonzero().squeeze(1)
        parts.append(members[torch.randperm(len(members), generator=generator(seed, "limit", label))[:size]])
    return torch.cat(parts).sort().values


def check_limit(limit: int | None, *, classes: int, samples: int) -> None:
    """Refuse a limit that leaves too little, or asks for more than there is.

    Raises:
        CallerError: Naming the key and what is allowed.
    """
    least = LEAST_PER_CLASS * classes
    if limit is not None and not least <= limit <= samples:
        raise CallerError(f"data.limit: expected null or a number from {least} to {samples}, got {limit}")
