"""The progress bar of a sweep, on standard error; where that is no terminal, a line now and then in its place."""

from __future__ import annotations

from noise_search.cli.show import duration

_LINES = 10  # of the work from its beginning to its end, where there is no terminal


class Bar:
    """Reporter that moves a bar on standard error, from the first news on.

    Where that is no terminal it leaves a line at each tenth of the work.
    """

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
        self._is_live = self._progress.console.is_terminal
        self._lines = 0  # that were due up to now

    def begin(self, total: int, done: int) -> None:
        """Show the bar."""
        self._progress.update(self._task, total=total, completed=done, description="controls first")
        self._lines = self._due()
        if self._is_live:
            self._progress.start()

    def advance(self, epochs: int) -> None:
        """Move it."""
        self._progress.advance(self._task, epochs)
        if not self._is_live and self._due() > self._lines:
            self._lines = self._due()
            self.say(self._standing())

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

    def _due(self) -> int:
        """Lines that so much work is worth."""
        task = self._progress.tasks[self._task]
        return int(_LINES * task.completed // task.total) if task.total else 0

    def _standing(self) -> str:
        task = self._progress.tasks[self._task]
        done = f"{task.completed:,.0f} of {task.total:,.0f} epochs of trials"
        return f"{done}, {duration(task.elapsed or 0.0)} after the start: {task.description}"
