"""A caller's own function or class, by its dotted path in local configuration.

Never call this with a name from a card, a store or a network: to resolve a path is to run the module it names.
"""

from __future__ import annotations

import importlib
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from noise_search.errors import CallerError

_EXAMPLE = "a dotted path such as my_package.my_module.build"


def resolve(path: object, where: str) -> Callable[..., Any]:
    """Callable that a dotted path names, its module imported.

    Modules are looked for as Python does, and after that in the current working folder, so that a file beside
    which a command is run is found and hides no installed package.

    Args:
        path: Package, module and attribute, such as `my_package.my_module.build`.
        where: Key that holds it, for messages.

    Raises:
        CallerError: In one line, for a path that is none, an unknown module or attribute, a module that fails
            when it is imported, and whatever cannot be called.

    >>> resolve("math.sqrt", "model._target_")(9.0)
    3.0
    """
    if not isinstance(path, str) or "." not in path or not all(name.isidentifier() for name in path.split(".")):
        raise CallerError(f"{where}: expected {_EXAMPLE}, got {path!r}")
    with local_modules():
        found = _found(path.split("."), where)
    if not callable(found):
        raise CallerError(f"{where}: expected something to call, got {path!r}, which is {_kind(found)}")
    return found


@contextmanager
def local_modules() -> Iterator[None]:
    """Let modules be imported from the current working folder, after everything that Python finds by itself."""
    folder = str(Path.cwd())
    importlib.invalidate_caches()  # the file may be younger than this process
    sys.path.append(folder)
    try:
        yield
    finally:
        place = len(sys.path) - 1 - sys.path[::-1].index(folder) if folder in sys.path else None
        if place is not None:  # else the module took it away itself
            del sys.path[place]


def told(error: BaseException) -> str:
    """An exception of the caller's code in one line, with the place in that code where there is one.

    >>> told(ValueError("no such file"))
    'ValueError: no such file'
    """
    text = "; ".join(line.strip() for line in str(error).splitlines() if line.strip())
    places = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_callers(frame.filename)]
    place = f" (line {places[-1].lineno} of {places[-1].filename})" if places else ""
    return f"{type(error).__name__}{f': {text}' if text else ''}{place}"


def _found(names: list[str], where: str) -> object:
    found: object = _module(names[0], where)
    if found is None:
        raise CallerError(f"{where}: found no module {names[0]!r}, neither installed nor in {Path.cwd()}")
    for count, name in enumerate(names[1:], start=1):
        if not hasattr(found, name):
            below = _module(".".join(names[: count + 1]), where) if _is_package(found) else None
            if below is None:
                raise CallerError(f"{where}: {'.'.join(names[:count])} has no {name!r}, got {'.'.join(names)!r}")
            found = below
        else:
            found = getattr(found, name)
    return found


def _module(name: str, where: str) -> ModuleType | None:
    """Imported module; None where there is none of that name."""
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and error.name == name:
            return None
        raise CallerError(f"{where}: importing {name} failed with {told(error)}") from error


def _is_package(found: object) -> bool:
    return isinstance(found, ModuleType) and hasattr(found, "__path__")


def _is_callers(filename: str) -> bool:
    """Whether a file is neither Python's, nor an installed package's, nor this module."""
    path = Path(filename)
    installed = {"site-packages", "dist-packages"} & set(path.parts) or filename.startswith("<")
    return not installed and filename != __file__ and not path.is_relative_to(sysconfig.get_paths()["stdlib"])


def _kind(found: object) -> str:
    return "a module" if isinstance(found, ModuleType) else f"of type {type(found).__name__}"
