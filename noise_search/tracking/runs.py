"""Find and delete the runs and registered models of a sweep in MLflow."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from noise_search.tracking.clients import connect, told_of
from noise_search.tracking.messages import CONFIRMS_TAG, MEMBER_TAG, SWEEP_TAG
from noise_search.tracking.places import Place

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Run
    from mlflow.entities.model_registry import RegisteredModel
    from mlflow.store.entities import PagedList

T = TypeVar("T")
PAGE = 1000  # runs, experiments or models read at once


@dataclass(frozen=True, slots=True)
class SweepRun:
    """A run of a sweep as MLflow knows it; `member` is None for the sweep's own."""

    experiment_id: str
    run_id: str
    member: str | None


def sweep_runs(place: Place, sweep: str) -> list[SweepRun]:
    """Every run of a sweep that is not deleted, in whatever experiment, the newest first.

    Raises:
        TrackingServerError: A server does not answer, or refuses the login.
    """
    with told_of(place.url):
        client = connect(place.url)
        return [_sweep_run(run) for run in tagged_runs(client, place, _experiments(client), SWEEP_TAG, sweep)]


def delete_sweep_runs(place: Place, sweep: str) -> int:
    """Delete every run of a sweep and its confirmations as MLflow's pages would; returns how many.

    MLflow keeps them until `mlflow gc`. The own run of a sweep or confirmation goes last, so that nothing is ever left
    without the run that it is found by. Registered models of the sweep go first, and for good.

    Raises:
        TrackingServerError: A server does not answer, or refuses the login.
    """
    with told_of(place.url):
        client = connect(place.url)
        _delete_models(client, place, sweep)
        found = _confirmation_runs(client, place, sweep) + sweep_runs(place, sweep)
        runs = sorted(found, key=lambda run: run.member is None)
        for run in runs:
            client.delete_run(run.run_id)
        return len(runs)


def tagged_runs(client: MlflowClient, place: Place, experiments: list[str], key: str, value: str) -> list[Run]:
    """Runs of the place's sweep in some experiments whose tag `key` is `value`, the newest first."""
    clause = _tag_clause(key, value)
    found: Iterator[Run] = _pages(
        lambda token: client.search_runs(experiments, clause, max_results=PAGE, page_token=token)
    )
    return [run for run in found if run.data.tags.get(key) == value and place.is_own(run.data.tags)]


def _delete_models(client: MlflowClient, place: Place, sweep: str) -> None:
    """Delete a sweep's versions of registered models, and models that have no others'."""
    clause = _tag_clause(SWEEP_TAG, sweep)
    found: Iterator[RegisteredModel] = _pages(
        lambda token: client.search_registered_models(clause, max_results=100, page_token=token)
    )
    for model in [one for one in found if one.tags.get(SWEEP_TAG) == sweep]:
        versions = list(client.search_model_versions(f"name = '{model.name}'"))
        own = [version for version in versions if place.is_own(version.tags)]
        if len(own) == len(versions):
            client.delete_registered_model(model.name)
        else:
            for version in own:
                client.delete_model_version(model.name, str(version.version))


def _confirmation_runs(client: MlflowClient, place: Place, sweep: str) -> list[SweepRun]:
    """Runs of every confirmation of a sweep: its own, which names the sweep, and those of its arms."""
    return [
        _sweep_run(run)
        for own in tagged_runs(client, place, _experiments(client), CONFIRMS_TAG, sweep)
        for run in tagged_runs(client, place, [own.info.experiment_id], SWEEP_TAG, own.data.tags[SWEEP_TAG])
    ]


def _experiments(client: MlflowClient) -> list[str]:
    found: Iterator[Experiment] = _pages(lambda token: client.search_experiments(max_results=PAGE, page_token=token))
    return [str(experiment.experiment_id) for experiment in found]


def _sweep_run(run: Run) -> SweepRun:
    return SweepRun(str(run.info.experiment_id), str(run.info.run_id), run.data.tags.get(MEMBER_TAG))


def _pages(search: Callable[[str | None], PagedList[T]]) -> Iterator[T]:
    """Everything that a search finds, page by page."""
    page = search(None)
    yield from page
    while page.token:
        page = search(page.token)
        yield from page


def _tag_clause(key: str, value: str) -> str:
    """Filter for runs whose tag `key` is `value`; may let some others through.

    MLflow's filter language cannot escape a quote. Where there is one a wildcard stands for it.
    """
    if re.search(r"""['"`\\]""", value):
        pattern = re.sub(r"""['"`\\]""", "_", value)
        return f"tags.`{key}` LIKE '{pattern}'"
    return f"tags.`{key}` = '{value}'"
