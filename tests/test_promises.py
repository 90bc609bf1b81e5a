from __future__ import annotations

import copy
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from promise_rows import CHECKOUT, TOPICS, Row, is_part_of_history, result_mistakes, rows
from pydantic import ValidationError
from requirements import needs
from skippable import ways_to_skip

ROWS = rows()
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@cache
def collected(files: tuple[str, ...]) -> frozenset[str]:
    """Ids of the tests that pytest finds in `files`, asked in a process of its own."""
    arguments = [sys.executable, "-m", "pytest", "--collect-only", "-q", "--no-header", "-p", "no:cacheprovider"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    finished = subprocess.run(
        [*arguments, *files], cwd=CHECKOUT, env=environment, check=False, capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return frozenset(line for line in finished.stdout.splitlines() if "::" in line)


def missing(tests: Sequence[str], known: frozenset[str]) -> list[str]:
    """Those of `tests` that are none of the known ids, with their parameters or without."""
    functions = {one.partition("[")[0] for one in known}
    return sorted({one for one in tests if one not in (known if "[" in one else functions)})


def test_every_test_named_is_collected(request: pytest.FixtureRequest) -> None:
    named = [test for row in ROWS for test in row.test]
    here = frozenset(item.nodeid for item in request.session.items)  # all of them, when the whole suite runs
    unknown = missing(named, here)
    files = tuple(sorted({test.partition("::")[0] for test in unknown}))
    assert [file for file in files if not (CHECKOUT / file).is_file()] == []
    assert not files or missing(unknown, collected(files)) == []


def test_a_test_that_is_not_there_is_found_out() -> None:
    known = frozenset({"tests/test_a.py::test_b[one]", "tests/test_a.py::test_c"})
    named = ["tests/test_a.py::test_b", "tests/test_a.py::test_b[one]", "tests/test_a.py::test_c"]
    assert missing(named, known) == []
    assert missing(["tests/test_a.py::test_b[two]", "tests/test_a.py::test"], known) == [
        "tests/test_a.py::test",
        "tests/test_a.py::test_b[two]",
    ]


@pytest.mark.parametrize("row", [row for row in ROWS if row.test], ids=lambda row: row.id)
def test_a_test_that_is_named_cannot_be_skipped_in_ci(row: Row) -> None:
    assert [way for test in row.test for way in ways_to_skip(test)] == []


@pytest.mark.parametrize("row", [row for row in ROWS if row.result], ids=lambda row: row.id)
def test_a_result_says_how_it_was_made_and_keeps_its_limits(row: Row) -> None:
    assert result_mistakes(row) == []


@pytest.mark.parametrize("file", sorted((CHECKOUT / "docs" / "results").rglob("*.json")), ids=lambda file: file.stem)
def test_a_result_names_no_folder_of_the_machine_that_made_it(file: Path) -> None:
    assert re.findall(r'["=](?:/|[A-Z]:|~)[^"]*', file.read_text(encoding="utf-8")) == []


def test_every_topic_has_rows_and_every_row_an_id_of_its_own() -> None:
    assert {row.topic for row in ROWS} == set(TOPICS)
    ids = [row.id for row in ROWS]
    assert sorted(set(ids)) == sorted(ids)


GOOD: dict[str, Any] = {
    "id": "spine.words",
    "topic": "spine",
    "promise": "Something that was to be shown.",
    "state": "kept",
    "result": "result.json",
    "command": "scripts/bench",
    "key": {"path": "seconds.sweep", "at_most": 5},
}
RESULT: dict[str, Any] = {
    "command": "scripts/bench --runs 3",
    "commit": COMMIT,
    "device": "a processor, 2 cores",
    "versions": {"noise_search": "0.1.0", "torch": "2.13.0", "python": "3.11.7"},
    "suite": "ab" * 32,
    "seeds": {"search": 0},
    "seconds": {"sweep": {"n": 3, "median": 4.0, "iqr": [3.0, 5.0], "mean": 4.5}, "runs": 3},
}


def row_of(**changes: Any) -> Row:
    return Row.model_validate({key: value for key, value in (GOOD | changes).items() if value is not None})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"id": "path.words"}, "begin with its topic"),
        ({"topic": "paths"}, "topic"),
        ({"promise": "Short."}, "at least 20"),
        ({"state": "done"}, "'kept', 'missed' or 'open'"),
        ({"result": None, "key": None, "command": None}, "expected a test or a result"),
        ({"state": "open"}, "neither test nor result"),
        ({"key": []}, "key"),
        ({"command": None}, "the command that makes it"),
        ({"state": "missed", "bound_by": "the disk"}, "figure: expected of what is missed"),
        ({"state": "missed", "figure": "6 s"}, "bound_by: expected of what is missed"),
        ({"figure": "6 s"}, "figure: expected of what is missed"),
        ({"key": {"path": "a", "atleast": 5}}, "atleast"),
        ({"key": {"path": "a", "of": "mode"}}, "mode"),
        ({"tests": "tests/test_a.py::test_b"}, "tests"),
    ],
)
def test_a_row_of_another_form_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        row_of(**changes)


def test_tests_and_keys_are_one_or_several(tmp_path: Path) -> None:
    several = {"id": "spine.both", "test": ["tests/a.py::test_a", "tests/b.py::test_b"], "key": ["a.b", {"path": "c"}]}
    one = {"id": "spine.one", "test": "tests/a.py::test_a", "key": "a.b"}
    (tmp_path / "rows.yaml").write_text(yaml.safe_dump([GOOD | several, GOOD | one]))
    both, single = rows(tmp_path / "rows.yaml")
    assert both.test == ("tests/a.py::test_a", "tests/b.py::test_b")
    assert [key.path for key in both.key] == ["a.b", "c"]
    assert (single.test, [key.path for key in single.key]) == (("tests/a.py::test_a",), ["a.b"])


@pytest.fixture
def judged(tmp_path: Path) -> Callable[..., list[str]]:
    """What is said of a row and a result, in a checkout without history that has the script."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "bench").touch()

    def judge(change: Callable[[dict[str, Any]], object] = dict, **changes: Any) -> list[str]:
        content = copy.deepcopy(RESULT)
        change(content)
        (tmp_path / "result.json").write_text(json.dumps(content))
        return result_mistakes(row_of(**changes), tmp_path)

    return judge


def test_a_result_that_says_everything_and_keeps_its_limit_is_taken(judged: Callable[..., list[str]]) -> None:
    assert judged() == []
    assert judged(key={"path": "seconds.sweep", "of": "mean", "at_least": 4.5, "at_most": 4.5}) == []
    assert judged(key=["seconds.sweep", {"path": "seconds.runs", "of": "value", "at_least": 3}]) == []
    assert judged(lambda content: content.update(suite={"digits": "ab" * 32, "fashion_mnist": "cd" * 32})) == []
    assert judged(lambda content: content.update(suite=None), scored=False) == []


@pytest.mark.parametrize("key", ["commit", "suite", "seeds", "versions", "device", "command"])
def test_a_result_that_does_not_say_how_it_was_made_is_refused(key: str, judged: Callable[..., list[str]]) -> None:
    assert f"expected {key}" in judged(lambda content: content.pop(key))


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("suite", None, "suite: expected the hash"),
        ("suite", "digits", "suite: expected the hash"),
        ("suite", {"digits": None}, "suite: expected the hash"),
        ("seeds", {}, "seeds: expected"),
        ("versions", {"torch": "2.13.0"}, "versions: expected"),
        ("device", "", "device: expected"),
        ("commit", COMMIT + "+changes", "commit: expected"),
        ("commit", COMMIT[:7], "commit: expected"),
        ("command", "scripts/other", "command: expected scripts/bench"),
        ("quick", True, "quick: expected the whole measurement"),
    ],
)
def test_a_result_that_says_it_wrongly_is_refused(
    key: str, value: object, said: str, judged: Callable[..., list[str]]
) -> None:
    (mistake,) = judged(lambda content: content.update({key: value}))
    assert mistake.startswith(said)


@pytest.mark.parametrize("figure", ["n", "median", "iqr"])
def test_a_result_without_its_spread_is_refused(figure: str, judged: Callable[..., list[str]]) -> None:
    (mistake,) = judged(lambda content: content["seconds"]["sweep"].pop(figure))
    assert mistake == "seconds.sweep: expected n, median, iqr, or an interval, somewhere below"


def test_a_result_without_the_key_or_the_script_or_the_file_is_refused(judged: Callable[..., list[str]]) -> None:
    assert "seconds.again: no such key" in judged(key="seconds.again")
    assert "scripts/none: no such script" in judged(command="scripts/none")
    assert judged(result="other.json") == ["other.json: no such file"]


def test_a_measurement_that_misses_its_limit_is_found_out(judged: Callable[..., list[str]]) -> None:
    assert judged(key={"path": "seconds.sweep", "at_most": 3.9}) == ["seconds.sweep: median 4.0 is not in [-inf, 3.9]"]
    assert judged(key={"path": "seconds.sweep", "at_least": 4.1}) == ["seconds.sweep: median 4.0 is not in [4.1, inf]"]
    assert judged(key={"path": "seconds", "at_most": 5}) == ["seconds: expected a median, got None"]


def test_a_miss_that_is_met_by_now_is_found_out(judged: Callable[..., list[str]]) -> None:
    missed = {"state": "missed", "figure": "4 s", "bound_by": "the disk"}
    assert judged(key={"path": "seconds.sweep", "at_most": 3}, **missed) == []
    assert judged(key={"path": "seconds.sweep", "at_most": 5}, **missed) == ["missed: every limit is kept by now"]
    assert judged(key={"path": "seconds", "at_most": 3}, **missed) == ["seconds: expected a median, got None"]


def test_a_commit_from_elsewhere_is_no_part_of_history() -> None:
    needs((CHECKOUT / ".git").exists(), "a checkout with its history")
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=CHECKOUT, check=True, capture_output=True, text=True)
    assert is_part_of_history(head.stdout.strip(), CHECKOUT)
    shallow = (CHECKOUT / ".git" / "shallow").exists()  # there nothing can be said of what it does not have
    assert is_part_of_history(COMMIT, CHECKOUT) is shallow
