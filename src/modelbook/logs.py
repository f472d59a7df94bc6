"""The log of a stage: to logs/<stage>_<stamp>.log, and to whoever listens to the logger `modelbook`."""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from modelbook.config import Config
from modelbook.files import storage_errors

STAMP = "%Y%m%d_%H%M%S"
_WHOLE_FROM = 1000


def now() -> datetime:
    """Return the current time with the local time zone."""
    return datetime.now().astimezone()


class PipelineLogger:
    """Writes what a stage does, in lines that people and `grep` can read.

    Args:
        source: The stage's name, or a Config: then the stage is "pipeline" and the log goes to the
            project's logs folder.
        folder: Where the log file goes; None writes none.
        clock: Says what time it is.

    Example:
        >>> log = PipelineLogger("training")
        >>> log.stage_start("Training")
        >>> log.metric("RMSE", 48677.2)
    """

    def __init__(
        self,
        source: str | Config,
        *,
        folder: Path | None = None,
        clock: Callable[[], datetime] = now,
    ) -> None:
        self.stage = source if isinstance(source, str) else "pipeline"
        self.folder = source.path("logs") if isinstance(source, Config) else folder
        self._clock = clock
        self._path: Path | None = None
        self._logger = logging.getLogger(f"modelbook.{self.stage}")

    def stage_start(self, title: str) -> None:
        """Say that a stage begins."""
        self.info(f"========== STAGE: {title} - STARTED ==========")

    def stage_end(self, title: str) -> None:
        """Say that a stage is done."""
        self.info(f"========== STAGE: {title} - COMPLETED ==========")

    def metric(self, name: str, value: float) -> None:
        """Say what a metric came to."""
        self.info(f"METRIC | {name}: {format_number(value)}")

    def info(self, message: str) -> None:
        """Say what is going on."""
        self._write(logging.INFO, message)

    def warning(self, message: str) -> None:
        """Say what deserves a look."""
        self._write(logging.WARNING, message)

    def error(self, message: str) -> None:
        """Say what failed."""
        self._write(logging.ERROR, message)

    def _write(self, level: int, message: str) -> None:
        self._logger.log(level, message)
        if self.folder is None:
            return
        moment = self._clock()
        if self._path is None:
            self._path = self.folder / f"{self.stage}_{moment.strftime(STAMP)}.log"
        line = f"{moment.isoformat(timespec='milliseconds')} {logging.getLevelName(level):<7} {message}\n"
        with storage_errors(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(line)


def format_number(value: float) -> str:
    """Return a number as people read it: whole from 1,000 on, four significant digits below.

    Example:
        >>> format_number(48677.2), format_number(0.812345)
        ('48677', '0.8123')
    """
    return f"{value:.0f}" if abs(value) >= _WHOLE_FROM else f"{value:.4g}"


def format_age(age: timedelta) -> str:
    """Return how long ago something was, in the largest whole unit.

    Example:
        >>> format_age(timedelta(hours=50)), format_age(timedelta(seconds=30))
        ('2 d', '30 s')
    """
    seconds = max(int(age.total_seconds()), 0)
    for name, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {name}"
    return f"{seconds} s"
