"""One line of JSON for each request, written aside so that a slow reader of the log slows no answer."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from select import PIPE_BUF
from typing import Any, TextIO

import orjson

_MOST_WAITING = 100_000
_EVERY_S = 0.25
_LINE = orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE


class AccessLog:
    """Writes what is known of each request; lines that nobody reads in time are dropped and counted.

    Args:
        stream: Where to.
        on_dropped: Told how many lines had no place, or could not be written.
        clock: Says what time it is.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        on_dropped: Callable[[int], None] = lambda _: None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._stream = stream
        self._on_dropped = on_dropped
        self._clock = clock
        self._waiting: deque[dict[str, Any]] = deque()
        self._is_ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to write."""
        self._is_ended.clear()
        self._thread = threading.Thread(target=self._write_regularly, name="access-log", daemon=True)
        self._thread.start()

    def add(self, fields: dict[str, Any]) -> None:
        """Take what is known of a request."""
        if len(self._waiting) >= _MOST_WAITING:
            self._on_dropped(1)
            return
        fields["time"] = self._clock()
        self._waiting.append(fields)

    def end(self, timeout_s: float = 1.0) -> None:
        """Write what is left, for as long as that may take."""
        self._is_ended.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _write_regularly(self) -> None:
        while not self._is_ended.wait(_EVERY_S):
            self._write()
        self._write()

    def _write(self) -> None:
        for piece in self._pieces():
            try:
                self._stream.write(piece.decode())
                self._stream.flush()
            except (OSError, ValueError):  # a full disk, a reader that is gone
                self._on_dropped(piece.count(b"\n"))

    def _pieces(self) -> Iterator[bytes]:
        """Yield whole lines, as many together as a pipe that workers share takes without breaking them up."""
        piece = b""
        while self._waiting:
            line = orjson.dumps(self._waiting.popleft(), option=_LINE)
            if piece and len(piece) + len(line) > PIPE_BUF:
                yield piece
                piece = b""
            piece += line
        if piece:
            yield piece
