"""Optuna's storage as a store makes it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy import event

from noise_search.store.studies import Ending, StudyStorage, create_trials, end_trials, is_known

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


@pytest.fixture
def plain() -> Iterator[RDBStorage]:
    made = RDBStorage("sqlite://")
    yield made
    made.remove_session()
    made.engine.dispose()


def in_turn(storage: RDBStorage) -> list[FrozenTrial]:
    """Four trials of a study: of every outcome one, and one left running."""
    study = optuna.create_study(storage=storage, study_name="one", directions=["maximize", "maximize"])
    study_id = storage.get_study_id_from_name("one")
    ids = create_trials(storage, study_id, [running(KINDS) for _ in range(4)])
    end_trials(storage, [Ending(ids[1], TrialState.COMPLETE, [0.25, 0.5], {"limit": 0.5, "other": [1, "a"]})])
    storage.set_trial_state_values(ids[0], TrialState.PRUNED, [0.125, 0.75])
    storage.set_trial_state_values(ids[3], TrialState.FAIL)
    return study.get_trials()


def test_trials_are_stored_as_optuna_alone_stores_them(storage: StudyStorage, plain: RDBStorage) -> None:
    ours, theirs = in_turn(storage), in_turn(plain)
    assert [trial.params for trial in ours] == [{name: value for name, (value, _) in KINDS.items()}] * 4
    for mine, other in zip(ours, theirs, strict=True):
        assert (mine.number, mine.state, mine.values) == (other.number, other.state, other.values)
        assert (mine.params, mine.distributions) == (other.params, other.distributions)
        assert mine.system_attrs == other.system_attrs
        for moment, wanted in (
            (mine.datetime_start, other.datetime_start),
            (mine.datetime_complete, other.datetime_complete),
        ):
            assert (moment is None) == (wanted is None)
            assert moment is None or wanted is None or abs(moment - wanted) < timedelta(minutes=1)


def test_an_optuna_of_another_version_stores_trials_itself(
    storage: StudyStorage, plain: RDBStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    study_id = storage.create_new_study([StudyDirection.MAXIMIZE], "known")
    few = statements(storage, study_id, KINDS)
    monkeypatch.setattr(optuna, "__version__", "99.0.0")
    assert statements(storage, study_id, KINDS) > 2 * few
    assert [trial.values for trial in in_turn(storage)] == [trial.values for trial in in_turn(plain)]


def test_the_installed_optuna_is_one_whose_tables_are_known() -> None:
    assert is_known()


def test_a_trial_takes_three_statements_however_many_parameters_it_has(storage: StudyStorage) -> None:
    study_id = storage.create_new_study([StudyDirection.MAXIMIZE], "one")
    many: Searched = {f"number_{index}": (0.3, FloatDistribution(0.0, 1.0)) for index in range(20)}
    assert statements(storage, study_id, many) == 3  # itself, its parameters, its notes


def test_a_trial_that_has_ended_cannot_end_again(storage: StudyStorage) -> None:
    study_id = storage.create_new_study([StudyDirection.MAXIMIZE], "one")
    trial_id = storage.create_new_trial(study_id, template_trial=running(KINDS))
    assert storage.set_trial_state_values(trial_id, TrialState.COMPLETE, [0.5])
    with pytest.raises(UpdateFinishedTrialError):
        storage.set_trial_state_values(trial_id, TrialState.PRUNED, [0.25])
    assert storage.get_trial(trial_id).values == [0.5]
    assert storage.get_trial(trial_id).state is TrialState.COMPLETE


@contextmanager
def counted_commits(storage: StudyStorage) -> Iterator[list[object]]:
    ends: list[object] = []
    note = ends.append  # one object, for the event to know it again
    event.listen(storage.engine, "commit", note)
    yield ends
    event.remove(storage.engine, "commit", note)


def test_a_batch_of_trials_is_created_and_ends_in_one_transaction_each(storage: StudyStorage) -> None:
    study_id = storage.create_new_study([StudyDirection.MAXIMIZE], "one")
    with counted_commits(storage) as commits:
        ids = create_trials(storage, study_id, [running(KINDS) for _ in range(8)])
    assert len(commits) == 1
    with counted_commits(storage) as commits:
        end_trials(storage, [Ending(own, TrialState.COMPLETE, [0.1 * own], {"limit": 0.5}) for own in ids])
    assert len(commits) == 1
    for number, (own, trial) in enumerate(zip(ids, storage.get_all_trials(study_id), strict=True)):
        assert (trial.number, trial._trial_id, trial.values) == (number, own, [0.1 * own])
        assert trial.system_attrs == {"note": 1, "limit": 0.5}


def test_where_one_of_a_batch_cannot_be_created_none_is(storage: StudyStorage) -> None:
    study_id = storage.create_new_study([StudyDirection.MAXIMIZE], "one")
    wrong = running(KINDS)
    wrong.system_attrs = {"note": {1, 2}}  # type: ignore[dict-item]  # no JSON
    with pytest.raises(TypeError):
        create_trials(storage, study_id, [running(KINDS), wrong])
    assert storage.get_all_trials(study_id) == []


def test_where_one_of_a_batch_has_ended_the_others_before_it_end_as_optuna_ends_them(storage: StudyStorage) -> None:
    study_id = storage.create_new_study([StudyDirection.MAXIMIZE], "one")
    ids = create_trials(storage, study_id, [running(KINDS) for _ in range(3)])
    storage.set_trial_state_values(ids[1], TrialState.FAIL)
    with pytest.raises(UpdateFinishedTrialError):
        end_trials(storage, [Ending(own, TrialState.COMPLETE, [0.5], {}) for own in ids])
    states = [trial.state for trial in storage.get_all_trials(study_id)]
    assert states == [TrialState.COMPLETE, TrialState.FAIL, TrialState.RUNNING]


def test_a_trial_that_has_ended_takes_no_more_notes(storage: StudyStorage) -> None:
    study_id = storage.create_new_study([StudyDirection.MAXIMIZE], "one")
    trial_id = storage.create_new_trial(study_id, template_trial=running(KINDS))
    storage.set_trial_state_values(trial_id, TrialState.COMPLETE, [0.5])
    with pytest.raises(UpdateFinishedTrialError):
        end_trials(storage, [Ending(trial_id, TrialState.PRUNED, None, {"limit": 0.5})])
    assert storage.get_trial(trial_id).system_attrs == {"note": 1}


def test_a_trial_that_is_not_there_is_refused(storage: StudyStorage) -> None:
    study_id = storage.create_new_study([StudyDirection.MAXIMIZE], "one")
    with pytest.raises(KeyError):
        storage.set_trial_state_values(7, TrialState.COMPLETE, [0.5])
    with pytest.raises(KeyError):
        storage.get_trial_id_from_study_id_trial_number(study_id, 7)


def test_an_infinite_value_is_stored_as_optuna_alone_stores_it(storage: StudyStorage) -> None:
    study_id = storage.create_new_study([StudyDirection.MAXIMIZE], "one")
    trial_id = storage.create_new_trial(study_id, template_trial=running(KINDS))
    storage.set_trial_state_values(trial_id, TrialState.COMPLETE, [float("-inf")])
    assert storage.get_trial(trial_id).values == [float("-inf")]
