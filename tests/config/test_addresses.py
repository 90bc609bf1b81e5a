from __future__ import annotations

import pytest
from sweep_examples import config

from noise_search.config import check
from noise_search.config.addresses import checkpoint_mistakes, tracking_mistakes
from noise_search.spec import StoreSpec, TrackingSpec


@pytest.mark.parametrize(
    "uri", [None, "http://127.0.0.1:5000", "https://mlflow.example.org/team", "http://[::1]:5000/", "http://mlflow"]
)
def test_a_server_is_named_by_its_address(uri: str | None) -> None:
    assert tracking_mistakes(TrackingSpec(uri=uri)) == []


@pytest.mark.parametrize(
    ("uri", "got"),
    [
        ("", "one without a scheme"),
        ("mlruns", "one without a scheme"),
        ("mlflow.example.org:5000", "one that begins with mlflow.example.org:"),
        ("sqlite:///mlflow.db", "one that begins with sqlite:"),
        ("postgresql+psycopg://host/mlflow", "one that begins with postgresql+psycopg:"),
        ("databricks", "one without a scheme"),
        ("http://", "one that begins with http:"),
        ("http://host:port", "what is no address"),
        ("http://[::1", "what is no address"),
    ],
)
def test_anything_else_is_refused_with_what_is_allowed(uri: str, got: str) -> None:
    (mistake,) = tracking_mistakes(TrackingSpec(uri=uri))
    assert mistake.startswith(
        "tracking.uri: expected null, the store's own database, or the address of an MLflow server"
    )
    assert mistake.endswith(f"got {got}")


@pytest.mark.parametrize("login", ["me:secret@", "secret@", "me:sec/ret@", "me:se@cret@", ":secret@"])
@pytest.mark.parametrize("scheme", ["http", "https", "ftp", "postgresql"])
def test_a_password_is_refused_and_not_repeated(login: str, scheme: str) -> None:
    (mistake,) = tracking_mistakes(TrackingSpec(uri=f"{scheme}://{login}mlflow.example.org"))
    assert "sec" not in mistake
    assert "ret" not in mistake


def test_a_server_with_a_login_in_its_address_is_told_where_that_belongs() -> None:
    (mistake,) = tracking_mistakes(TrackingSpec(uri="https://me:secret@mlflow.example.org"))
    assert mistake == (
        "tracking.uri: expected an address without user and password, got one with them; "
        "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD in the environment"
    )


@pytest.mark.parametrize("uri", ["http://host?token=secret", "http://host/#secret"])
def test_what_else_could_hold_a_secret_is_refused(uri: str) -> None:
    (mistake,) = tracking_mistakes(TrackingSpec(uri=uri))
    assert mistake == "tracking.uri: expected an address without ? and #, got one with them"


@pytest.mark.parametrize(
    "url", [None, "/mnt/shared/checkpoints", "file:///mnt/shared", "memory://here", "s3://bucket/a"]
)
def test_checkpoints_lie_in_a_folder_or_at_a_url(url: str | None) -> None:
    assert checkpoint_mistakes(StoreSpec("runs", checkpoints=url), trains_here=True) == []


@pytest.mark.parametrize(
    ("url", "mistake"),
    [
        ("", "expected null, an absolute folder, or a URL such as s3://bucket/checkpoints, got one without a scheme"),
        ("checkpoints", "expected null, an absolute folder"),
        ("./checkpoints", "whoever trains may start in another folder"),
        ("s3://key:secret@bucket/a", "expected an address without user and password, got one with them; "),
        ("s4://bucket/a", "expected one of ["),
    ],
)
def test_any_other_place_for_checkpoints_is_refused(url: str, mistake: str) -> None:
    (found,) = checkpoint_mistakes(StoreSpec("runs", checkpoints=url), trains_here=True)
    assert found.startswith("store.checkpoints: ")
    assert mistake in found
    assert "secret" not in found


def test_mistakes_in_both_are_told_at_once_with_all_others() -> None:
    whole = config()
    tracking = {**whole["tracking"], "uri": "http://me:secret@mlflow"}
    store = {**whole["store"], "checkpoints": "s3://key:secret@bucket/a"}
    found = check({**whole, "tracking": tracking, "store": store, "seed": -1})
    assert sorted(mistake.partition(":")[0] for mistake in found) == ["seed", "store.checkpoints", "tracking.uri"]
    assert not [mistake for mistake in found if "secret" in mistake]


def test_memory_of_one_process_is_no_place_that_workers_reach() -> None:
    (found,) = checkpoint_mistakes(StoreSpec("runs", checkpoints="memory://here"), trains_here=False)
    assert found == (
        "store.checkpoints: expected a place that all workers reach, got memory:, of which each process has its own"
    )
