"""Whether a test can be skipped: read from its source, its fixtures' and that of everything they call in tests/.

Skips, expected failures and marks for them are found wherever they stand. `requirements.needs` is not looked into:
it fails in CI.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TypeAlias

TESTS = Path(__file__).resolve().parent
ALLOWED = "requirements"
_WORDS = {"skip", "skipif", "skipIf", "skipUnless", "xfail", "importorskip", "SkipTest", "expectedFailure"}
_FROM = {"pytest", "unittest"}
_Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Source:
    """A module of tests: what it defines, and what it imports from other modules of tests."""

    path: Path
    tree: ast.Module
    defined: dict[str, ast.stmt]
    imported: dict[str, tuple[Path, str | None]]
    foreign: dict[str, str]  # what stands here for pytest, unittest or something of theirs, and its own name


def ways_to_skip(test: str, root: Path = TESTS.parent) -> list[str]:
    """Every place that can skip a test, as `file:line: code`.

    Args:
        test: Id of a test function, `tests/test_x.py::test_y` or the same with `[parameters]`.
        root: Folder that the id is relative to.
    """
    file, _, rest = test.partition("::")
    name = rest.partition("[")[0]
    path = root / file
    if not isinstance(_source(path).defined.get(name), _Function):
        return [f"{test}: expected a function at the top of its module"]
    walk = _Walk()
    for around in (path, *_conftests(path)):
        walk.module(_source(around))
    walk.name(_source(path), name)
    return walk.found


@dataclass(slots=True)
class _Walk:
    """Search through everything that a test reaches; each definition is looked at once."""

    found: list[str] = field(default_factory=list)
    seen: set[tuple[Path, str]] = field(default_factory=set)

    def module(self, source: Source) -> None:
        """What happens when a module is imported, and the hooks and fixtures that act unasked."""
        if (source.path, "") in self.seen:
            return
        self.seen.add((source.path, ""))
        for statement in source.tree.body:
            if isinstance(statement, _Function):
                if statement.name.startswith("pytest_") or _acts_unasked(statement):
                    self.name(source, statement.name)
            elif not isinstance(statement, ast.ClassDef):
                at_import = _assigned(statement) == ["pytestmark"] or not isinstance(statement, ast.Assign)
                self._places(source, statement, calls_only=not at_import)

    def name(self, source: Source, name: str) -> None:
        """What a name stands for: a definition here, one imported, or a fixture of a conftest."""
        if name in source.defined:
            if (source.path, name) not in self.seen:
                self.seen.add((source.path, name))
                self._places(source, source.defined[name], calls_only=False)
                for used in _names(source.defined[name]):
                    self.name(source, used)
        elif name in source.imported:
            path, original = source.imported[name]
            self.module(_source(path))
            for wanted in _source(path).defined if original is None else (original,):
                self.name(_source(path), wanted)
        else:
            self._fixture(source, name)

    def _fixture(self, source: Source, name: str) -> None:
        for path in _conftests(source.path):
            if path != source.path and name in _source(path).defined:
                self.name(_source(path), name)
                return

    def _places(self, source: Source, node: ast.AST, *, calls_only: bool) -> None:
        called = {id(inner.func) for inner in ast.walk(node) if isinstance(inner, ast.Call)}
        for inner in ast.walk(node):
            if _skips(inner, source) and (
                not calls_only or (id(inner) in called and ".mark." not in ast.unparse(inner))
            ):
                assert isinstance(inner, ast.Attribute | ast.Name)
                self.found.append(f"{source.path.name}:{inner.lineno}: {ast.unparse(inner)}")


def _skips(node: ast.AST, source: Source) -> bool:
    if isinstance(node, ast.Name):
        return source.foreign.get(node.id) in _WORDS
    if not isinstance(node, ast.Attribute) or node.attr not in _WORDS:
        return False
    return ast.unparse(node).partition(".")[0] in source.foreign


def _names(node: ast.AST) -> Iterator[str]:
    """Names read, arguments (fixtures, if they are), and fixtures asked for by their name in a text."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name):
            yield inner.id
        elif isinstance(inner, ast.arg):
            yield inner.arg
        elif isinstance(inner, ast.Call) and ast.unparse(inner.func).endswith(("usefixtures", "getfixturevalue")):
            yield from (str(text.value) for text in inner.args if isinstance(text, ast.Constant))


def _acts_unasked(function: _Function) -> bool:
    return any("autouse=True" in ast.unparse(decorator) for decorator in function.decorator_list)


def _assigned(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.Assign):
        return [target.id for target in statement.targets if isinstance(target, ast.Name)]
    target = getattr(statement, "target", None)
    return [target.id] if isinstance(target, ast.Name) else []


@cache
def _source(path: Path) -> Source:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    defined: dict[str, ast.stmt] = {}
    for statement in tree.body:
        if isinstance(statement, _Function | ast.ClassDef):
            defined[statement.name] = statement
        else:
            defined |= dict.fromkeys(_assigned(statement), statement)
    imported: dict[str, tuple[Path, str | None]] = {}
    foreign: dict[str, str] = {}
    for node in ast.walk(tree):
        for module, name, alias in _imports(node):
            if module.partition(".")[0] in _FROM:
                foreign[alias] = name or module
            elif module != ALLOWED and (found := _test_module(module, path)):
                imported[alias] = (found, name)
    return Source(path, tree, defined, imported, foreign)


def _imports(node: ast.AST) -> Iterator[tuple[str, str | None, str]]:
    """(module, name in it or None, what it is called here)."""
    if isinstance(node, ast.Import):
        yield from ((one.name, None, one.asname or one.name) for one in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        yield from ((node.module, one.name, one.asname or one.name) for one in node.names)


def _test_module(module: str, importer: Path) -> Path | None:
    """File of a module beside the importer or at the top of its tests; None for a module from elsewhere."""
    top = _conftests(importer)[-1].parent if _conftests(importer) else importer.parent
    for folder in (importer.parent, top):
        if (folder / f"{module}.py").is_file():
            return folder / f"{module}.py"
    return None


def _conftests(path: Path) -> list[Path]:
    """Files that give a test its fixtures, nearest first."""
    found = [folder / "conftest.py" for folder in path.parents]
    return [file for file in found if file.is_file()]
