"""Nobody to tell of progress."""

from __future__ import annotations


class Silent:
    """Reporter that shows nothing."""

    def begin(self, total: int, done: int) -> None:
        """Nothing."""

    def advance(self, epochs: int) -> None:
        """Nothing."""

    def message(self, text: str) -> None:
        """Nothing."""
