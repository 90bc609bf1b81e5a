"""Write a sweep's messages into MLflow: a run for the sweep, a nested run for each trial and control.

    experiment                      artifacts under the place's folder, or where its server keeps them
      run  SWEEP                    tag noise_search.sweep = SWEEP
        run  trial 3                + tag noise_search.member = "trial 3", mlflow.parentRunId
        run  control no_noise

Runs are found by their tags, created with them in one transaction, and filled by calls that MLflow takes
twice without harm: parameters with equal values, metrics with the same times, tags, status and files. So a
message that was interrupted anywhere is completed by sending it again.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from math import isinf
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from noise_search.errors import CallerError
from noise_search.tracking.clients import connect, told_of
from noise_search.tracking.messages import (
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
from noise_search.tracking.places import Place
from noise_search.tracking.runs import tagged_runs
from noise_search.urls import without_password

if TYPE_CHECKING:
    from mlflow.entities import Experiment, Param, RunTag

INFINITE_TAG = "noise_search.infinite_metrics"
_NAMED_INFINITE = 20
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class MlflowSink:
    """Writes messages of one sweep to MLflow; made and used on one thread.

    Args:
        place: Database, which `prepare` has made, or server. Experiments made by this sink keep their files in its
            folder, each run in its own, or wherever the server keeps them.

    Raises:
        CallerError: For a URL that is not a database's or server's.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._client = connect(place.url)
        self._experiments: dict[str, str] = {}
        self._runs: dict[tuple[str, str, str | None], str] = {}
        self._recalled: set[tuple[str, str]] = set()  # (experiment, sweep) whose runs have been read

    def send(self, message: Message) -> None:
        """Write `message`; everything it says is in MLflow when this returns.

        Raises:
            CallerError: Where the experiment was deleted in MLflow, or its server keeps no files for others.
            TrackingServerError: The server does not answer, or refuses the login.
            mlflow.exceptions.MlflowException: What MLflow refuses, or its database being out of reach.
            OSError: Where an artifact cannot be copied; the run is closed all the same.
        """
        try:
            with told_of(self._place.url):
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
        versions = self._versions(message)
        if message.version not in versions:
            tags = {**message.tags, VERSION_TAG: str(message.version), **self._place.tags}
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
        tags = {SWEEP_TAG: message.sweep, **self._place.tags}
        if member is not None:
            tags |= {MEMBER_TAG: member, "mlflow.parentRunId": self._run(message, None, started_ms)}
        run = self._client.create_run(experiment_id, started_ms, tags, run_name=member or message.sweep)
        return str(run.info.run_id)

    def _recall(self, experiment_id: str, experiment: str, sweep: str) -> None:
        """Look up every run of a sweep, once: a search for each member would cost as much as its parameters."""
        if (experiment, sweep) in self._recalled:
            return
        for run in tagged_runs(self._client, self._place, [experiment_id], SWEEP_TAG, sweep):
            self._runs.setdefault((experiment, sweep, run.data.tags.get(MEMBER_TAG)), str(run.info.run_id))
        self._recalled.add((experiment, sweep))

    def _experiment(self, name: str) -> str:
        if name not in self._experiments:
            found = self._client.get_experiment_by_name(name) or self._new_experiment(name)
            _refuse_unusable(found, self._place)
            self._experiments[name] = str(found.experiment_id)
        return self._experiments[name]

    def _new_experiment(self, name: str) -> Experiment:
        folder = self._place.artifact_folder
        location = None if folder is None else folder.resolve().as_uri()
        return self._client.get_experiment(self._client.create_experiment(name, artifact_location=location))

    def _versions(self, message: ModelRegistered) -> dict[int, str]:
        """Versions of a registered model in MLflow by ours; the model is made where there is none."""
        clause = f"name = '{message.model}'"
        if not self._client.search_registered_models(clause):
            self._client.create_registered_model(message.model, tags={SWEEP_TAG: message.sweep})
        found = [one for one in self._client.search_model_versions(clause) if self._place.is_own(one.tags)]
        return {int(one.tags[VERSION_TAG]): str(one.version) for one in found if VERSION_TAG in one.tags}


def prepare(place: Place) -> None:
    """Make the database where there is none; a server sees to its own. See `create_schema`."""
    if not place.is_server:
        create_schema(place.url)


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
            f"MLflow: expected a schema this MLflow knows at {without_password(tracking_url).partition('?')[0]}, got "
            f"another ({str(error).splitlines()[0]}); bring an older one up to date with: noise-search migrate"
        ) from error


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


def _refuse_unusable(experiment: Experiment, place: Place) -> None:
    if experiment.lifecycle_stage != "active":
        raise CallerError(
            f"MLflow experiment {experiment.name!r}: expected an active one, got one deleted in MLflow; restore it "
            f"with `mlflow experiments restore --experiment-id {experiment.experiment_id}`, or name another"
        )
    kept = urlsplit(experiment.artifact_location)
    if place.is_server and kept.scheme in ("", "file") and urlsplit(place.url).hostname not in _LOOPBACK:
        # A client would write to this path on its own machine, where nobody finds it.
        raise CallerError(
            f"MLflow experiment {experiment.name!r}: expected files to be kept by the server, got {kept.path}, a "
            "folder of its own machine; start it with --artifacts-destination in place of --default-artifact-root, "
            "and name another experiment"
        )


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
