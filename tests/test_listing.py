from __future__ import annotations

import json

import pytest

from noise_search.cli import LISTS
from noise_search.corruptions import CORRUPTIONS
from noise_search.data import DATASETS
from noise_search.listing import LISTINGS, data, models, noises, schedules
from noise_search.models import MODELS
from noise_search.noises import NOISES
from noise_search.schedules import SCHEDULES

EVERYTHING: dict[str, list[tuple[str, ...]]] = {
    "noises": [(site, name) for site, entries in NOISES.items() for name in entries],
    "schedules": [(name,) for name in SCHEDULES],
    "corruptions": [(name,) for name in CORRUPTIONS],
    "data": [(name,) for name in DATASETS],
    "models": [(name,) for name in MODELS],
}


def test_there_is_a_listing_for_everything_the_command_line_offers() -> None:
    assert set(LISTINGS) == set(LISTS) == set(EVERYTHING)


@pytest.mark.parametrize("what", EVERYTHING)
def test_every_entry_of_the_registry_is_a_row(what: str) -> None:
    rows = LISTINGS[what]()
    width = len(EVERYTHING[what][0])
    assert [tuple(row.values())[:width] for row in rows] == EVERYTHING[what]


@pytest.mark.parametrize("what", EVERYTHING)
def test_rows_have_the_same_columns_filled_with_words_that_survive_json(what: str) -> None:
    rows = LISTINGS[what]()
    assert len({tuple(row) for row in rows}) == 1
    assert json.loads(json.dumps(rows)) == rows
    assert all(isinstance(value, str) for row in rows for value in row.values())
    assert all(value for row in rows for key, value in row.items() if key != "knobs")


def test_a_noise_is_listed_with_its_unit_range_and_knobs() -> None:
    gaussian = next(row for row in noises() if (row["site"], row["noise"]) == ("inputs", "gaussian"))
    assert gaussian["range"] == "0.02 to 0.6 log"
    assert gaussian["knobs"] == "fraction, level"
    assert "images" in gaussian["data"]


def test_a_schedule_is_listed_with_the_ranges_that_are_searched_and_what_stays_fixed() -> None:
    listed = {row["schedule"]: row["parameters"] for row in schedules()}
    assert listed["constant"] == "none"
    assert listed["linear"] == "a in 0 to 1, b in 0 to 1, start = 0, stop in 0.3 to 1"
    assert listed["window"] == "start in 0 to 0.5, stop in 0.55 to 1"


def test_digits_and_the_shipped_models_are_there() -> None:
    assert "digits" in {row["data"] for row in data()}
    assert {row["model"] for row in models()} == {"mlp", "cnn", "resnet", "gru", "transformer"}


def test_a_model_is_listed_with_its_parameters_as_a_file_would_have_them() -> None:
    listed = {row["model"]: row["parameters"] for row in models()}
    assert listed["cnn"] == "channels = [16, 32], hidden = 64, norm = group"
    assert listed["gru"] == "width = 64, layers = 1"
