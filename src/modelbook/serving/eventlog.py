"""What a server itself has to say, as lines of JSON beside those of its requests."""

import logging
from datetime import UTC, datetime
from typing import TextIO

import orjson

_LEVELS = {"modelbook": logging.INFO, "uvicorn.error": logging.WARNING}


class EventLog(logging.Handler):
    """Writes each message as one line of JSON.

    Args:
        stream: Where to.

    Example:
        >>> import sys
        >>> log = EventLog(sys.stdout)
        >>> log.emit(logging.LogRecord("modelbook.serve", 20, "", 0, "3 answers now", (), None))
        {"time":"...","level":"info","source":"modelbook.serve","message":"3 answers now"}
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream

    def emit(self, record: logging.LogRecord) -> None:
        """Write a message; where nobody can read it that is no reason to stop answering."""
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname.lower(),
            "source": record.name,
            "message": record.getMessage(),
        }
        try:
            self._stream.write(f"{orjson.dumps(fields, option=orjson.OPT_UTC_Z).decode()}\n")
            self._stream.flush()
        except (OSError, ValueError):
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's own name)
        """Go on."""


def write_events(stream: TextIO) -> None:
    """Let what this process and its web server say go to a stream, and nowhere else."""
    for name, level in _LEVELS.items():
        logger = logging.getLogger(name)
        logger.handlers = [EventLog(stream)]
        logger.propagate = False
        if logger.level == logging.NOTSET:
            logger.setLevel(level)
