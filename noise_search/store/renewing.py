"""Renewing a lease again and again, while whoever holds it works."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from sqlalchemy.exc import DBAPIError

from noise_search.store.leases import LeaseLost
from noise_search.store.patience import in_one_line, is_lost

_log = logging.getLogger(__name__)
LOST_PAUSE_SECONDS = 2.0  # between tries while the server is lost


class Renewal:
    """Renews a lease every third of its time, on a daemon thread, until `end` or until it is lost.

    Args:
        renew: One transaction.
        lease_seconds: For which each renewal is good.
        what: Name of the thread.
    """

    def __init__(self, renew: Callable[[], None], lease_seconds: float, what: str) -> None:
        self._renew, self._pause = renew, lease_seconds / 3
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=what, daemon=True)
        self._thread.start()

    def is_alive(self) -> bool:
        """Whether it goes on."""
        return self._thread.is_alive()

    def end(self) -> None:
        """Renew no more; returns when a renewal under way has come to its end."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        pause = self._pause
        while not self._ended.wait(pause):
            try:
                self._renew()
                pause = self._pause
            except LeaseLost as error:
                _log.warning("%s", error)
                return
            except DBAPIError as error:
                # The disk may be full, the database blocked, the server lost; the lease outlasts some tries.
                # Of a server that is lost whoever waits for it warns, once.
                level = logging.INFO if is_lost(error) else logging.WARNING
                _log.log(level, "the lease cannot be renewed, trying again: %s", in_one_line(error))
                pause = min(self._pause, LOST_PAUSE_SECONDS) if is_lost(error) else self._pause
