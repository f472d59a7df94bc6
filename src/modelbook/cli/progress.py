"""What the stages log, on stderr with the time since the start: alive on a terminal, lines elsewhere."""

import logging
import os
import sys
import time
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_COLOURS = {"WARNING": "yellow", "ERROR": "red"}


class PlainProgress(logging.Handler):
    """Prints each message as a line."""

    def __init__(self) -> None:
        super().__init__()
        self._start = time.monotonic()

    def emit(self, record: logging.LogRecord) -> None:
        """Print a message, and warnings and errors as what they are."""
        label = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        self.show(f"{time.monotonic() - self._start:6.1f}s  {label}{record.getMessage()}", record)

    def show(self, line: str, record: logging.LogRecord) -> None:
        """Print the line of a message, coloured where that is wanted."""
        colour = False if os.environ.get("NO_COLOR") else None
        typer.secho(line, fg=_COLOURS.get(record.levelname), err=True, color=colour)

    def end(self) -> None:
        """Make way for the result."""


class LiveProgress(PlainProgress):
    """Prints the lines too, and below them what is going on now, with a clock that runs."""

    def __init__(self) -> None:
        super().__init__()
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def show(self, line: str, record: logging.LogRecord) -> None:
        """Print the line of a message and let it stand for what is going on."""
        progress, task = self._started()
        progress.console.print(line, style=_COLOURS.get(record.levelname), markup=False, highlight=False)
        progress.update(task, description=_activity(record.getMessage()))

    def end(self) -> None:
        """Take the running clock away."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _started(self) -> "tuple[Progress, TaskID]":
        if self._progress is None or self._task is None:
            from rich.console import Console
            from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

            columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
            self._progress = Progress(*columns, console=Console(stderr=True, emoji=False), transient=True)
            self._task = self._progress.add_task("", total=None)
            self._progress.start()
        return self._progress, self._task


def _activity(message: str) -> str:
    """Return what a message says is going on: of a stage that starts, its name."""
    return message.strip("= ").removeprefix("STAGE: ").removesuffix(" - STARTED")


def choose_progress() -> PlainProgress:
    """Return what suits stderr: alive on a terminal, lines elsewhere."""
    return LiveProgress() if sys.stderr.isatty() else PlainProgress()
