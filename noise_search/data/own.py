"""Data of one's own: from arrays to a checked `Dataset`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from noise_search.data.dataset import Dataset, Split, stratified_split
from noise_search.errors import expected_one_of, raise_if_any

Pair: TypeAlias = tuple[object, object]
MODALITIES = ("images", "audio", "tabular")
LEAST_SAMPLES = 2
UNIT = (0.0, 1.0)  # range of images: corruptions and noises clip to it


def dataset_of(
    *,
    name: str,
    modality: str,
    train: Pair,
    validation: Pair,
    test: Pair,
    input_range: Sequence[float] | None,
    classes: int | None = None,
) -> Dataset:
    """Data set of three splits, each a pair (inputs, labels) of tensors, NumPy arrays or lists.

    Inputs are floating point numbers in raw units, shape (samples, ...), for images (samples, channels, height,
    width) in [0, 1]; they are kept as float32. Labels are whole numbers from 0 to classes - 1, shape (samples,).

    Args:
        name: What sweeps and suites call it.
        modality: images, audio or tabular.
        train, validation, test: train fits, validation steers the search, test is read at the very end only.
        input_range: Bounds of the inputs, to which noisy ones are clipped; (0, 1) for images, None for none.
        classes: How many; None takes the largest label.

    Raises:
        CallerError: With every mistake at once.

    >>> pictures = torch.rand((6, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    >>> pair = (pictures, [0, 1, 2, 0, 1, 2])
    >>> dataset_of(name="mine", modality="images", train=pair, validation=pair, test=pair, input_range=(0, 1)).classes
    3
    """
    mistakes: list[str] = []
    pairs = {"train": train, "validation": validation, "test": test}
    splits = {part: _split(pair, f"data.{part}", mistakes) for part, pair in pairs.items()}
    bounds = _bounds(input_range, mistakes)
    raise_if_any(mistakes)
    whole = {part: split for part, split in splits.items() if split is not None}
    if classes is None:
        classes = 1 + max((int(split.labels.max()) for split in whole.values() if len(split)), default=0)
    made = Dataset(name, modality, classes, bounds, whole["train"], whole["validation"], whole["test"])
    raise_if_any(dataset_mistakes(made))
    return made


def cut_dataset(
    *,
    name: str,
    modality: str,
    samples: Pair,
    input_range: Sequence[float] | None,
    split_seed: int,
    shares: tuple[float, float] = (0.2, 0.2),
    classes: int | None = None,
) -> Dataset:
    """Data set cut from one pair (inputs, labels), every class by the same shares; else as `dataset_of`.

    Args:
        samples: All inputs and their labels.
        split_seed: Of the cut.
        shares: Of validation and of test; train takes the rest.

    Raises:
        CallerError: With every mistake at once.

    >>> pictures = torch.rand((20, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    >>> made = cut_dataset(
    ...     name="mine", modality="images", samples=(pictures, [0, 1] * 10), input_range=(0, 1), split_seed=0
    ... )
    >>> len(made.train), len(made.validation), len(made.test)
    (12, 4, 4)
    """
    mistakes: list[str] = []
    whole = _split(samples, "data.samples", mistakes)
    if not (len(shares) == 2 and all(0 < share < 1 for share in shares) and sum(shares) < 1):
        mistakes.append(f"data.shares: expected two numbers over 0 with a sum under 1, got {shares!r}")
    raise_if_any(mistakes)
    assert whole is not None
    train, validation, test = (
        (whole.inputs[part], whole.labels[part]) for part in stratified_split(whole.labels, shares, seed=split_seed)
    )
    return dataset_of(
        name=name,
        modality=modality,
        train=train,
        validation=validation,
        test=test,
        input_range=input_range,
        classes=classes,
    )


def dataset_mistakes(data: Dataset) -> list[str]:
    """Everything about a data set that a sweep could not work with."""
    mistakes = []
    if not isinstance(data.name, str) or not data.name:
        mistakes.append(f"data.name: expected a name, got {data.name!r}")
    if data.modality not in MODALITIES:
        mistakes.append(expected_one_of("data.modality", MODALITIES, data.modality))
    if not _is_whole(data.classes) or data.classes < 2:
        mistakes.append(f"data.classes: expected a whole number from 2 up, got {data.classes!r}")
    mistakes += _range_mistakes(data)
    splits = {"train": data.train, "validation": data.validation, "test": data.test}
    wrong = {part: _split_mistakes(split, f"data.{part}") for part, split in splits.items()}
    mistakes += [mistake for found in wrong.values() for mistake in found]
    if mistakes:  # what follows compares sound parts
        return mistakes
    for part, split in splits.items():
        mistakes += _content_mistakes(split, data, f"data.{part}")
    missing = sorted(set(range(data.classes)) - set(data.train.labels.tolist()))
    if missing:
        mistakes.append(f"data.train labels: expected every class from 0 to {data.classes - 1}, got none of {missing}")
    return mistakes


def _split(pair: object, where: str, mistakes: list[str]) -> Split | None:
    """Split of a pair, float32 and int64; None with the reasons noted where that cannot be."""
    if not isinstance(pair, Sequence) or len(pair) != 2:
        mistakes.append(f"{where}: expected a pair (inputs, labels), got {type(pair).__name__}")
        return None
    words = "floating point numbers", "whole numbers"
    inputs = _tensor(pair[0], f"{where} inputs", torch.is_floating_point, words[0], mistakes)
    labels = _tensor(pair[1], f"{where} labels", _is_integer, words[1], mistakes)
    if inputs is None or labels is None:
        return None
    return Split(inputs.to(torch.float32), labels.to(torch.int64))


def _tensor(
    values: object, where: str, holds: Callable[[Tensor], bool], words: str, mistakes: list[str]
) -> Tensor | None:
    try:
        tensor = torch.as_tensor(values).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        mistakes.append(f"{where}: expected an array of {words}, got {type(values).__name__} ({_one_line(error)})")
        return None
    if not holds(tensor):
        hint = "; divide pixels of 0 to 255 by 255" if tensor.dtype == torch.uint8 else ""
        mistakes.append(f"{where}: expected {words}, got {_dtype(tensor)}{hint}")
        return None
    return tensor


def _bounds(input_range: object, mistakes: list[str]) -> tuple[float, float] | None:
    if input_range is None:
        return None
    if isinstance(input_range, Sequence) and len(input_range) == 2 and all(map(_is_number, input_range)):
        return float(input_range[0]), float(input_range[1])
    mistakes.append(f"data.input_range: expected two numbers or None, got {input_range!r}")
    return None


def _range_mistakes(data: Dataset) -> list[str]:
    bounds = data.input_range
    if data.modality == "images" and bounds != UNIT:
        return [f"data.input_range: expected (0, 1) for images, got {bounds!r}; scale the images to it"]
    if bounds is not None and not (len(bounds) == 2 and all(map(_is_number, bounds)) and bounds[0] < bounds[1]):
        return [f"data.input_range: expected two finite numbers, the smaller first, or None, got {bounds!r}"]
    return []


def _split_mistakes(split: Split, where: str) -> list[str]:
    """What is wrong with the tensors of a split whatever they hold."""
    if not isinstance(split, Split) or not all(isinstance(part, Tensor) for part in (split.inputs, split.labels)):
        return [f"{where}: expected a Split of two tensors, got {type(split).__name__}; make it with dataset_of"]
    inputs, labels = split.inputs, split.labels
    mistakes = []
    for tensor, name, dtype in ((inputs, "inputs", torch.float32), (labels, "labels", torch.int64)):
        if tensor.dtype != dtype:
            mistakes.append(f"{where} {name}: expected {dtype}, got {tensor.dtype}; make it with dataset_of")
        if tensor.device.type != "cpu" or tensor.requires_grad:
            mistakes.append(f"{where} {name}: expected a tensor on the CPU without gradient; make it with dataset_of")
    if labels.dim() != 1:
        mistakes.append(f"{where} labels: expected shape (samples,), got {tuple(labels.shape)}")
    if inputs.dim() < 2 or 0 in inputs.shape[1:]:
        mistakes.append(
            f"{where} inputs: expected shape (samples, ...) of at least one value, got {tuple(inputs.shape)}"
        )
    elif len(inputs) != labels.numel():
        mistakes.append(f"{where}: expected as many labels as inputs, got {labels.numel()} for {len(inputs)}")
    elif len(inputs) < LEAST_SAMPLES:
        mistakes.append(f"{where}: expected at least {LEAST_SAMPLES} samples, got {len(inputs)}")
    return mistakes


def _content_mistakes(split: Split, data: Dataset, where: str) -> list[str]:
    """What is wrong with the numbers of a split whose tensors are sound."""
    mistakes = []
    shape, expected = tuple(split.inputs.shape[1:]), tuple(data.train.inputs.shape[1:])
    if data.modality == "images" and len(shape) != 3:
        mistakes.append(f"{where} inputs: expected images (samples, channels, height, width), got samples of {shape}")
    elif shape != expected:
        mistakes.append(f"{where} inputs: expected samples of {expected} as in train, got {shape}")
    low, high = (float(value) for value in split.inputs.aminmax())
    if not math.isfinite(low) or not math.isfinite(high):
        mistakes.append(f"{where} inputs: expected finite numbers, got some that are not")
    elif data.input_range is not None and not data.input_range[0] <= low <= high <= data.input_range[1]:
        mistakes.append(f"{where} inputs: expected values in {list(data.input_range)}, got {low:g} to {high:g}")
    least, most = (int(value) for value in split.labels.aminmax())
    if least < 0 or most >= data.classes:
        mistakes.append(f"{where} labels: expected 0 to {data.classes - 1}, got {least} to {most}")
    return mistakes


def _is_integer(tensor: Tensor) -> bool:
    return not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
