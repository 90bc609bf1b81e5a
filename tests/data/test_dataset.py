from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from noise_search.data import Dataset, Split, stratified_split
from noise_search.seeds import generator

LABELS = st.lists(st.integers(0, 4), min_size=1, max_size=80).map(torch.tensor)
SHARES = st.floats(0, 0.5)


def some_split(key: str, samples: int = 4) -> Split:
    rng = generator(0, key)
    return Split(torch.rand((samples, 1, 2, 2), generator=rng), torch.randint(3, (samples,), generator=rng))


def dataset() -> Dataset:
    return Dataset("tiny", "images", 3, (0.0, 1.0), some_split("a"), some_split("b"), some_split("c"))


@given(LABELS, SHARES, SHARES, st.integers(0, 3))
def test_the_parts_of_a_split_are_disjoint_complete_and_in_order(
    labels: torch.Tensor, validation: float, test: float, seed: int
) -> None:
    parts = [part.tolist() for part in stratified_split(labels, (validation, test), seed=seed)]
    assert sorted(index for part in parts for index in part) == list(range(len(labels)))
    assert all(part == sorted(part) for part in parts)


@given(LABELS, SHARES, SHARES, st.integers(0, 3))
def test_every_class_is_cut_by_the_same_shares(labels: torch.Tensor, validation: float, test: float, seed: int) -> None:
    parts = stratified_split(labels, (validation, test), seed=seed)
    for label in sorted(set(labels.tolist())):
        whole = int((labels == label).sum())
        sizes = [int((labels[part] == label).sum()) for part in parts]
        # Training takes what the roundings of the other two leave.
        assert sizes[1:] == pytest.approx([validation * whole, test * whole], abs=0.5)
        assert sum(sizes) == whole


def test_a_split_is_a_function_of_its_seed() -> None:
    labels = torch.arange(100) % 4
    first, again, other = (stratified_split(labels, (0.2, 0.2), seed=seed)[1] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_members_of_a_class_do_not_move_when_other_classes_grow() -> None:
    labels = torch.tensor([0, 1] * 20)
    more = torch.cat([labels, torch.ones(30, dtype=torch.int64)])
    for part, wider in zip(
        stratified_split(labels, (0.2, 0.2), seed=0), stratified_split(more, (0.2, 0.2), seed=0), strict=True
    ):
        assert torch.equal(part[labels[part] == 0], wider[more[wider] == 0])


def test_the_digest_is_stable() -> None:
    assert dataset().digest == dataset().digest


PUT: dict[str, Callable[[Dataset, Split], Dataset]] = {
    "train": lambda data, split: replace(data, train=split),
    "validation": lambda data, split: replace(data, validation=split),
    "test": lambda data, split: replace(data, test=split),
}


@pytest.mark.parametrize("name", PUT)
def test_the_digest_sees_one_changed_pixel_or_label_of_any_split(name: str) -> None:
    data = dataset()
    split: Split = getattr(data, name)
    pixels, labels = split.inputs.clone(), split.labels.clone()
    pixels[2, 0, 1, 1] = torch.nextafter(pixels[2, 0, 1, 1], torch.tensor(2.0))
    labels[3] += 1
    changed = [
        PUT[name](data, Split(pixels, split.labels)).digest,
        PUT[name](data, Split(split.inputs, labels)).digest,
    ]
    assert len({data.digest, *changed}) == 3


def test_the_digest_sees_the_shape_and_which_split_is_which() -> None:
    data = dataset()
    flat = Split(data.train.inputs.flatten(1), data.train.labels)
    swapped = replace(data, train=data.test, test=data.train)
    assert len({data.digest, replace(data, train=flat).digest, swapped.digest}) == 3


def test_the_digest_does_not_depend_on_how_a_tensor_lies_in_memory() -> None:
    data = dataset()
    turned = data.train.inputs.transpose(2, 3).contiguous().transpose(2, 3)
    assert not turned.is_contiguous()
    assert replace(data, train=Split(turned, data.train.labels)).digest == data.digest


def test_a_split_moves_its_inputs_to_a_dtype_and_leaves_its_labels_whole() -> None:
    split = some_split("a")
    moved = split.to(torch.device("cpu"), torch.float64)
    assert torch.equal(moved.inputs, split.inputs.double())
    assert torch.equal(moved.labels, split.labels)
    assert len(moved) == 4
