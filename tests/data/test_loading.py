from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from noise_search.data import DATASETS, Dataset, forget_loaded, load
from noise_search.errors import CallerError
from noise_search.spec import DataSpec

MODULE = """
import numpy as np
from noise_search.data import Split, dataset_of

CALLS = []


def pair(samples, side, seed=0):
    rng = np.random.default_rng(seed)
    return rng.random((samples, 1, side, side)), np.arange(samples) % 3


def load(side, *, name="of_the_function", split_seed=0, limit=None, shades=(1, 2)):
    CALLS.append((side, split_seed, limit, shades))
    made = pair(limit or 12, side, split_seed)
    return dataset_of(name=name, modality="images", train=made, validation=made, test=made, input_range=(0, 1))


def load_plainly():
    return load(4)


def load_anything(**options):
    CALLS.append(options)
    return load(4)


def load_late():
    import beside_own_data
    return load(beside_own_data.SIDE)


def load_nothing():
    return {"train": pair(6, 4)}


def load_wrong():
    made = load(4)
    return type(made)("", "images", 3, (0.0, 2.0), made.train, made.validation, made.test)


def load_badly():
    open("not/there")


def load_refused():
    return dataset_of(name="x", modality="images", train=1, validation=2, test=pair(6, 4), input_range=(0, 1))
"""


@pytest.fixture(autouse=True)
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Module `own_data` in the working folder, forgotten afterwards."""
    (tmp_path / "own_data.py").write_text(MODULE)
    (tmp_path / "beside_own_data.py").write_text("SIDE = 5\n")
    monkeypatch.chdir(tmp_path)
    forget_loaded()
    yield
    forget_loaded()
    for name in ("own_data", "beside_own_data"):
        sys.modules.pop(name, None)


def spec(function: str = "load", *, split_seed: int = 0, limit: int | None = None, **parameters: Any) -> DataSpec:
    return DataSpec("", split_seed, limit=limit, target=f"own_data.{function}", parameters=parameters)


def calls() -> list[Any]:
    found: list[Any] = sys.modules["own_data"].__dict__["CALLS"]
    return found


def mistakes_of(wanted: DataSpec) -> tuple[str, ...]:
    with pytest.raises(CallerError) as caught:
        load(wanted)
    assert not any("\n" in mistake for mistake in caught.value.mistakes)
    return caught.value.mistakes


# --- shipped data


def test_shipped_data_are_those_of_the_registry_at_that_seed_and_limit() -> None:
    made = load(DataSpec("digits", 1, limit=200))
    assert made.digest == DATASETS["digits"].load(split_seed=1, limit=200).digest
    assert len(made.train) + len(made.validation) == 200


def test_the_last_data_set_is_kept_until_another_is_loaded_or_it_is_forgotten() -> None:
    first = load(DataSpec("digits"))
    assert load(DataSpec("digits")) is first
    other = load(DataSpec("digits", 1))
    assert other.digest != first.digest
    again = load(DataSpec("digits"))
    assert again is not first
    forget_loaded()
    assert load(DataSpec("digits")) is not again


def test_a_file_that_goes_wrong_is_not_hidden_by_what_was_loaded_for_another_folder(tmp_path: Path) -> None:
    for root in (tmp_path / "a", tmp_path / "b"):
        assert str(root) in mistakes_of(DataSpec("fashion_mnist", root=str(root)))[0]


# --- data of one's own


def test_a_function_gets_the_keys_of_the_configuration_as_they_stand() -> None:
    data = load(spec(side=4, shades=[1, [2.5, "x"]], split_seed=3, limit=9))
    assert isinstance(data, Dataset)
    assert data.name == "of_the_function"
    assert calls() == [(4, 3, 9, [1, [2.5, "x"]])]


def test_a_function_that_takes_neither_seed_nor_limit_gets_none() -> None:
    assert load(spec("load_plainly")).statistics.shape == (1, 4, 4)
    load(spec("load_anything", folder="a"))
    assert {"folder": "a"} in calls()


def test_the_name_of_the_configuration_comes_before_the_functions() -> None:
    assert load(replace(spec(side=4), name="called_so")).name == "called_so"
    assert len(calls()) == 1
    assert load(spec(side=4)).name == "of_the_function"
    assert len(calls()) == 1


def test_a_function_may_import_a_module_beside_it_when_it_is_called() -> None:
    assert load(spec("load_late")).statistics.shape == (1, 5, 5)


def test_a_function_is_called_once_for_the_same_keys_in_the_same_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load(spec(side=4))
    assert load(spec(side=4)) is first
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert load(spec(side=4)) is not first
    assert len(calls()) == 2


WRONG: dict[str, tuple[DataSpec, tuple[str, ...]]] = {
    "a missing key": (spec(), ("data.side: expected a value, which own_data.load needs, got none",)),
    "a key misspelt": (
        spec(side=4, shade=[1]),
        (
            "data: expected one of ['limit', 'name', 'shades', 'side', 'split_seed'], got 'shade'; "
            "did you mean 'shades'?",
        ),
    ),
    "a limit that is not taken": (
        spec("load_plainly", limit=50, split_seed=2, folder="a"),
        (
            "data.split_seed: own_data.load_plainly takes none, got 2; leave it out, or let the function take it",
            "data.limit: own_data.load_plainly takes none, got 50; leave it out, or let the function take it",
            "data: expected one of ['limit', 'name', 'split_seed'], got 'folder'",
        ),
    ),
    "no data set": (
        spec("load_nothing"),
        (
            "data._target_: expected own_data.load_nothing to return a noise_search.data.Dataset, got dict; "
            "make one with noise_search.data.dataset_of",
        ),
    ),
    "a wrong data set": (
        spec("load_wrong"),
        (
            "data.name: expected a name, got ''",
            "data.input_range: expected (0, 1) for images, got (0.0, 2.0); scale the images to it",
        ),
    ),
    "pairs that dataset_of refuses": (
        spec("load_refused"),
        (
            "data.train: expected a pair (inputs, labels), got int",
            "data.validation: expected a pair (inputs, labels), got int",
        ),
    ),
}


@pytest.mark.parametrize(("wanted", "expected"), WRONG.values(), ids=WRONG)
def test_a_wrong_call_or_result_is_told_of(wanted: DataSpec, expected: tuple[str, ...]) -> None:
    assert mistakes_of(wanted) == expected


def test_an_error_of_the_function_is_told_with_its_line(tmp_path: Path) -> None:
    (mistake,) = mistakes_of(spec("load_badly"))
    line = MODULE.splitlines().index('    open("not/there")') + 1
    assert mistake == (
        "data._target_: own_data.load_badly failed with FileNotFoundError: [Errno 2] No such file or directory: "
        f"'not/there' (line {line} of {tmp_path / 'own_data.py'})"
    )


def test_an_unknown_function_is_told_under_its_key() -> None:
    assert mistakes_of(spec("laod")) == ("data._target_: own_data has no 'laod', got 'own_data.laod'",)
