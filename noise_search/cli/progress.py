"""The progress bar of a sweep, on standard error."""

from __future__ import annotations


class Bar:
    """Reporter that moves a bar on standard error, from the first news on."""

    def __init__(self) -> None:
        from rich import progress
        from rich.console import Console

        self._progress = progress.Progress(
            progress.TextColumn("epochs of trials"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TimeElapsedColumn(),
            progress.TimeRemainingColumn(),
            progress.TextColumn("{task.description}"),
            console=Console(stderr=True),
        )
        self._task = self._progress.add_task("", total=None)

    def begin(self, total: int, done: int) -> None:
        """Show the bar."""
        self._progress.update(self._task, total=total, completed=done, description="controls first")
        self._progress.start()

    def advance(self, epochs: int) -> None:
        """Move it."""
        self._progress.advance(self._task, epochs)

    def message(self, text: str) -> None:
        """Say how it stands beside it."""
        self._progress.update(self._task, description=text)

    def say(self, text: str) -> None:
        """Leave a line above it."""
        self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def stop(self) -> None:
        """Take it away."""
        if self._progress.live.is_started:
            self._progress.stop()
