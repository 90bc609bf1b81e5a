"""Passwords in the addresses that a command is given: used, and neither shown nor stored nor handed on.

They leave the addresses before anything else looks at those, and go where libpq takes them from: $PGPASSWORD.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from noise_search.cli.running import STORE_VARIABLE
from noise_search.urls import password_of, without_password

PASSWORD_VARIABLE = "PGPASSWORD"  # noqa: S105  # the name of the variable
_STORE = re.compile(r"\+*store(\.url)?=.*://")  # store.url=URL and store={url: URL}


@contextmanager
def passwords_apart(options: argparse.Namespace, rest: Sequence[str]) -> Iterator[list[str]]:
    """Take the password out of `--store`, $NOISE_SEARCH_STORE and an override `store.url`; gives the overrides.

    The password of the address that is used goes into the environment for as long as the block lasts.
    """
    before = {name: os.environ.get(name) for name in (STORE_VARIABLE, PASSWORD_VARIABLE)}
    overrides = [word for word in rest if _STORE.match(word)]
    given = [options.store, *reversed(overrides), before[STORE_VARIABLE]]
    used = next((address for address in given if address is not None), None)
    if used is not None and (password := password_of(used)) is not None:
        os.environ[PASSWORD_VARIABLE] = password
    options.store = options.store and without_password(options.store)
    if before[STORE_VARIABLE] is not None:
        os.environ[STORE_VARIABLE] = without_password(before[STORE_VARIABLE] or "")
    try:
        yield [without_password(word) for word in rest]
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def log_without_passwords(level: int) -> None:
    """Log to standard error, from `level` on; an address in a message or traceback loses its password."""
    logging.basicConfig(level=level, stream=sys.stderr, force=True)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(_Discreet(logging.BASIC_FORMAT) if level < logging.WARNING else _Brief())


class _Discreet(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """The line, with whatever else belongs to it."""
        return without_password(super().format(record))


class _Brief(_Discreet):
    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # as logging has it
        """The line as people read it: `warning: ...`."""
        return f"{record.levelname.lower()}: {record.message}"
