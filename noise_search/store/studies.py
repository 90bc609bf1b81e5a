"""Optuna's storage on a database, storing a new trial in a few statements."""

from __future__ import annotations

from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.storages import RDBStorage
from optuna.storages._rdb.models import TrialParamModel
from sqlalchemy.orm import Session


class StudyStorage(RDBStorage):
    """`RDBStorage` that stores each parameter of a new trial by one statement.

    Optuna's own looks up twice before it, the trial and how an earlier trial of the study searched the parameter; both
    are known here, because one driver writes a study and its space does not change. Without the method below, as when
    Optuna renames it, the same is stored, more slowly.
    """

    def _set_trial_param_without_commit(
        self,
        session: Session,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
        previous_distribution: BaseDistribution | None = None,  # noqa: ARG002
    ) -> None:
        session.add(
            TrialParamModel(
                trial_id=trial_id,
                param_name=param_name,
                param_value=param_value_internal,
                distribution_json=distribution_to_json(distribution),
            )
        )
