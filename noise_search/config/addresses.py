"""Addresses in a configuration: they are stored and shown, so that none may hold a password."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

import fsspec

from noise_search.errors import expected_one_of, installs
from noise_search.spec import StoreSpec, TrackingSpec

_SERVERS = ("http", "https")
_S3 = ("s3", "s3a")


def tracking_mistakes(tracking: TrackingSpec) -> list[str]:
    """Mistakes in the address of an MLflow server."""
    where = "tracking.uri"
    if tracking.uri is None:
        return []
    parts = _split(tracking.uri)
    if parts is None or parts.scheme not in _SERVERS or not parts.hostname:
        return [
            f"{where}: expected null, the store's own database, or the address of an MLflow server such as "
            f"https://mlflow.example.org or http://127.0.0.1:5000, got {_shown(parts)}"
        ]
    if parts.query or parts.fragment:
        return [f"{where}: expected an address without ? and #, got one with them"]
    login = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD in the environment"
    return _login_mistakes(where, parts, login)


def checkpoint_mistakes(store: StoreSpec, *, trains_here: bool) -> list[str]:
    """Mistakes in the address of the checkpoints.

    Args:
        store: As configured.
        trains_here: Whether jobs train in the driver's own process.
    """
    where, text = "store.checkpoints", store.checkpoints
    if text is None:
        return []
    parts = _split(text)
    if parts is None or not ("://" in text or text.startswith("/")):
        return [
            f"{where}: expected null, an absolute folder, or a URL such as s3://bucket/checkpoints, got "
            f"{_shown(parts)}; whoever trains may start in another folder"
        ]
    if parts.scheme == "memory" and not trains_here:
        return [f"{where}: expected a place that all workers reach, got memory:, of which each process has its own"]
    login = "the protocol's library takes them from the environment"
    return _login_mistakes(where, parts, login) or _protocol_mistakes(where, parts.scheme or "file")


def _protocol_mistakes(where: str, protocol: str) -> list[str]:
    try:
        fsspec.get_filesystem_class(protocol)
    except ValueError:
        return [expected_one_of(where, fsspec.available_protocols(), protocol)]
    except ImportError as error:
        extra = f"; {installs('s3')}" if protocol in _S3 else f" ({error})"
        return [f"{where}: expected a library that reads {protocol}://, got none{extra}"]
    return []


def _split(text: str) -> SplitResult | None:
    try:
        parts = urlsplit(text)
        _ = parts.port  # read late by urllib, which then finds out whether it is one
    except ValueError:
        return None
    return parts


def _login_mistakes(where: str, parts: SplitResult, advice: str) -> list[str]:
    if "@" not in parts.netloc:
        return []
    return [f"{where}: expected an address without user and password, got one with them; {advice}"]


def _shown(parts: SplitResult | None) -> str:
    """Only what cannot hold a password."""
    if parts is None:
        return "what is no address"
    return f"one that begins with {parts.scheme}:" if parts.scheme else "one without a scheme"
