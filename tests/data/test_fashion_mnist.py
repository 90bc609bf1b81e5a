from __future__ import annotations

import gzip
import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from idx_examples import CLASSES, SIDE, TEST, TRAIN, write_folder, write_idx

from noise_search.data import Dataset, Split
from noise_search.data.fashion_mnist import FILES, fashion_mnist
from noise_search.data.idx import IdxFile
from noise_search.errors import CallerError

Small = tuple[Path, tuple[IdxFile, ...]]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    folder = tmp_path_factory.mktemp("idx")
    return folder, write_folder(folder)


def rows(*splits: Split) -> Counter[tuple[bytes, int]]:
    return Counter(
        (image.numpy().tobytes(), int(label))
        for split in splits
        for image, label in zip(split.inputs, split.labels, strict=True)
    )


def as_written(folder: Path, part: str, samples: int) -> Counter[tuple[bytes, int]]:
    """Pictures and labels read with NumPy alone: headers of 16 and 8 bytes, then numbers; pixels over 255."""
    names = (f"{part}-images-idx3-ubyte.gz", f"{part}-labels-idx1-ubyte.gz")
    packed = [(folder / name).read_bytes() for name in names]
    images = np.frombuffer(gzip.decompress(packed[0]), np.uint8, offset=16)
    labels = np.frombuffer(gzip.decompress(packed[1]), np.uint8, offset=8)
    pixels = images.reshape(samples, -1).astype(np.float32) / np.float32(255)
    return Counter((row.tobytes(), int(label)) for row, label in zip(pixels, labels, strict=True))


def test_the_pictures_are_those_of_the_files_over_255_and_the_test_set_is_their_own(small: Small) -> None:
    folder, files = small
    data = fashion_mnist(folder, files=files)
    assert rows(data.train, data.validation) == as_written(folder, "train", TRAIN)
    assert rows(data.test) == as_written(folder, "t10k", TEST)
    assert data.train.inputs.shape[1:] == (1, SIDE, SIDE)
    assert (data.train.inputs.dtype, data.train.labels.dtype) == (torch.float32, torch.int64)


def per_class(split: Split) -> list[int]:
    return torch.bincount(split.labels, minlength=CLASSES).tolist()


def test_validation_is_a_sixth_of_every_class_of_the_training_files(small: Small) -> None:
    data = fashion_mnist(small[0], files=small[1])
    assert per_class(data.train) == [25] * CLASSES
    assert per_class(data.validation) == [5] * CLASSES
    assert per_class(data.test) == [4] * CLASSES


def test_a_limit_takes_so_many_by_class_then_cuts_them_and_leaves_the_test_set_whole(small: Small) -> None:
    whole, part = fashion_mnist(small[0], files=small[1]), fashion_mnist(small[0], files=small[1], limit=120)
    assert per_class(part.train) == [10] * CLASSES
    assert per_class(part.validation) == [2] * CLASSES
    assert rows(part.train, part.validation) <= rows(whole.train, whole.validation)
    assert rows(part.test) == rows(whole.test)


def test_a_limit_that_is_no_multiple_of_the_classes_is_met_to_the_sample(small: Small) -> None:
    part = fashion_mnist(small[0], files=small[1], limit=137)
    assert len(part.train) + len(part.validation) == 137
    both = [a + b for a, b in zip(per_class(part.train), per_class(part.validation), strict=True)]
    assert set(both) == {13, 14}


def test_a_smaller_limit_takes_pictures_that_a_larger_one_takes_too(small: Small) -> None:
    less, more = (fashion_mnist(small[0], files=small[1], limit=limit) for limit in (100, 200))
    assert rows(less.train, less.validation) <= rows(more.train, more.validation)


def test_seed_and_limit_decide_which_and_the_digest_sees_both(small: Small) -> None:
    def made(split_seed: int, limit: int | None) -> Dataset:
        return fashion_mnist(small[0], files=small[1], split_seed=split_seed, limit=limit)

    assert made(0, 100).digest == made(0, 100).digest
    assert len({made(0, 100).digest, made(1, 100).digest, made(0, 110).digest, made(0, None).digest}) == 4


@pytest.mark.parametrize("limit", [99, 1, 0, -5, TRAIN + 1])
def test_a_limit_out_of_range_is_refused_before_any_file_is_read(tmp_path: Path, small: Small, limit: int) -> None:
    with pytest.raises(CallerError) as caught:
        fashion_mnist(tmp_path / "nowhere", files=small[1], limit=limit)
    assert caught.value.mistakes == (f"data.limit: expected null or a number from 100 to 300, got {limit}",)


@pytest.mark.parametrize("limit", [100, TRAIN])
def test_a_limit_on_the_edge_is_taken(small: Small, limit: int) -> None:
    data = fashion_mnist(small[0], files=small[1], limit=limit)
    assert len(data.train) + len(data.validation) == limit


def test_the_same_files_elsewhere_are_the_same_data(tmp_path: Path, small: Small) -> None:
    assert write_folder(tmp_path) == small[1]
    assert fashion_mnist(tmp_path, files=small[1]).digest == fashion_mnist(str(small[0]), files=small[1]).digest


def test_without_a_folder_one_is_told_what_to_set_and_which_files_belong_there() -> None:
    with pytest.raises(CallerError) as caught:
        fashion_mnist(None)
    (mistake,) = caught.value.mistakes
    assert mistake.startswith("data.root: expected a folder with the files train-images-idx3-ubyte.gz, train-labels")
    assert mistake.endswith("got nothing; set data.root")


def test_files_that_are_others_than_the_published_ones_are_refused_each_by_name(tmp_path: Path) -> None:
    write_folder(tmp_path)
    with pytest.raises(CallerError) as caught:
        fashion_mnist(tmp_path)
    assert [mistake.split(": ")[1] for mistake in caught.value.mistakes] == [str(tmp_path / f.name) for f in FILES]


def test_one_changed_pixel_is_seen_before_anything_is_used(tmp_path: Path) -> None:
    files = write_folder(tmp_path)
    write_idx(tmp_path / files[2].name, np.zeros((TEST, SIDE, SIDE)))
    with pytest.raises(CallerError, match=f"{files[2].name}: expected the file with SHA-256 {files[2].sha256}"):
        fashion_mnist(tmp_path, files=files)


# --- the real files

# As the authors publish them.
MD5 = {
    "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_our_checksums_are_those_of_the_published_files(real_data: Path, file: IdxFile) -> None:
    content = (real_data / "fashion-mnist" / file.name).read_bytes()
    assert hashlib.md5(content).hexdigest() == MD5[file.name]
    assert hashlib.sha256(content).hexdigest() == file.sha256


def test_the_real_data_set_has_its_known_counts_mean_and_deviation(real_data: Path) -> None:
    data = fashion_mnist(real_data / "fashion-mnist")
    assert [per_class(split) for split in (data.train, data.validation, data.test)] == [
        [5000] * 10,
        [1000] * 10,
        [1000] * 10,
    ]
    both = torch.cat([data.train.inputs, data.validation.inputs]).double()
    assert float(both.mean()) == pytest.approx(0.2860, abs=5e-5)
    assert float(both.std()) == pytest.approx(0.3530, abs=5e-5)
