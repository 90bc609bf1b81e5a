from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from noise_search.data import Dataset, Split, cut_dataset, dataset_of, stratified_split
from noise_search.data.own import dataset_mistakes
from noise_search.errors import CallerError
from noise_search.seeds import generator

Keys = dict[str, Any]


def pictures(samples: int = 6) -> torch.Tensor:
    return torch.rand((samples, 1, 4, 4), generator=generator(0, "pictures"))


LABELS = [0, 1, 2, 0, 1, 2]


def keys(**changes: Any) -> Keys:
    pair = (pictures(), LABELS)
    sound = {"name": "mine", "modality": "images", "train": pair, "validation": pair, "test": pair}
    return {**sound, "input_range": (0, 1), **changes}


def mistakes_of(**changes: Any) -> list[str]:
    with pytest.raises(CallerError) as caught:
        dataset_of(**keys(**changes))
    assert not any("\n" in mistake for mistake in caught.value.mistakes)
    return list(caught.value.mistakes)


# --- sound data


@pytest.mark.parametrize("as_they_come", [torch.Tensor.double, torch.Tensor.numpy, torch.Tensor.tolist])
def test_tensors_arrays_and_lists_become_float32_and_int64(as_they_come: Callable[[torch.Tensor], Any]) -> None:
    pair = (as_they_come(pictures()), as_they_come(torch.tensor(LABELS)))
    if as_they_come is torch.Tensor.double:
        pair = (pair[0], torch.tensor(LABELS, dtype=torch.uint8))
    data = dataset_of(**keys(train=pair))
    assert (data.train.inputs.dtype, data.train.labels.dtype) == (torch.float32, torch.int64)
    assert torch.equal(data.train.inputs, pictures())
    assert data.train.labels.tolist() == LABELS
    assert (data.name, data.modality, data.input_range) == ("mine", "images", (0.0, 1.0))


def test_the_number_of_classes_is_told_by_the_largest_label_unless_said() -> None:
    assert dataset_of(**keys()).classes == 3
    assert dataset_of(**keys(classes=3)).classes == 3


def test_other_modalities_may_have_other_shapes_and_no_range() -> None:
    pair = (np.random.default_rng(0).normal(size=(6, 5)), LABELS)
    data = dataset_of(**keys(modality="tabular", train=pair, validation=pair, test=pair, input_range=None))
    assert data.input_range is None
    assert data.statistics.shape == (5,)


def test_one_pair_is_cut_by_class_as_a_stratified_split_cuts_it() -> None:
    labels = torch.arange(40) % 4
    data = cut_dataset(
        name="mine",
        modality="images",
        samples=(pictures(40), labels),
        input_range=(0, 1),
        split_seed=3,
        shares=(0.1, 0.3),
    )
    parts = stratified_split(labels, (0.1, 0.3), seed=3)
    for split, part in zip((data.train, data.validation, data.test), parts, strict=True):
        assert torch.equal(split.inputs, pictures(40)[part])
        assert torch.equal(split.labels, labels[part])
    assert (len(data.train), len(data.validation), len(data.test)) == (24, 4, 12)


# --- mistakes


def with_value(value: float) -> torch.Tensor:
    changed = pictures()
    changed[1, 0, 2, 3] = value
    return changed


MAKE = "make it with dataset_of"
WRONG: dict[str, tuple[Keys, list[str]]] = {
    "no pair": ({"train": pictures()}, ["data.train: expected a pair (inputs, labels), got Tensor"]),
    "whole numbers for pixels": (
        {"train": ((pictures() * 255).to(torch.uint8), LABELS)},
        ["data.train inputs: expected floating point numbers, got uint8; divide pixels of 0 to 255 by 255"],
    ),
    "fractions for labels": (
        {"test": (pictures(), [0.0, 1, 2, 0, 1, 2])},
        ["data.test labels: expected whole numbers, got float32"],
    ),
    "words for labels": (
        {"test": (pictures(), ["a", "b"] * 3)},
        ["data.test labels: expected an array of whole numbers, got list (too many dimensions 'str')"],
    ),
    "true and false for labels": (
        {"test": (pictures(), [True, False] * 3)},
        ["data.test labels: expected whole numbers, got bool"],
    ),
    "no name": ({"name": ""}, ["data.name: expected a name, got ''"]),
    "an unknown modality": (
        {"modality": "image"},
        ["data.modality: expected one of ['audio', 'images', 'tabular'], got 'image'; did you mean 'images'?"],
    ),
    "images of another range": (
        {"input_range": (0, 255)},
        ["data.input_range: expected (0, 1) for images, got (0.0, 255.0); scale the images to it"],
    ),
    "images without a range": (
        {"input_range": None},
        ["data.input_range: expected (0, 1) for images, got None; scale the images to it"],
    ),
    "a range that is a number": ({"input_range": 1}, ["data.input_range: expected two numbers or None, got 1"]),
    "a range the wrong way round": (
        {"modality": "audio", "input_range": (1, -1)},
        ["data.input_range: expected two finite numbers, the smaller first, or None, got (1.0, -1.0)"],
    ),
    "a pixel that is no number": (
        {"validation": (with_value(math.nan), LABELS)},
        ["data.validation inputs: expected finite numbers, got some that are not"],
    ),
    "an infinite pixel": (
        {"validation": (with_value(math.inf), LABELS)},
        ["data.validation inputs: expected finite numbers, got some that are not"],
    ),
    "a pixel out of range": (
        {"validation": (pictures().clamp(0.25, 0.5) + 0.75, LABELS)},
        ["data.validation inputs: expected values in [0.0, 1.0], got 1 to 1.25"],
    ),
    "a negative label": (
        {"test": (pictures(), [-1, 1, 2, 0, 1, 2])},
        ["data.test labels: expected 0 to 2, got -1 to 2"],
    ),
    "a label beyond the classes": (
        {"classes": 3, "test": (pictures(), [3, 1, 2, 0, 1, 2])},
        ["data.test labels: expected 0 to 2, got 0 to 3"],
    ),
    "a class that is never trained": (
        {"train": (pictures(), [0, 1, 3, 0, 1, 3])},
        ["data.train labels: expected every class from 0 to 3, got none of [2]"],
    ),
    "a single class": (
        {part: (pictures(), [0] * 6) for part in ("train", "validation", "test")},
        ["data.classes: expected a whole number from 2 up, got 1"],
    ),
    "fewer labels than inputs": (
        {"train": (pictures(), LABELS[:-1])},
        ["data.train: expected as many labels as inputs, got 5 for 6"],
    ),
    "one sample": (
        {"validation": (pictures(1), [0])},
        ["data.validation: expected at least 2 samples, got 1"],
    ),
    "no sample": (
        {"validation": (pictures(0), torch.zeros(0, dtype=torch.int64))},
        ["data.validation: expected at least 2 samples, got 0"],
    ),
    "labels of two dimensions": (
        {"train": (pictures(), [[label] for label in LABELS])},
        ["data.train labels: expected shape (samples,), got (6, 1)"],
    ),
    "inputs of one dimension": (
        {"train": (torch.rand(6, generator=generator(0, "x")), LABELS)},
        ["data.train inputs: expected shape (samples, ...) of at least one value, got (6,)"],
    ),
    "images without channels": (
        {part: (pictures()[:, 0], LABELS) for part in ("train", "validation", "test")},
        [
            f"data.{part} inputs: expected images (samples, channels, height, width), got samples of (4, 4)"
            for part in ("train", "validation", "test")
        ],
    ),
    "images of another size": (
        {"test": (pictures()[..., :3], LABELS)},
        ["data.test inputs: expected samples of (1, 4, 4) as in train, got (1, 4, 3)"],
    ),
}


@pytest.mark.parametrize(("changes", "expected"), WRONG.values(), ids=WRONG)
def test_wrong_data_are_told_which_part_what_was_expected_and_what_is_there(changes: Keys, expected: list[str]) -> None:
    assert mistakes_of(**changes) == expected


def test_every_mistake_is_told_at_once() -> None:
    found = mistakes_of(
        train=((pictures() * 255).to(torch.uint8), LABELS), test=(pictures(), [0.5] * 6), input_range="unit"
    )
    assert [mistake.partition(":")[0] for mistake in found] == [
        "data.train inputs",
        "data.test labels",
        "data.input_range",
    ]
    found = mistakes_of(validation=(with_value(math.nan), LABELS), test=(pictures(), [-1] * 6))
    assert [mistake.partition(":")[0] for mistake in found] == ["data.validation inputs", "data.test labels"]


@pytest.mark.parametrize("shares", [(0.0, 0.2), (0.5, 0.5), (0.2,), (-0.1, 0.2)])
def test_shares_that_leave_a_split_empty_are_refused(shares: Any) -> None:
    with pytest.raises(CallerError, match=r"data\.shares: expected two numbers over 0 with a sum under 1"):
        cut_dataset(
            name="mine",
            modality="images",
            samples=(pictures(), LABELS),
            input_range=(0, 1),
            split_seed=0,
            shares=shares,
        )


def by_hand(inputs: Any, labels: Any) -> Dataset:
    split = Split(inputs, labels)
    return Dataset("mine", "images", 3, (0.0, 1.0), split, split, split)


BY_HAND: dict[str, tuple[Dataset, str]] = {
    "float64": (
        by_hand(pictures().double(), torch.tensor(LABELS)),
        f"inputs: expected torch.float32, got torch.float64; {MAKE}",
    ),
    "int32 labels": (
        by_hand(pictures(), torch.tensor(LABELS, dtype=torch.int32)),
        f"labels: expected torch.int64, got torch.int32; {MAKE}",
    ),
    "a gradient": (
        by_hand(pictures().requires_grad_(), torch.tensor(LABELS)),
        f"inputs: expected a tensor on the CPU without gradient; {MAKE}",
    ),
}


@pytest.mark.parametrize(("data", "expected"), BY_HAND.values(), ids=BY_HAND)
def test_a_data_set_made_by_hand_is_held_to_the_same(data: Dataset, expected: str) -> None:
    assert dataset_mistakes(data) == [f"data.{part} {expected}" for part in ("train", "validation", "test")]


def test_splits_that_are_arrays_are_told_of() -> None:
    found = dataset_mistakes(by_hand(pictures().numpy(), torch.tensor(LABELS)))
    assert found[0] == f"data.train: expected a Split of two tensors, got Split; {MAKE}"
    sound = dataset_of(**keys())
    pair: Any = (1, 2)
    broken = replace(sound, test=pair)
    assert dataset_mistakes(broken) == [f"data.test: expected a Split of two tensors, got tuple; {MAKE}"]


def test_sound_data_have_no_mistakes() -> None:
    assert dataset_mistakes(dataset_of(**keys())) == []
