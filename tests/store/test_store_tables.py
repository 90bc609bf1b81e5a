from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine
from sqlalchemy.dialects import sqlite

from noise_search.store.tables import UtcDateTime, decoded, encoded

JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text().filter("$float".__ne__), inner),
)


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


@given(JSON_VALUES)
def test_data_survives_as_strict_json(value: object) -> None:
    text = json.dumps(encoded(value), allow_nan=False)
    # repr tells 1 from 1.0 and True, and finds NaN equal to itself.
    assert repr(decoded(json.loads(text, parse_constant=refuse))) == repr(value)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_json_lacks_is_told_from_the_text_that_names_it(number: float) -> None:
    both = [number, str(number)]
    assert repr(decoded(json.loads(json.dumps(encoded(both))))) == repr(both)


@pytest.mark.parametrize("key", [1, None, "$float"])
def test_a_key_that_would_come_back_changed_is_refused(key: object) -> None:
    with pytest.raises(TypeError, match="expected keys that are texts"):
        encoded({key: 1})


def test_a_time_of_any_zone_is_stored_in_utc() -> None:
    noon = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    stored = UtcDateTime().process_bind_param(noon, sqlite.dialect())
    assert stored == noon
    assert stored is not None
    assert stored.hour == 10


def test_a_time_comes_back_with_its_zone() -> None:
    # SQLite returns times without one.
    naive = datetime(2026, 1, 1, 12)
    assert UtcDateTime().process_result_value(naive, sqlite.dialect()) == datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="with a time zone"):
        UtcDateTime().process_bind_param(datetime(2026, 1, 1), create_engine("sqlite://").dialect)
