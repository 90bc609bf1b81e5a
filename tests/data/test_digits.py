from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from sklearn.datasets import load_digits

from noise_search.config import config_folder
from noise_search.data import DATASETS, Dataset
from noise_search.data.bundled import digits


@pytest.fixture(scope="module")
def data() -> Dataset:
    return digits()


def all_rows(of: Dataset) -> list[tuple[bytes, int]]:
    splits = (of.train, of.validation, of.test)
    return sorted(
        (image.numpy().tobytes(), int(label))
        for split in splits
        for image, label in zip(split.inputs, split.labels, strict=True)
    )


def test_digits_are_those_of_scikit_learn_over_16(data: Dataset) -> None:
    images, labels = load_digits(return_X_y=True)
    rows = sorted(
        (image.tobytes(), int(label)) for image, label in zip((images / 16).astype(np.float32), labels, strict=True)
    )
    assert all_rows(data) == rows


def test_digits_are_split_60_20_20_within_every_class(data: Dataset) -> None:
    labels = torch.from_numpy(load_digits(return_X_y=True)[1])
    for label in range(10):
        whole = int((labels == label).sum())
        counts = [int((split.labels == label).sum()) for split in (data.train, data.validation, data.test)]
        assert sum(counts) == whole
        assert counts == pytest.approx([0.6 * whole, 0.2 * whole, 0.2 * whole], abs=1)


def test_digits_say_what_they_are(data: Dataset) -> None:
    assert (data.name, data.modality, data.classes, data.input_range) == ("digits", "images", 10, (0.0, 1.0))
    for split in (data.train, data.validation, data.test):
        assert (split.inputs.dtype, split.labels.dtype) == (torch.float32, torch.int64)
        assert split.inputs.shape[1:] == (1, 8, 8)
        assert 0 <= split.inputs.min() <= split.inputs.max() <= 1
    source = DATASETS["digits"]
    assert (source.modality, source.dimensions) == (data.modality, data.train.inputs.dim() - 1)


def test_statistics_are_those_of_the_training_split_alone(data: Dataset) -> None:
    pixels = data.train.inputs.double().numpy()
    found = data.statistics
    assert (found.shape, found.classes) == ((1, 8, 8), 10)
    assert (found.mean, found.std) == pytest.approx((pixels.mean(), pixels.std(ddof=1)), rel=1e-12)


def test_the_digest_is_the_one_the_shipped_suite_was_calibrated_on(data: Dataset) -> None:
    suite = yaml.safe_load((config_folder() / "suite" / "digits.yaml").read_text())
    assert data.digest == suite["reference"]["data_digest"]


def test_another_split_seed_moves_samples_between_splits_and_loses_none(data: Dataset) -> None:
    other = digits(split_seed=1)
    assert other.digest != data.digest
    assert all_rows(other) == all_rows(data)
    assert digits(split_seed=1).digest == other.digest


def test_loading_digits_does_not_import_scikit_learn() -> None:
    program = (
        "import sys; from noise_search.data import DATASETS; DATASETS['digits'].load(); print('sklearn' in sys.modules)"
    )
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert printed.stdout == "False\n"
