"""A finished confirmation read from the store alone says what the confirmation itself said."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from confirm_examples import FEW, confirmed_store
from sweep_examples import NAME, finished_store, spec

from noise_search.commands import confirm, plan_confirmation
from noise_search.corruptions.suites import families
from noise_search.policy import policy_to_list
from noise_search.search.evidence import BEST_RANDOM, WINNER
from noise_search.search.measured import Measured, classes_of, families_of, latest_measured
from noise_search.store import locate, open_store
from noise_search.training import load_dataset


def measured(folder: Path) -> Measured | None:
    with open_store(locate(folder), create=False) as store:
        return latest_measured(store, store.sweep(NAME).id)


def test_it_says_what_the_confirmation_said() -> None:
    folder, outcome = confirmed_store()
    found = measured(folder)
    assert found is not None
    assert found.evidence == outcome.evidence
    assert found.chosen == outcome.choice["chosen"]
    assert policy_to_list(found.winner) == outcome.choice["policies"][WINNER]
    assert {one.arm for one in found.arms} > {WINNER, BEST_RANDOM}


def test_what_it_was_measured_on_is_that_of_the_data_and_the_held_out_suite() -> None:
    folder, _ = confirmed_store()
    found, plan = measured(folder), plan_confirmation(NAME, store=folder, **FEW)
    assert found is not None
    data = load_dataset(spec().data)
    assert (found.yard.classes, found.yard.samples) == (data.classes, len(data.test))
    assert found.yard.cells == {family: 5 * len(kinds) for family, kinds in families(plan.held_out).items()}


def test_a_sweep_without_a_finished_confirmation_has_none(tmp_path: Path) -> None:
    assert measured(finished_store()) is None

    class Stops:
        def begin(self, total: int, done: int) -> None: ...

        def message(self, text: str) -> None: ...

        def advance(self, epochs: int) -> None:  # noqa: ARG002  # as reporters have it
            raise KeyboardInterrupt

    shutil.copytree(finished_store(), tmp_path, dirs_exist_ok=True)
    with pytest.raises(KeyboardInterrupt):
        confirm(NAME, store=tmp_path, reporter=Stops(), **{**FEW, "constant_trials": 0})
    assert measured(tmp_path) is None


@dataclass
class Scored:
    scores: dict[str, float]
    cells: dict[str, list[float]]


def scored(clean: float, shot: list[float], classes: int) -> Scored:
    """Scores by the formula n(a) = max(0, (a - 1/K) / (1 - 1/K)), a family of one kind."""

    def above(accuracy: float) -> float:
        return max(0.0, (accuracy - 1 / classes) / (1 - 1 / classes))

    robust = sum(map(above, shot)) / len(shot)
    return Scored({"clean": above(clean), "robust": robust}, {"clean": [clean], "shot": shot, "weights": [0.1]})


@pytest.mark.parametrize("classes", [2, 3, 10, 100, 1000])
def test_the_number_of_classes_is_that_which_the_scores_were_made_with(classes: int) -> None:
    assert classes_of([scored(0.9, [0.8, 0.4, 0.0005], classes), scored(1.0, [0.7, 0.6, 0.5], classes)]) == classes


def test_everything_right_fits_any_number_of_classes_and_scores_of_none_are_refused() -> None:
    assert classes_of([scored(1.0, [1.0], 7)]) == 2
    with pytest.raises(ValueError, match="expected scores of at most 1000 classes"):
        classes_of([Scored({"clean": 0.95, "robust": 0.9}, {"clean": [0.5], "shot": [0.5]})])


def test_families_are_those_of_the_registry_in_the_order_of_the_cells() -> None:
    cells = {"clean": [1.0], "fog": [0.1], "shot": [0.2], "impulse": [0.3], "weights": [0.4]}
    assert families_of(cells) == {"tone": ["fog"], "noise": ["shot", "impulse"]}
