from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from noise_search.operations import METRICS, MetricsFile, Numbers, set_numbers
from noise_search.operations.metrics_file import PREFIX

NUMBERS = Numbers(
    running=True,
    store_lost=False,
    trials={"complete": 3, "stopped": 2, "infeasible": 0, "failed": 1, "running": 4, "waiting": 5},
    controls={"complete": 2},
    budget=20,
    queued=6,
    jobs_under_way=7,
    jobs={"done": 8, "failed": 9},
    epochs=10,
    samples=11,
    seconds=12.5,
    unsent=13,
    mirror_failing=True,
    front=2,
    hypervolume=0.25,
    best=0.75,
)


def read(path: Path) -> dict[tuple[str, str], float]:
    """Numbers of a file, as a collector reads them, by name without the prefix and state; all of one sweep."""
    found = {}
    for family in text_string_to_metric_families(path.read_text(encoding="utf-8")):
        for sample in family.samples:
            assert sample.labels["sweep"] == "one"
            found[sample.name.removeprefix(PREFIX), sample.labels.get("state", "")] = sample.value
    return found


def test_every_number_is_in_the_file_under_its_name(tmp_path: Path) -> None:
    before = time.time()
    MetricsFile(tmp_path / "sweeps" / "one" / "metrics.prom", "one", lambda: NUMBERS).write()
    found = read(tmp_path / "sweeps" / "one" / "metrics.prom")
    assert before <= found.pop(("heartbeat_timestamp_seconds", "")) <= time.time()
    assert found.pop(("trials_per_second", "")) == 0
    states = {("trials", state): count for state, count in NUMBERS.trials.items()}
    assert found == states | {
        ("controls", "complete"): 2,
        ("running", ""): 1,
        ("store_lost", ""): 0,
        ("budget_trials", ""): 20,
        ("queued", ""): 6,
        ("jobs_under_way", ""): 7,
        ("trials_ended_total", ""): 6,
        ("jobs_total", "done"): 8,
        ("jobs_total", "failed"): 9,
        ("epochs_trained_total", ""): 10,
        ("samples_scored_total", ""): 11,
        ("job_seconds_total", ""): 12.5,
        ("mirror_unsent_messages", ""): 13,
        ("mirror_failing", ""): 1,
        ("front_trials", ""): 2,
        ("front_hypervolume", ""): 0.25,
        ("best_score", ""): 0.75,
    }
    assert {name for name, _ in found} | {"heartbeat_timestamp_seconds", "trials_per_second"} == set(METRICS)


def test_what_there_is_not_yet_is_left_out(tmp_path: Path) -> None:
    early = replace(NUMBERS, front=None, hypervolume=None, best=None)
    MetricsFile(tmp_path / "metrics.prom", "one", lambda: early).write()
    names = {name for name, _ in read(tmp_path / "metrics.prom")}
    assert names == set(METRICS) - {"front_trials", "front_hypervolume", "best_score"}


def test_the_rate_is_that_of_the_trials_that_ended_since_the_driver_began(tmp_path: Path) -> None:
    complete = 100
    file = MetricsFile(
        tmp_path / "metrics.prom", "one", lambda: replace(NUMBERS, trials={"complete": complete, "waiting": 50})
    )
    before = time.monotonic()
    file.write()
    after = time.monotonic()
    time.sleep(0.2)
    complete = 110
    shortest = time.monotonic() - after
    file.write()
    longest = time.monotonic() - before
    assert 10 / longest <= read(tmp_path / "metrics.prom")["trials_per_second", ""] <= 10 / shortest


def test_a_reader_never_sees_half_a_file_nor_is_anything_left_beside_it(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "metrics.prom", "one", lambda: NUMBERS)
    file.write()
    with (tmp_path / "metrics.prom").open(encoding="utf-8") as old:
        beginning = old.read(100)
        file.write()
        whole = beginning + old.read()
    assert whole.count("# TYPE") == len(METRICS)
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.prom"]


def test_a_file_that_cannot_be_written_is_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "metrics.prom").mkdir()
    file = MetricsFile(tmp_path / "metrics.prom", "one", lambda: NUMBERS)
    file.write()
    file.write()
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith(f"{tmp_path / 'metrics.prom'} cannot be written, the sweep goes on: [Errno ")
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.prom"]


def test_numbers_are_set_in_a_file_and_the_others_stay(tmp_path: Path) -> None:
    path = tmp_path / "metrics.prom"
    MetricsFile(path, "one", lambda: NUMBERS).write()
    before = read(path)
    set_numbers(path, mirror_unsent_messages=0, mirror_failing=False)
    assert read(path) == before | {("mirror_unsent_messages", ""): 0, ("mirror_failing", ""): 0}


def test_a_file_that_another_has_put_in_its_place_is_left_to_them_where_it_may_be_so(tmp_path: Path) -> None:
    path = tmp_path / "metrics.prom"
    ours = MetricsFile(path, "one", lambda: NUMBERS)
    ours.write(if_ours=True)
    ours.write(if_ours=True)
    assert read(path)["budget_trials", ""] == NUMBERS.budget
    MetricsFile(path, "one", lambda: replace(NUMBERS, budget=99)).write()
    ours.write(if_ours=True)
    assert read(path)["budget_trials", ""] == 99
    ours.write()
    assert read(path)["budget_trials", ""] == NUMBERS.budget


def test_numbers_that_cannot_be_set_are_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "metrics.prom").mkdir()
    set_numbers(tmp_path / "metrics.prom", mirror_failing=False)
    assert "metrics.prom cannot be brought up to date: " in caplog.text


def test_no_file_is_made_to_set_numbers_in(tmp_path: Path) -> None:
    set_numbers(tmp_path / "metrics.prom", mirror_failing=False)
    assert list(tmp_path.iterdir()) == []
