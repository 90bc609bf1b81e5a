"""Optuna's storage on a database, storing what a driver writes of every trial in a few statements."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import optuna
from optuna.distributions import distribution_to_json
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import (
    Column,
    Connection,
    DateTime,
    Enum,
    Float,
    Integer,
    MetaData,
    String,
    Table,
    Update,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.sql.dml import ReturningInsert

from noise_search.store.patience import Patience, is_repeated, patiently

KNOWN_OPTUNA = "5.0."  # whose tables these are

_tables = MetaData()
_studies = Table("studies", _tables, Column("study_id", Integer, primary_key=True))
_trials = Table(
    "trials",
    _tables,
    Column("trial_id", Integer, primary_key=True),
    Column("number", Integer),
    Column("study_id", Integer),
    Column("state", Enum(TrialState)),
    Column("datetime_start", DateTime),
    Column("datetime_complete", DateTime),
)
_parameters = Table(
    "trial_params",
    _tables,
    Column("trial_id", Integer),
    Column("param_name", String),
    Column("param_value", Float(precision=53)),
    Column("distribution_json", String),
)
_attributes = Table(
    "trial_system_attributes",
    _tables,
    Column("trial_id", Integer),
    Column("key", String),
    Column("value_json", String),
)
_values = Table(
    "trial_values",
    _tables,
    Column("trial_id", Integer),
    Column("objective", Integer),
    Column("value", Float(precision=53)),
    Column("value_type", Enum("FINITE", "INF_POS", "INF_NEG", name="trialvaluetype")),
)


class StudyStorage(RDBStorage):
    """`RDBStorage` that creates and ends trials by plain statements in place of Optuna's objects.

    Only what a driver does with every trial is written here, and only in the tables of the Optuna that is known here.
    Everything else, and every other Optuna, is left to `RDBStorage`, which stores the same, more slowly.

    Driver and store took 13 ms of CPU a trial with it and 46 without: simulated sweeps of `scripts/bench_driver`, 200
    trials of about 9 parameters and two objectives, Optuna 5.0.0, 2 busy cores, one sweep of each.
    """

    def __init__(self, url: str, **options: Any) -> None:
        self.patience = Patience(0)
        self._created: dict[tuple[int, int], int] = {}  # (study, number) -> trial, of those that were made here
        super().__init__(url, **options)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Store a trial, with all of its parameters or not at all; returns its id."""
        if template_trial is None:
            return super().create_new_trial(study_id)
        return self.create_trials(study_id, [template_trial])[0]

    def create_trials(self, study_id: int, templates: Sequence[FrozenTrial]) -> list[int]:
        """Store trials in the order given, all of them or none; returns their ids."""
        if not (is_known() and all(map(_is_only_asked, templates))):
            return [super(StudyStorage, self).create_new_trial(study_id, template) for template in templates]
        made = self._create(study_id, templates)
        self._created |= {(study_id, number): trial_id for trial_id, number in made}
        return [trial_id for trial_id, _ in made]

    @patiently
    def _create(self, study_id: int, templates: Sequence[FrozenTrial]) -> list[tuple[int, int]]:
        with self.engine.begin() as connection:
            if connection.dialect.name != "sqlite":  # where one writes at a time; else two would count the same trials
                connection.execute(select(_studies.c.study_id).where(_studies.c.study_id == study_id).with_for_update())
            if is_repeated() and len(there := _created_before(connection, study_id, templates)) == len(templates):
                return there
            made = [connection.execute(_new_trial(study_id, template)).one() for template in templates]
            of_each = [(int(trial_id), trial) for (trial_id, _), trial in zip(made, templates, strict=True)]
            _insert(connection, _parameters, [row for own, trial in of_each for row in _parameter_rows(own, trial)])
            notes = [row for own, trial in of_each for row in _attribute_rows(own, trial.system_attrs)]
            _insert(connection, _attributes, notes)
            return [(int(trial_id), int(number)) for trial_id, number in made]

    @patiently
    def end_trials(self, endings: Sequence[Ending]) -> None:
        """Store how trials have ended: all that are ours to store in one transaction."""
        if is_repeated():
            endings = [ending for ending in endings if self.get_trial(ending.trial_id).state is not ending.state]
        if not (is_known() and all(map(_is_plain, endings)) and self._end(endings)):
            for ending in endings:
                end_step_by_step(self, ending)

    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        """Key of a trial."""
        known = self._created.get((study_id, trial_number))
        return super().get_trial_id_from_study_id_trial_number(study_id, trial_number) if known is None else known

    def _end(self, endings: Sequence[Ending]) -> bool:
        """Whether all of them were running, and so have ended now; else nothing has changed."""
        with self.engine.connect() as connection:
            for ending in endings:
                if connection.execute(_ending(ending)).rowcount != 1:
                    return False  # the connection is closed, and so rolled back
            notes = [row for ending in endings for row in _attribute_rows(ending.trial_id, ending.notes)]
            _insert(connection, _attributes, notes)
            _insert(connection, _values, [row for ending in endings for row in _value_rows(ending)])
            connection.commit()
        return True


# Reading, and what is there already when it is written twice; the rest is not called by a driver.
for _name in (
    "create_new_study",
    "delete_study",
    "get_all_trials",
    "get_study_directions",
    "get_study_id_from_name",
    "get_study_name_from_id",
    "set_trial_intermediate_value",
):
    setattr(StudyStorage, _name, patiently(getattr(StudyStorage, _name)))


@dataclass(frozen=True, slots=True)
class Ending:
    """How a trial has ended.

    Args:
        trial_id: Its key in the storage.
        state: Finished.
        values: One an objective; None where there are none.
        notes: System attributes that it has not had.
    """

    trial_id: int
    state: TrialState
    values: Sequence[float] | None
    notes: Mapping[str, Any]


def create_trials(storage: BaseStorage, study_id: int, templates: Sequence[FrozenTrial]) -> list[int]:
    """Store trials in the order given, in one transaction where the storage is ours; returns their ids."""
    if isinstance(storage, StudyStorage):
        return storage.create_trials(study_id, templates)
    return [storage.create_new_trial(study_id, template_trial=template) for template in templates]


def end_trials(storage: BaseStorage, endings: Sequence[Ending]) -> None:
    """Store how trials have ended, with their notes: in one transaction where the storage is ours."""
    if isinstance(storage, StudyStorage):
        storage.end_trials(endings)
        return
    for ending in endings:
        end_step_by_step(storage, ending)


def end_step_by_step(storage: BaseStorage, ending: Ending) -> None:
    """Store how a trial has ended by what every storage of Optuna can do, its notes first."""
    for key, note in ending.notes.items():
        storage.set_trial_system_attr(ending.trial_id, key, note)
    storage.set_trial_state_values(ending.trial_id, ending.state, ending.values)


def is_known() -> bool:
    """Whether the installed Optuna has the tables that are written here."""
    return optuna.__version__.startswith(KNOWN_OPTUNA)


def _is_only_asked(trial: FrozenTrial) -> bool:
    more = trial.values or trial.user_attrs or trial.intermediate_values
    return trial.state is TrialState.RUNNING and trial.datetime_start is not None and not more


def _new_trial(study_id: int, trial: FrozenTrial) -> ReturningInsert[int, int]:
    """One statement, so that no other trial takes the same number; gives key and number."""
    # By keys, which come in the order of numbers: counting would take longer with every trial.
    these = select(_trials.c.number).where(_trials.c.study_id == study_id)
    last = these.order_by(_trials.c.trial_id.desc()).limit(1).scalar_subquery()
    assert trial.datetime_start is not None
    new = insert(_trials).values(
        number=func.coalesce(last + 1, 0),
        study_id=study_id,
        state=trial.state,
        datetime_start=_naive(trial.datetime_start),
    )
    return new.returning(_trials.c.trial_id, _trials.c.number)


def _created_before(connection: Connection, study_id: int, templates: Sequence[FrozenTrial]) -> list[tuple[int, int]]:
    """Key and number of trials that were asked at the same moments, to the microsecond: they are the same trials."""
    moments = [_naive(trial.datetime_start) for trial in templates if trial.datetime_start is not None]
    these = (_trials.c.study_id == study_id) & _trials.c.datetime_start.in_(moments)
    found = connection.execute(select(_trials.c.trial_id, _trials.c.number).where(these).order_by(_trials.c.number))
    return [(int(trial_id), int(number)) for trial_id, number in found]


def _ending(ending: Ending) -> Update:
    running = (_trials.c.trial_id == ending.trial_id) & (_trials.c.state == TrialState.RUNNING)
    return update(_trials).where(running).values(state=ending.state, datetime_complete=_naive(datetime.now(UTC)))


def _is_plain(ending: Ending) -> bool:
    return ending.state.is_finished() and all(map(math.isfinite, ending.values or ()))


def _insert(connection: Connection, table: Table, rows: Sequence[Mapping[str, object]]) -> None:
    if rows:
        connection.execute(insert(table), rows)


def _naive(moment: datetime) -> datetime:
    """As Optuna stores it: in UTC, without saying so."""
    return moment.astimezone(UTC).replace(tzinfo=None)


def _parameter_rows(trial_id: int, trial: FrozenTrial) -> list[dict[str, object]]:
    return [
        {
            "trial_id": trial_id,
            "param_name": name,
            "param_value": trial.distributions[name].to_internal_repr(value),
            "distribution_json": distribution_to_json(trial.distributions[name]),
        }
        for name, value in trial.params.items()
    ]


def _attribute_rows(trial_id: int, notes: Mapping[str, Any]) -> list[dict[str, object]]:
    return [{"trial_id": trial_id, "key": key, "value_json": json.dumps(value)} for key, value in notes.items()]


def _value_rows(ending: Ending) -> list[dict[str, object]]:
    return [
        {"trial_id": ending.trial_id, "objective": objective, "value": value, "value_type": "FINITE"}
        for objective, value in enumerate(ending.values or ())
    ]
