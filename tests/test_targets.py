from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from noise_search.errors import CallerError
from noise_search.targets import local_modules, resolve

SOUND = """
THREE = 3

def load():
    return "mine"

class Maker:
    @staticmethod
    def make():
        return 4
"""


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Empty folder that the command is run in; what was imported from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


def mistake(path: object) -> str:
    with pytest.raises(CallerError) as caught:
        resolve(path, "data._target_")
    (line,) = caught.value.mistakes
    assert "\n" not in line
    return line


def test_a_function_of_a_module_beside_which_the_command_is_run_is_found(working_folder: Path) -> None:
    (working_folder / "beside_me.py").write_text(SOUND)
    assert resolve("beside_me.load", "data._target_")() == "mine"
    assert resolve("beside_me.Maker", "data._target_").__name__ == "Maker"
    assert resolve("beside_me.Maker.make", "data._target_")() == 4


def test_a_module_of_a_package_is_found_without_its_being_imported_by_the_package(working_folder: Path) -> None:
    (working_folder / "some_pack" / "deep").mkdir(parents=True)
    (working_folder / "some_pack" / "__init__.py").write_text("")
    (working_folder / "some_pack" / "deep" / "leaf.py").write_text(SOUND)
    assert resolve("some_pack.deep.leaf.load", "data._target_")() == "mine"


def test_a_local_module_may_import_another_beside_it(working_folder: Path) -> None:
    (working_folder / "helping_one.py").write_text("WORD = 'helped'\n")
    (working_folder / "helped_one.py").write_text("import helping_one\ndef load(): return helping_one.WORD\n")
    assert resolve("helped_one.load", "data._target_")() == "helped"


def test_a_local_file_hides_no_installed_package(working_folder: Path) -> None:
    # A module of the standard library that nothing here has imported yet.
    sys.modules.pop("colorsys", None)
    (working_folder / "colorsys.py").write_text("def rgb_to_hsv(): return 'hidden'\n")
    assert resolve("colorsys.rgb_to_hsv", "data._target_")(0, 0, 0) == (0.0, 0.0, 0)


def test_the_path_of_modules_is_as_before_also_after_a_failure(working_folder: Path) -> None:
    (working_folder / "sound_one.py").write_text(SOUND)
    (working_folder / "broken_one.py").write_text("raise ValueError('no')\n")
    before = list(sys.path)
    resolve("sound_one.load", "data._target_")
    mistake("broken_one.load")
    assert sys.path == before


def test_a_path_that_the_module_changed_keeps_the_change(working_folder: Path) -> None:
    before = list(sys.path)
    try:
        with local_modules():
            sys.path.append("/of/the/module")
        assert sys.path == [*before, "/of/the/module"]
        with local_modules():
            sys.path.remove(str(working_folder))
        assert sys.path == [*before, "/of/the/module"]
    finally:
        sys.path[:] = before


@pytest.mark.parametrize("path", [None, 3, "", "load", "my data.load", ".load", "a..b", "a.", ["a.b"], "a.b()"])
def test_what_is_no_dotted_path_is_told_what_one_looks_like(path: object) -> None:
    expected = "expected a dotted path such as my_package.my_module.build"
    assert mistake(path) == f"data._target_: {expected}, got {path!r}"


def test_a_missing_module_is_told_with_the_folder_that_was_searched(working_folder: Path) -> None:
    found = mistake("not_there.load")
    assert found == f"data._target_: found no module 'not_there', neither installed nor in {working_folder}"


def test_a_missing_attribute_is_told_with_its_module(working_folder: Path) -> None:
    (working_folder / "other_one.py").write_text(SOUND)
    (working_folder / "bare_pack").mkdir()
    (working_folder / "bare_pack" / "__init__.py").write_text("")
    assert mistake("other_one.laod") == "data._target_: other_one has no 'laod', got 'other_one.laod'"
    assert mistake("bare_pack.data.load") == "data._target_: bare_pack has no 'data', got 'bare_pack.data.load'"


def test_what_cannot_be_called_is_told_what_it_is(working_folder: Path) -> None:
    (working_folder / "third_one.py").write_text(SOUND)
    assert mistake("third_one.THREE").endswith("got 'third_one.THREE', which is of type int")
    assert mistake("os.path").endswith("got 'os.path', which is a module")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("x = 1\nraise ValueError('two\\nlines')\n", "ValueError: two; lines (line 2 of {file})"),
        ("import not_installed_anywhere\n", "ModuleNotFoundError: No module named 'not_installed_anywhere' (line 1 of"),
        ("def load(:\n", "SyntaxError: invalid syntax"),
        ("import sys\nsys.exit(3)\n", "SystemExit: 3 (line 2 of {file})"),
        ("import json\n\njson.loads('?')\n", "JSONDecodeError: Expecting value: line 1 column 1 (char 0) (line 3 of"),
    ],
)
def test_a_module_that_fails_when_imported_is_told_with_error_and_line(
    working_folder: Path, content: str, expected: str
) -> None:
    file = working_folder / "failing_one.py"
    file.write_text(content)
    found = mistake("failing_one.load")
    assert found.startswith(f"data._target_: importing failing_one failed with {expected.format(file=file)}")
