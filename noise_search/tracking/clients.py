"""Clients of MLflow: of a database, or of a server, whose user and password come from the environment alone."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from noise_search.errors import CallerError
from noise_search.urls import without_password

if TYPE_CHECKING:
    from mlflow import MlflowClient

USER, PASSWORD = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"
LOGIN_ADVICE = f"set {USER} and {PASSWORD}"
# The mirror has a back-off of its own, and a request whose answer was lost must not be made twice: the runs are looked
# up first. MLflow's own seven retries would take minutes, and make a second run.
_SERVER_DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # standard output is for results
}
_STATUS = re.compile(r"error code (\d{3}) !=|too many (\d{3}) error responses|^(\d{3}) (?:Client|Server) Error")


class TrackingServerError(ConnectionError):
    """A tracking server that does not answer, or does not let us in; says which, and what to do."""


def is_server(tracking_url: str) -> bool:
    """Whether a URL is that of an MLflow server.

    >>> is_server("http://127.0.0.1:5000"), is_server("sqlite:///runs/mlflow.db")
    (True, False)
    """
    return urlsplit(tracking_url).scheme in ("http", "https")


def connect(tracking_url: str) -> MlflowClient:
    """Client of a database or server; of a server nothing is asked yet.

    Raises:
        CallerError: For any other URL.
    """
    if not is_server(tracking_url) and _dialect(tracking_url) not in {"sqlite", "postgresql"}:
        raise CallerError(
            "tracking: expected the URL of a database, sqlite:///FILE or postgresql+psycopg://..., or of a server, "
            f"http://... or https://..., got {without_password(tracking_url)!r}"
        )
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    if is_server(tracking_url):
        for name, value in _SERVER_DEFAULTS.items():
            os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    # What it logs, with tracebacks, it raises, too.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    # The registry is named too, or MLflow resolves it from the working folder.
    return MlflowClient(tracking_url, registry_uri=tracking_url)


@contextmanager
def told_of(tracking_url: str) -> Iterator[None]:
    """Say in one line what is wrong with a server; what is wrong with a request is left as MLflow says it.

    Raises:
        TrackingServerError: It does not answer, or refuses the login.
    """
    try:
        yield
    except Exception as error:
        if is_server(tracking_url) and (why := _what_is_wrong(error)):
            raise TrackingServerError(f"tracking server {tracking_url} {why}") from error
        raise


@dataclass(frozen=True, slots=True)
class Found:
    """A server that answers and lets us in.

    Args:
        version: Of its MLflow.
        client_version: Of ours.
        experiments: How many we may see.
    """

    version: str
    client_version: str
    experiments: int


def look_at(tracking_url: str) -> Found:
    """Ask a server for its version, and log in.

    Raises:
        TrackingServerError: It does not answer, or refuses the login.
    """
    client = connect(tracking_url)
    import mlflow
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    with told_of(tracking_url):
        login = get_default_host_creds(tracking_url)
        answer = http_request(login, "/version", "GET")
        answer.raise_for_status()
        return Found(answer.text.strip(), mlflow.__version__, len(client.search_experiments()))


def _what_is_wrong(error: Exception) -> str:
    """What a failed request says of the server; nothing where it says something of the request."""
    if found := _STATUS.search(str(error)):
        status = next(filter(None, found.groups()))
        if status == "401":
            return f"refuses the login; {LOGIN_ADVICE}"
        return f"answers with an error ({status})" if status.startswith("5") else ""
    # MLflow raises its own error for whatever kept it from an answer, which is an error of the network then.
    below = error.__cause__ or error.__context__
    return "does not answer" if isinstance(below, OSError) else ""


def _dialect(url: str) -> str:
    return urlsplit(url).scheme.split("+")[0]
