"""URLs as they may be shown: without their passwords."""

from __future__ import annotations

import re
from urllib.parse import unquote

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_USER = re.compile(r"(://[^:/@\s]*):([^@\s]*)@")
_QUERY = re.compile(r"([?&])(?:(?:ssl)?password=[^&\s]*(&|(?=\s)|$))+", re.IGNORECASE)


def scheme_of(text: str) -> str | None:
    """Scheme of a URL; None of what is none.

    >>> scheme_of("postgresql://db/noise"), scheme_of("./runs")
    ('postgresql', None)
    """
    match = _SCHEME.match(text)
    return match and match[1]


def without_password(text: str) -> str:
    """`text` without the passwords of the URLs in it.

    >>> without_password("postgresql://me:secret@db/noise?password=other&sslmode=require"), without_password("./runs")
    ('postgresql://me@db/noise?sslmode=require', './runs')
    """
    return _QUERY.sub(lambda found: found[1] if found[2] else "", _USER.sub(r"\1@", text))


def password_of(url: str) -> str | None:
    """Password that a URL holds before its host; None where it holds none.

    >>> password_of("postgresql://me:se%20cret@db/noise")
    'se cret'
    """
    match = _USER.search(url)
    return unquote(match[2]) if match else None
