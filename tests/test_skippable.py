from __future__ import annotations

from pathlib import Path

import pytest
from requirements import needs
from skippable import ways_to_skip

# Each can skip `test_it`.
SKIPPING = {
    "a mark": "@pytest.mark.skip\ndef test_it(): ...",
    "a conditional mark": "@pytest.mark.skipif(True, reason='no')\ndef test_it(): ...",
    "an expected failure": "@pytest.mark.xfail\ndef test_it(): ...",
    "a mark of unittest": "import unittest\n@unittest.skipIf(True, 'no')\ndef test_it(): ...",
    "a call": "def test_it():\n    if True:\n        pytest.skip('no')",
    "a call by another name": "from pytest import skip as leave\ndef test_it():\n    leave('no')",
    "an exception": "def test_it():\n    raise pytest.skip.Exception('no')",
    "an import": "def test_it():\n    pytest.importorskip('scipy')",
    "an import of the module": "scipy = pytest.importorskip('scipy')\ndef test_it(): ...",
    "a mark of the module": "pytestmark = [pytest.mark.skip]\ndef test_it(): ...",
    "a whole module": "if True:\n    pytest.skip('no', allow_module_level=True)\ndef test_it(): ...",
    "a function it calls": "def first():\n    pytest.skip('no')\ndef test_it():\n    first()",
    "a function of a function": "def a():\n    pytest.skip()\ndef b():\n    a()\ndef test_it():\n    b()",
    "a fixture": "@pytest.fixture\ndef thing():\n    pytest.skip('no')\ndef test_it(thing): ...",
    "a fixture that acts unasked": "@pytest.fixture(autouse=True)\ndef x():\n    pytest.skip()\ndef test_it(): ...",
    "a fixture by its name": "@pytest.mark.usefixtures('data')\ndef test_it(): ...",
    "a fixture asked for": "def test_it(request):\n    request.getfixturevalue('data')",
    "a fixture of the conftest": "def test_it(data): ...",
    "a marked parameter": "@pytest.mark.parametrize('x', [pytest.param(1, marks=pytest.mark.skip)])\n"
    "def test_it(x): ...",
    "parameters kept apart": "X = [pytest.param(1, marks=pytest.mark.xfail)]\n"
    "@pytest.mark.parametrize('x', X)\ndef test_it(x): ...",
    "an imported function": "from examples import leaves\ndef test_it():\n    leaves()",
    "a function of an imported module": "import examples\ndef test_it():\n    examples.leaves()",
}
# None can.
SAFE = {
    "a plain test": "def test_it():\n    assert True",
    "what is needed": "from requirements import needs\ndef test_it():\n    needs(True, 'x')",
    "a skip of another test": "@pytest.mark.skip\ndef test_other(): ...\ndef test_it(): ...",
    "marks of another test": "X = [pytest.param(1, marks=pytest.mark.skip)]\ndef test_it(): ...",
    "an imported function that stays": "from examples import stays\ndef test_it():\n    stays()",
    "a method of that name": "def test_it():\n    queue.skip(3)",
    "a function of one's own of that name": "def skip(): ...\ndef test_it():\n    skip()",
    "a fixture that is needed": "def test_it(needed): ...",
}
CONFTEST = """
import pytest
from requirements import needs

@pytest.fixture
def data():
    pytest.skip("no data")

@pytest.fixture
def needed():
    needs(False, "data")
"""
EXAMPLES = "import pytest\ndef leaves():\n    pytest.skip('no')\ndef stays(): ...\n"


def ways(code: str, folder: Path) -> list[str]:
    tests = folder / "tests" / "inner"
    tests.mkdir(parents=True)
    (folder / "tests" / "conftest.py").write_text(CONFTEST)
    (folder / "tests" / "examples.py").write_text(EXAMPLES)
    (tests / "test_code.py").write_text(f"import pytest\n{code}\n")
    return ways_to_skip("tests/inner/test_code.py::test_it[1]", folder)


@pytest.mark.parametrize("way", SKIPPING)
def test_a_way_to_skip_is_found(way: str, tmp_path: Path) -> None:
    assert ways(SKIPPING[way], tmp_path) != []


@pytest.mark.parametrize("code", SAFE)
def test_what_cannot_skip_is_left_alone(code: str, tmp_path: Path) -> None:
    assert ways(SAFE[code], tmp_path) == []


def test_a_place_is_named_by_file_and_line(tmp_path: Path) -> None:
    assert ways("def test_it():\n    pytest.skip('no')", tmp_path) == ["test_code.py:3: pytest.skip"]


def test_what_is_no_function_of_the_module_is_told(tmp_path: Path) -> None:
    (said,) = ways("class TestThing:\n    def test_it(self): ...", tmp_path)
    assert said.endswith("expected a function at the top of its module")


@pytest.mark.parametrize(("ci", "outcome"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_what_is_missing_fails_in_ci_and_skips_elsewhere(
    ci: str, outcome: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", ci)
    needs(True, "nothing")
    with pytest.raises(outcome, match="a data set"):
        needs(False, "a data set")
