"""Write a sweep's messages into MLflow: a run for the sweep, a nested run for each trial and control.

    experiment                      artifacts under the sink's folder
      run  SWEEP                    tag noise_search.sweep = SWEEP
        run  trial 3                + tag noise_search.member = "trial 3", mlflow.parentRunId
        run  control no_noise

Runs are found by their tags, created with them in one transaction, and filled by calls that MLflow takes
twice without harm: parameters with equal values, metrics with the same times, tags, status and files. So a
message that was interrupted anywhere is completed by sending it again.
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from math import isinf
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from noise_search.errors import CallerError
from noise_search.tracking.messages import (
    CONFIRMS_TAG,
    MEMBER_TAG,
    SWEEP_TAG,
    TUNED,
    VERSION_TAG,
    Artifact,
    FilesLogged,
    MemberFinished,
    Message,
    MetricPoint,
    ModelRegistered,
    SweepClosed,
    SweepOpened,
    continued,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Param, Run, RunTag

INFINITE_TAG = "noise_search.infinite_metrics"
_NAMED_INFINITE = 20
_PAGE = 1000  # runs read at once


class MlflowSink:
    """Writes messages to MLflow's database; made and used on one thread.

    Args:
        tracking_url: URL of the database, whose tables `create_schema` has made.
        artifact_folder: Where experiments made by this sink keep their files, each run in its own folder.

    Raises:
        CallerError: For a URL that is not a database's.
    """

    def __init__(self, tracking_url: str, artifact_folder: Path) -> None:
        self._client = connect(tracking_url)
        self._artifact_location = artifact_folder.resolve().as_uri()
        self._experiments: dict[str, str] = {}
        self._runs: dict[tuple[str, str, str | None], str] = {}
        self._recalled: set[tuple[str, str]] = set()  # (experiment, sweep) whose runs have been read

    def send(self, message: Message) -> None:
        """Write `message`; everything it says is in MLflow when this returns.

        Raises:
            CallerError: Where the experiment was deleted in MLflow.
            mlflow.exceptions.MlflowException: What MLflow refuses, or its database being out of reach.
            OSError: Where an artifact cannot be copied; the run is closed all the same.
        """
        try:
            self._write(message)
        except BaseException:
            # What is remembered may have been deleted in MLflow's pages; the next attempt looks again.
            self._forget()
            raise

    def close(self) -> None:
        """Forget the runs. MLflow keeps its connections for the process; SQLite needs no closing."""
        self._forget()

    def _forget(self) -> None:
        self._experiments.clear()
        self._runs.clear()
        self._recalled.clear()

    def _write(self, message: Message) -> None:
        match message:
            case SweepOpened():
                self._open(message)
            case MemberFinished():
                self._finish(message)
            case SweepClosed():
                self._end(message)
            case ModelRegistered():
                self._register(message)
            case FilesLogged():
                self._copy(self._run(message, None, message.started_ms), message.artifacts)

    def _open(self, message: SweepOpened) -> None:
        run_id = self._run(message, None, message.started_ms)
        now = self._client.get_run(run_id).data
        self._log(run_id, *continued(message, now.params, now.tags))
        self._client.update_run(run_id, status="RUNNING")

    def _finish(self, message: MemberFinished) -> None:
        run_id = self._run(message, message.member, message.started_ms)
        self._log(run_id, message.parameters, message.tags, message.metrics)
        self._client.set_terminated(run_id, message.status, end_time=message.ended_ms)

    def _end(self, message: SweepClosed) -> None:
        run_id = self._run(message, None, message.ended_ms)
        self._log(run_id, tags=message.tags, metrics=message.metrics)
        # Before the files, so that a missing one cannot leave the run open.
        self._client.set_terminated(run_id, message.status, end_time=message.ended_ms)
        self._copy(run_id, message.artifacts)

    def _copy(self, run_id: str, artifacts: Sequence[Artifact]) -> None:
        for artifact in artifacts:
            self._client.log_artifact(run_id, artifact.path, artifact.folder or None)

    def _register(self, message: ModelRegistered) -> None:
        run_id = self._run(message, message.member, message.at_ms)
        self._copy(run_id, message.artifacts)
        source = f"{self._client.get_run(run_id).info.artifact_uri}/{message.artifacts[0].folder}"
        versions = _versions(self._client, message)
        if message.version not in versions:
            tags = {**message.tags, VERSION_TAG: str(message.version)}
            made = self._client.create_model_version(message.model, source, run_id, tags=tags)
            versions[message.version] = str(made.version)
        self._client.set_registered_model_alias(message.model, TUNED, versions[max(versions)])

    def _log(
        self,
        run_id: str,
        parameters: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        metrics: Sequence[MetricPoint] = (),
    ) -> None:
        """Log in as few transactions as MLflow's limits allow; its client does the cutting."""
        from mlflow.entities import Metric

        points = [Metric(point.key, float(point.value), point.timestamp_ms, point.step) for point in metrics]
        all_tags = {**(tags or {}), **_infinite_tag(metrics)}
        self._client.log_batch(run_id, points, _parameters(parameters or {}), _tags(all_tags))

    def _run(self, message: Message, member: str | None, started_ms: int) -> str:
        """Id of the run of the sweep, or of a member under it; created where there is none."""
        known = (message.experiment, message.sweep, member)
        if known not in self._runs:
            experiment_id = self._experiment(message.experiment)
            self._recall(experiment_id, message.experiment, message.sweep)
            if known not in self._runs:
                self._runs[known] = self._create(experiment_id, message, member, started_ms)
        return self._runs[known]

    def _create(self, experiment_id: str, message: Message, member: str | None, started_ms: int) -> str:
        tags = {SWEEP_TAG: message.sweep}
        if member is not None:
            tags |= {MEMBER_TAG: member, "mlflow.parentRunId": self._run(message, None, started_ms)}
        run = self._client.create_run(experiment_id, started_ms, tags, run_name=member or message.sweep)
        return str(run.info.run_id)

    def _recall(self, experiment_id: str, experiment: str, sweep: str) -> None:
        """Look up every run of a sweep, once: a search for each member would cost as much as its parameters."""
        if (experiment, sweep) in self._recalled:
            return
        for run in _search(self._client, [experiment_id], _tag_clause(SWEEP_TAG, sweep)):
            tags = run.data.tags
            if tags.get(SWEEP_TAG) == sweep:
                self._runs.setdefault((experiment, sweep, tags.get(MEMBER_TAG)), str(run.info.run_id))
        self._recalled.add((experiment, sweep))

    def _experiment(self, name: str) -> str:
        if name not in self._experiments:
            self._experiments[name] = _experiment_id(self._client, name) or str(
                self._client.create_experiment(name, artifact_location=self._artifact_location)
            )
        return self._experiments[name]


def create_schema(tracking_url: str) -> None:
    """Create MLflow's file and tables where there are none, with a write-ahead log; those of a server are only checked.

    Call it in one process before any other opens the database: MLflow breaks an empty one for good when
    several open it at once. A SQLite file is made beside its place and moved there complete, so that being
    killed half way, or two processes doing this at once, does no harm.

    Raises:
        CallerError: For a URL that is not a database's; where a server's tables are of another MLflow version.
        mlflow.exceptions.MlflowException: Where a file's tables are of another MLflow version; its message says what
            to run.
    """
    path = _sqlite_path(tracking_url)
    if path is None:
        _check_version(tracking_url)
        return
    if not path.exists():
        _create_file(path)
    _set_write_ahead_log(path)
    connect(tracking_url)


def _check_version(tracking_url: str) -> None:
    """Refuse tables on a server that belong to another version of MLflow."""
    try:
        connect(tracking_url)
    except Exception as error:
        if type(error).__name__ != "MlflowException":  # not imported before `connect` has set MLflow up
            raise
        raise CallerError(
            f"MLflow: expected a schema this MLflow knows at {hidden(tracking_url).partition('?')[0]}, got "
            f"another ({str(error).splitlines()[0]}); bring an older one up to date with: noise-search migrate"
        ) from error


@dataclass(frozen=True, slots=True)
class SweepRun:
    """A run of a sweep as MLflow knows it; `member` is None for the sweep's own."""

    experiment_id: str
    run_id: str
    member: str | None


def sweep_runs(client: MlflowClient, sweep: str) -> list[SweepRun]:
    """Every run of a sweep that is not deleted, in whatever experiment, the newest first."""
    return [_sweep_run(run) for run in _tagged(client, _experiments(client), SWEEP_TAG, sweep)]


def _confirmation_runs(client: MlflowClient, sweep: str) -> list[SweepRun]:
    """Runs of every confirmation of a sweep: its own, which names the sweep, and those of its arms."""
    return [
        _sweep_run(run)
        for own in _tagged(client, _experiments(client), CONFIRMS_TAG, sweep)
        for run in _tagged(client, [own.info.experiment_id], SWEEP_TAG, own.data.tags[SWEEP_TAG])
    ]


def _experiments(client: MlflowClient) -> list[str]:
    return [str(experiment.experiment_id) for experiment in client.search_experiments()]


def _tagged(client: MlflowClient, experiments: list[str], key: str, value: str) -> list[Run]:
    return [run for run in _search(client, experiments, _tag_clause(key, value)) if run.data.tags.get(key) == value]


def _sweep_run(run: Run) -> SweepRun:
    return SweepRun(str(run.info.experiment_id), str(run.info.run_id), run.data.tags.get(MEMBER_TAG))


def delete_sweep_runs(tracking_url: str, sweep: str) -> int:
    """Delete every run of a sweep and its confirmations as MLflow's pages would; returns how many.

    MLflow keeps them until `mlflow gc`. The own run of a sweep or confirmation goes last, so that nothing is ever left
    without the run that it is found by. Registered models of the sweep go first, and for good.
    """
    client = connect(tracking_url)
    for model in client.search_registered_models(_tag_clause(SWEEP_TAG, sweep)):
        if model.tags.get(SWEEP_TAG) == sweep:
            client.delete_registered_model(model.name)
    found = _confirmation_runs(client, sweep) + sweep_runs(client, sweep)
    runs = sorted(found, key=lambda run: run.member is None)
    for run in runs:
        client.delete_run(run.run_id)
    return len(runs)


def connect(tracking_url: str) -> MlflowClient:
    """Client of a database.

    Raises:
        CallerError: For a URL that is not a database's.
    """
    if urlsplit(tracking_url).scheme.split("+")[0] not in {"sqlite", "postgresql"}:
        raise CallerError(
            "tracking: expected the URL of a database, sqlite:///FILE or postgresql+psycopg://..., "
            f"got {hidden(tracking_url)!r}"
        )
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    from mlflow import MlflowClient

    # The registry is named too, or MLflow resolves it from the working folder.
    return MlflowClient(tracking_url, registry_uri=tracking_url)


def _create_file(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    built = path.with_name(f".{path.name}.{os.getpid()}.building")
    ready = path.with_name(f".{path.name}.{os.getpid()}.ready")
    try:
        connect(f"sqlite:///{built}")
        # A copy, because MLflow keeps a connection to the file it built.
        shutil.copyfile(built, ready)
        _move_unless_there(ready, path)
    finally:
        built.unlink(missing_ok=True)
        ready.unlink(missing_ok=True)


def _set_write_ahead_log(path: Path) -> None:
    """Let readers in while the mirror writes; the mode is kept in the file."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")


def _move_unless_there(source: Path, target: Path) -> None:
    try:
        # Unlike a rename, a link never replaces the file another process has put there and is using.
        target.hardlink_to(source)
    except FileExistsError:
        return


def _sqlite_path(tracking_url: str) -> Path | None:
    """File of a SQLite URL, read as SQLAlchemy reads it; None for another database."""
    scheme, _, rest = tracking_url.partition("://")
    if scheme.split("+")[0] != "sqlite":
        return None
    name = rest.partition("?")[0].removeprefix("/")
    if name in {"", ":memory:"}:
        raise CallerError(f"tracking: expected sqlite:///FILE, got {tracking_url!r}; the mirror needs a file")
    return Path(name)


def _experiment_id(client: MlflowClient, name: str) -> str | None:
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        return None
    if experiment.lifecycle_stage != "active":
        raise CallerError(
            f"MLflow experiment {name!r}: expected an active one, got one deleted in MLflow; restore it with "
            f"`mlflow experiments restore --experiment-id {experiment.experiment_id}`, or name another"
        )
    return str(experiment.experiment_id)


def _versions(client: MlflowClient, message: ModelRegistered) -> dict[int, str]:
    """Versions of a registered model in MLflow by ours; the model is made where there is none."""
    clause = f"name = '{message.model}'"
    if not client.search_registered_models(clause):
        client.create_registered_model(message.model, tags={SWEEP_TAG: message.sweep})
    found = client.search_model_versions(clause)
    return {int(one.tags[VERSION_TAG]): str(one.version) for one in found if VERSION_TAG in one.tags}


def _search(client: MlflowClient, experiment_ids: list[str], clause: str) -> Iterator[Run]:
    page = client.search_runs(experiment_ids, clause, max_results=_PAGE)
    yield from page
    while page.token:
        page = client.search_runs(experiment_ids, clause, max_results=_PAGE, page_token=page.token)
        yield from page


def _tag_clause(key: str, value: str) -> str:
    """Filter for runs whose tag `key` is `value`; may let some others through.

    MLflow's filter language cannot escape a quote. Where there is one a wildcard stands for it.
    """
    if re.search(r"""['"`\\]""", value):
        pattern = re.sub(r"""['"`\\]""", "_", value)
        return f"tags.`{key}` LIKE '{pattern}'"
    return f"tags.`{key}` = '{value}'"


def _infinite_tag(metrics: Sequence[MetricPoint]) -> dict[str, str]:
    """Tag that names the metrics with infinite values, for which MLflow stores the largest float instead."""
    keys = sorted({point.key for point in metrics if isinf(point.value)})
    if not keys:
        return {}
    more = [f"and {len(keys) - _NAMED_INFINITE} more"] if len(keys) > _NAMED_INFINITE else []
    return {INFINITE_TAG: ", ".join(keys[:_NAMED_INFINITE] + more)}


def _parameters(values: Mapping[str, str]) -> list[Param]:
    from mlflow.entities import Param

    return [Param(key, value) for key, value in values.items()]


def _tags(values: Mapping[str, str]) -> list[RunTag]:
    from mlflow.entities import RunTag

    return [RunTag(key, value) for key, value in values.items()]


def hidden(url: str) -> str:
    """`url` without its password."""
    return re.sub(r"(://[^:/@]*):[^/]*@", r"\1:***@", url)
