"""The direction of imports, and which libraries may be used where. Imports inside functions and for typing count."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import noise_search

PACKAGE = Path(noise_search.__file__).parent
# Each may import any that stands before it.
ORDER = (
    "errors",
    "files",
    "urls",
    "folders",
    "targets",
    "seeds",
    "schedules",
    "metrics",
    "statistics",
    "models",
    "executor_specs",
    "spec",
    "optimizers",
    "noises",
    "corruptions",
    "data",
    "policy",
    "apply",
    "config",
    "checkpoints",
    "evaluation",
    "training",
    "execute",
    "store",
    "tracking",
    "operations",
    "search",
    "reports",
    "service",
    "listing",
    "commands",
    "cli",
)
# Library -> entries or modules that may import it, wherever in a file the import stands.
FENCES: dict[str, tuple[str, ...]] = {
    "optuna": ("search", "store"),
    "hydra": ("config", "cli"),
    "omegaconf": ("config", "cli"),
    "sqlalchemy": ("store",),
    "psycopg": ("store",),
    "tenacity": ("store",),
    "alembic": ("store",),
    "mlflow": ("tracking",),
    "pythonjsonlogger": ("operations.journal",),
    "prometheus_client": ("operations.metrics_file",),
    "ray": ("execute.ray_cluster", "execute.ray_connections"),
    "fastapi": ("service",),
    "starlette": ("service",),
    "uvicorn": ("service",),
    "pydantic": ("config", "service"),
    "pytorch_lightning": ("apply.lightning",),
    "lightning": ("apply.lightning",),
}
# Entry -> entries it may not import although they stand before it.
FORBIDDEN: dict[str, tuple[str, ...]] = {"apply": ("config", "store", "tracking"), "training": ("store", "tracking")}
# Module -> what it imports from below all the same: a card's own `bind` stands where its callers look for it.
DOORS: dict[str, frozenset[str]] = {"policy.cards": frozenset({"apply"})}
STANDARD = sys.stdlib_module_names
LIGHTNING = "apply.lightning"
CARD_MODULES = ("errors", "files", "seeds", "schedules", "noises", "policy", "apply")


def modules() -> dict[str, Path]:
    """Dotted name below the package -> file; "" is the package itself, and folders of migrations hold scripts."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()
NAMES = pytest.mark.parametrize("name", [name for name in MODULES if name])


@cache
def imported(name: str) -> frozenset[str]:
    """Everything a module imports, as full dotted names; `from a import b` is a.b where that is a module, else a."""
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    return frozenset(target for node in ast.walk(tree) for target in _targets(node))


def _targets(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "relative import"
        for alias in node.names:
            full = f"{node.module}.{alias.name}"
            yield full if full.removeprefix("noise_search.") in MODULES else str(node.module)


def inside(name: str) -> set[str]:
    """Modules of the package that a module imports, below the package."""
    return {target.removeprefix("noise_search.") for target in imported(name) if target.startswith("noise_search.")}


def entry(name: str) -> str:
    return name.partition(".")[0]


def under(name: str, places: tuple[str, ...]) -> bool:
    return any(name == place or name.startswith(f"{place}.") for place in places)


@NAMES
def test_every_module_has_a_place_in_the_order(name: str) -> None:
    assert entry(name) in ORDER, f"{name}: give {entry(name)!r} its place in ORDER"


@NAMES
def test_a_module_imports_only_what_stands_above_it(name: str) -> None:
    above = ORDER[: ORDER.index(entry(name)) + 1]
    wrong = {target for target in inside(name) - DOORS.get(name, frozenset()) if entry(target) not in above}
    assert not wrong, f"{name} imports {sorted(wrong)}, which stand below {entry(name)!r}"


@NAMES
def test_libraries_stay_behind_their_fences(name: str) -> None:
    used = {entry(target) for target in imported(name)}
    wrong = {library for library in used & FENCES.keys() if not under(name, FENCES[library])}
    assert not wrong, f"{name} imports {sorted(wrong)}: only {[FENCES[library] for library in sorted(wrong)]} may"


@NAMES
def test_a_module_keeps_off_what_is_forbidden_to_it(name: str) -> None:
    wrong = {target for target in inside(name) if under(target, FORBIDDEN.get(entry(name), ()))}
    assert not wrong, f"{name} imports {sorted(wrong)}"


@pytest.mark.parametrize("name", DOORS)
def test_a_door_opens_when_it_is_called_and_not_before(name: str) -> None:
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    at_once = {target.removeprefix("noise_search.") for node in tree.body for target in _targets(node)}
    assert DOORS[name] <= inside(name)
    assert not DOORS[name] & at_once


@pytest.mark.parametrize("name", [name for name in MODULES if entry(name) in CARD_MODULES and name != LIGHTNING])
def test_a_card_needs_torch_numpy_and_yaml_alone(name: str) -> None:
    outside = {entry(target) for target in imported(name)} - {"noise_search"}
    libraries = {target for target in outside if target not in STANDARD}
    assert libraries <= {"torch", "numpy", "yaml"}


@NAMES
def test_a_module_takes_from_the_package_itself_its_modules_and_version_only(name: str) -> None:
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    froms = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == "noise_search"]
    taken = {alias.name for node in froms for alias in node.names}
    assert taken <= {"__version__", *MODULES}, "names of noise_search/__init__ hide where they come from"


def test_the_package_imports_none_of_its_modules_before_they_are_asked_for() -> None:
    tree = ast.parse(MODULES[""].read_text(encoding="utf-8"))
    at_once = [target for node in tree.body for target in _targets(node)]
    assert not [target for target in at_once if target.startswith("noise_search")]


@pytest.mark.parametrize("package", sorted({entry(name) for name in MODULES if "." in name}))
def test_the_modules_of_a_package_import_each_other_without_a_cycle(package: str) -> None:
    own = {name for name in MODULES if entry(name) == package}
    graph = {name: (inside(name) & own) - {name} for name in own}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"{package}: {' imports '.join(reversed(error.args[1]))}")


@pytest.mark.parametrize("folder", sorted({path.parent for path in MODULES.values()}), ids=lambda path: path.name)
def test_no_package_is_empty(folder: Path) -> None:
    tree = [ast.parse(path.read_text(encoding="utf-8")) for path in folder.glob("*.py")]
    statements = [node for module in tree for node in module.body if not _is_docstring(node)]
    assert statements, f"{folder} holds nothing yet: add it with its first module"


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


@pytest.mark.parametrize("name", [name for name in MODULES if name not in ("", "targets")])
def test_no_module_imports_dynamically_past_these_tests(name: str) -> None:
    """`importlib.import_module` would hide an import; only the package's own lazy names and callers' code use it."""
    assert not {target for target in imported(name) if target in {"importlib", "importlib.import_module"}}
