"""Optuna's storage as a store makes it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy import event

from noise_search.store.studies import StudyStorage

Searched = dict[str, tuple[float | str, BaseDistribution]]
KINDS: Searched = {
    "number": (0.3, FloatDistribution(0.02, 0.6, log=True)),
    "count": (3, IntDistribution(1, 8)),
    "word": ("linear", CategoricalDistribution(("constant", "linear"))),
}


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[StudyStorage]:
    made = StudyStorage(f"sqlite:///{tmp_path / 'optuna.db'}")
    yield made
    made.remove_session()
    made.engine.dispose()


def running(searched: Searched) -> FrozenTrial:
    """Trial as a driver stores it when it is asked."""
    return create_trial(
        state=TrialState.RUNNING,
        params={name: value for name, (value, _) in searched.items()},
        distributions={name: distribution for name, (_, distribution) in searched.items()},
        system_attrs={"note": 1},
    )


def statements(storage: StudyStorage, study_id: int, searched: Searched) -> int:
    """How many it takes to store a trial."""
    seen: list[str] = []

    def note(*arguments: object) -> None:
        seen.append(str(arguments[2]))

    event.listen(storage.engine, "before_cursor_execute", note)
    storage.create_new_trial(study_id, template_trial=running(searched))
    event.remove(storage.engine, "before_cursor_execute", note)
    return len(seen)


def test_a_trial_is_stored_as_optuna_alone_stores_it(storage: StudyStorage) -> None:
    plain = RDBStorage("sqlite://")
    try:
        found = []
        for one in (storage, plain):
            study = optuna.create_study(storage=one, study_name="one")
            for _ in range(2):
                one.create_new_trial(one.get_study_id_from_name("one"), template_trial=running(KINDS))
            found.append(study.get_trials())
    finally:
        plain.remove_session()
        plain.engine.dispose()
    for ours, theirs in zip(*found, strict=True):
        assert (ours.number, ours.state, ours.params) == (theirs.number, theirs.state, theirs.params)
        assert (ours.distributions, ours.system_attrs) == (theirs.distributions, theirs.system_attrs)
        assert ours.params == {name: value for name, (value, _) in KINDS.items()}


def test_every_parameter_of_a_trial_takes_one_statement(storage: StudyStorage) -> None:
    study_id = storage.create_new_study([optuna.study.StudyDirection.MAXIMIZE], "one")
    many: Searched = {f"number_{index}": (0.3, FloatDistribution(0.0, 1.0)) for index in range(20)}
    none = statements(storage, study_id, {})
    assert statements(storage, study_id, many) - none <= len(many)
