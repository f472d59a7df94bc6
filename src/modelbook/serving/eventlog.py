"""What a server itself has to say, as lines of JSON beside those of its requests.

A thread of its own writes them: whoever reads standard error may stop reading, and a server that waited for
that reader would neither answer nor leave.
"""

import logging
import queue
import threading
from contextlib import suppress
from datetime import UTC, datetime
from typing import TextIO

import orjson

_MOST_WAITING = 10_000
_END_S = 1.0
_LEVELS = {"modelbook": logging.INFO, "uvicorn.error": logging.WARNING}


class EventLog(logging.Handler):
    """Writes each message as one line of JSON, aside; what nobody reads in time is dropped.

    Args:
        stream: Where to.

    Example:
        >>> import sys
        >>> log = EventLog(sys.stdout)
        >>> log.emit(logging.LogRecord("modelbook.serve", 20, "", 0, "3 answers now", (), None))
        >>> log.close()
        {"time":"...","level":"info","source":"modelbook.serve","message":"3 answers now"}
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._waiting: queue.Queue[str | None] = queue.Queue(_MOST_WAITING)
        self._thread = threading.Thread(target=self._write, name="event-log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Take a message; where too many wait that is no reason to stop answering."""
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname.lower(),
            "source": record.name,
            "message": record.getMessage(),
        }
        with suppress(queue.Full):
            self._waiting.put_nowait(f"{orjson.dumps(fields, option=orjson.OPT_UTC_Z).decode()}\n")

    def close(self) -> None:
        """Write what is left, for as long as that may take."""
        with suppress(queue.Full):
            self._waiting.put_nowait(None)
        self._thread.join(_END_S)
        super().close()

    def _write(self) -> None:
        while (line := self._waiting.get()) is not None:
            with suppress(OSError, ValueError):  # a full disk, a reader that is gone
                self._stream.write(line)
                self._stream.flush()


def write_events(stream: TextIO) -> None:
    """Let what this process and its web server say go to a stream, and nowhere else."""
    log = EventLog(stream)
    for name, level in _LEVELS.items():
        logger = logging.getLogger(name)
        logger.handlers = [log]
        logger.propagate = False
        if logger.level == logging.NOTSET:
            logger.setLevel(level)
