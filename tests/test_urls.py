from __future__ import annotations

import pytest

from noise_search.urls import password_of, scheme_of, without_password

SHOWN = {
    "postgresql://me:secret@db/noise": "postgresql://me@db/noise",
    "postgresql+psycopg://me:se%40cret@db:5432/noise": "postgresql+psycopg://me@db:5432/noise",
    "postgresql://me:se/cret:x@db/noise": "postgresql://me@db/noise",
    "postgresql://me@db/noise?password=secret": "postgresql://me@db/noise",
    "postgresql://me@db/noise?password=secret&sslmode=require": "postgresql://me@db/noise?sslmode=require",
    "postgresql://me@db/noise?sslmode=require&sslpassword=secret": "postgresql://me@db/noise?sslmode=require",
    "postgresql://me@db/noise?a=1&PASSWORD=secret&sslpassword=secret&b=2": "postgresql://me@db/noise?a=1&b=2",
    "failed at postgresql://me:secret@db/noise, again": "failed at postgresql://me@db/noise, again",
    "https://user:secret@host:5000": "https://user@host:5000",
}
UNCHANGED = (
    "./runs",
    "/data/a:b@c",
    "postgresql://me@db:5432/noise?sslmode=require",
    "http://127.0.0.1:5000/#/experiments/1?x=y",
    "what now?",
)


@pytest.mark.parametrize(("given", "shown"), SHOWN.items())
def test_a_password_is_left_out_and_everything_else_stays(given: str, shown: str) -> None:
    assert without_password(given) == shown
    assert without_password(shown) == shown


@pytest.mark.parametrize("text", UNCHANGED)
def test_what_holds_no_password_is_shown_as_it_is(text: str) -> None:
    assert without_password(text) == text
    assert password_of(text) is None


def test_a_password_is_read_as_it_was_meant() -> None:
    assert password_of("postgresql://me:p%40ss%3Aw%2Frd@db/noise") == "p@ss:w/rd"
    assert password_of("store.url='postgresql://me:secret@db/noise'") == "secret"


def test_a_scheme_is_that_of_an_address() -> None:
    assert (scheme_of("postgresql+psycopg://db/noise"), scheme_of("C:/runs"), scheme_of("runs")) == (
        "postgresql+psycopg",
        None,
        None,
    )
