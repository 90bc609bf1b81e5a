"""The one class of error for callers' mistakes, and the words such errors use."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class CallerError(ValueError):
    """A mistake of the caller: bad configuration, card, name or path.

    The command line prints each of `mistakes` on a line of its own and exits with 2.

    >>> CallerError("train.epochs: expected at least 1, got 0").mistakes
    ('train.epochs: expected at least 1, got 0',)
    """

    def __init__(self, *mistakes: str) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


def expected_one_of(where: str, allowed: Iterable[str], got: object) -> str:
    """Message for a name that is not in a registry, with the nearest one when there is one.

    >>> expected_one_of("noise.kind", ["gaussian", "mixup"], "gausian")
    "noise.kind: expected one of ['gaussian', 'mixup'], got 'gausian'; did you mean 'gaussian'?"
    """
    names = sorted(allowed)
    near = difflib.get_close_matches(got, names, n=1) if isinstance(got, str) else []
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"{where}: expected one of {names}, got {got!r}{hint}"


def installs(extra: str) -> str:
    """What installs an optional part: its pinned versions are in a clone of the project.

    >>> installs("ray")
    "in a clone of the project: scripts/install ray, or pip install -c constraints.txt -e '.[ray]'"
    """
    return f"in a clone of the project: scripts/install {extra}, or pip install -c constraints.txt -e '.[{extra}]'"


def raise_if_any(mistakes: Sequence[str]) -> None:
    """Raise one `CallerError` holding every mistake; do nothing for an empty list."""
    if mistakes:
        raise CallerError(*mistakes)
