from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from noise_search.operations import Journal, logged_as_json

PACKAGE = logging.getLogger("noise_search.somewhere")
SECRET = "hunter2"


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_line_says_when_in_utc_what_and_where_and_nothing_that_does_not_apply(tmp_path: Path) -> None:
    before = datetime.now(UTC)
    with Journal(tmp_path / "sweeps" / "one" / "log.jsonl", "one") as journal:
        journal.note("trial_ended", trial=3, rung=9, state="stopped", reason=None, worker="worker 1")
    (line,) = lines(tmp_path / "sweeps" / "one" / "log.jsonl")
    at = datetime.fromisoformat(line.pop("time"))
    assert at.utcoffset() == UTC.utcoffset(None)
    assert 0 <= (at - before).total_seconds() + 0.001 < 60
    assert list(line.items()) == [
        ("level", "info"),
        ("event", "trial_ended"),
        ("sweep", "one"),
        ("trial", 3),
        ("rung", 9),
        ("worker", "worker 1"),
        ("state", "stopped"),
    ]


def test_what_the_package_warns_of_is_logged_with_its_sweep_and_what_goes_with_the_message(tmp_path: Path) -> None:
    with Journal(tmp_path / "log.jsonl", "one") as journal:
        PACKAGE.warning("the disk is %d %% full", 99)
        PACKAGE.warning("trial 3 failed", extra=journal.about("job_failed", trial=3))
    plain, event = lines(tmp_path / "log.jsonl")
    assert (plain["event"], plain["message"], plain["level"]) == ("log", "the disk is 99 % full", "warning")
    assert (plain["sweep"], plain["logger"]) == ("one", "noise_search.somewhere")
    assert (event["event"], event["message"], event["trial"]) == ("job_failed", "trial 3 failed", 3)


def test_no_line_has_the_password_of_a_url(tmp_path: Path) -> None:
    url = f"postgresql+psycopg://me:{SECRET}@db/noise?password={SECRET}"
    with Journal(tmp_path / "log.jsonl", "one") as journal:
        journal.note("mirror_behind", logging.WARNING, reason=f"cannot reach {url}")
        PACKAGE.warning("lost %s", url)
        try:
            raise RuntimeError(url)
        except RuntimeError:
            PACKAGE.exception("lost")
    text = (tmp_path / "log.jsonl").read_text(encoding="utf-8")
    assert SECRET not in text
    assert text.count("postgresql+psycopg://me@db/noise") == 3


@pytest.mark.parametrize(("level", "written"), [("info", ["a", "b", "c"]), ("warning", ["b", "c"]), ("error", ["c"])])
def test_a_level_leaves_out_what_is_below_it(level: str, written: list[str], tmp_path: Path) -> None:
    with Journal(tmp_path / "log.jsonl", "one", level=level) as journal:
        journal.note("a")
        journal.note("b", logging.WARNING)
        journal.note("c", logging.ERROR)
    assert [line["event"] for line in lines(tmp_path / "log.jsonl")] == written


def test_sweeps_of_one_process_have_each_its_own_events(tmp_path: Path) -> None:
    with Journal(tmp_path / "one.jsonl", "one") as one, Journal(tmp_path / "two.jsonl", "two") as two:
        one.note("a")
        two.note("b")
    assert [line["event"] for line in lines(tmp_path / "one.jsonl")] == ["a"]
    assert [line["event"] for line in lines(tmp_path / "two.jsonl")] == ["b"]


def test_after_its_end_a_journal_hears_nothing_and_the_next_adds_to_the_file(tmp_path: Path) -> None:
    for event in ("a", "b"):
        with Journal(tmp_path / "log.jsonl", "one") as journal:
            journal.note(event)
        journal.note("late")
        PACKAGE.warning("late")
    assert [line["event"] for line in lines(tmp_path / "log.jsonl")] == ["a", "b"]


def test_files_are_of_a_bounded_size_and_number_and_hold_whole_lines(tmp_path: Path) -> None:
    with Journal(tmp_path / "log.jsonl", "one", largest_bytes=1_000, kept=2) as journal:
        for number in range(100):
            journal.note("trial_asked", trial=number)
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["log.jsonl", "log.jsonl.1", "log.jsonl.2"]
    assert all((tmp_path / name).stat().st_size < 1_200 for name in files)
    found = [line["trial"] for name in reversed(files) for line in lines(tmp_path / name)]
    assert found == list(range(found[0], 100))


def test_a_line_that_a_full_disk_has_torn_does_not_spoil_the_next(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"event": "who', encoding="utf-8")
    with Journal(path, "one") as journal:
        journal.note("a")
        journal.note("b")
    torn, *whole = path.read_text(encoding="utf-8").splitlines()
    assert torn == '{"event": "who'
    assert [json.loads(line)["event"] for line in whole] == ["a", "b"]


def _full(tmp_path: Path) -> Path:
    (tmp_path / "log.jsonl").symlink_to("/dev/full")  # where every write finds the disk full
    return tmp_path / "log.jsonl"


def _a_folder(tmp_path: Path) -> Path:
    (tmp_path / "log.jsonl").mkdir()
    return tmp_path / "log.jsonl"


def _in_a_file(tmp_path: Path) -> Path:
    (tmp_path / "sweeps").touch()
    return tmp_path / "sweeps" / "log.jsonl"


@pytest.mark.parametrize("make", [_full, _a_folder, _in_a_file])
def test_a_log_that_cannot_be_written_is_one_warning(
    make: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make(tmp_path)
    with Journal(path, "one") as journal:
        journal.note("a")
        journal.note("b")
    (message,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert message.startswith(f"{path} cannot be written, the sweep goes on: [Errno ")
    assert capsys.readouterr() == ("", "")  # nor a traceback of the logging module


def test_events_are_not_on_the_console_unless_somebody_asks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    console = logging.StreamHandler()
    console.setFormatter(logging.Formatter("%(message)s"))
    logging.getLogger().addHandler(console)
    try:
        with Journal(tmp_path / "log.jsonl", "one") as journal:
            journal.note("a", logging.ERROR)
            assert capsys.readouterr().err == ""
            with logged_as_json():
                journal.note("b", trial=1)
                PACKAGE.warning("a word")
            event, warning = map(json.loads, capsys.readouterr().err.splitlines())
            PACKAGE.warning("as before")
            journal.note("c")
    finally:
        logging.getLogger().removeHandler(console)
    assert (event["event"], event["sweep"], event["trial"]) == ("b", "one", 1)
    assert (warning["event"], warning["message"]) == ("log", "a word")
    assert capsys.readouterr().err == "as before\n"
