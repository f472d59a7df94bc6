"""Connections on which clients dawdle, cut: uvicorn alone would wait for them for ever."""

from enum import Enum
from typing import Any

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

READ_TIMEOUT = "read_timeout_s"
NOTE_CUT = "note_cut"
_LOOKS_PER_TIMEOUT = 4
_GRACE_S = 0.5  # in which the application says 408 itself
_HEAD_BYTES = 65_536
_CUT = b"%bconnection: close\r\ncontent-length: 0\r\nx-modelbook-version: %b\r\n\r\n"


class _Waiting(Enum):
    NOTHING = 0
    HEAD = 1
    BODY = 2


class CuttingProtocol(HttpToolsProtocol):
    """HTTP as uvicorn speaks it, to clients that keep up.

    A connection is looked at a few times in each timeout, so that a request costs no timer of its own. It is
    cut when the head or the body of a request takes longer than the timeout, when an answer is not taken
    away at all in that time, and when a head, or what follows the last chunk of a body, is larger than
    64 KiB. The application's lifespan says how long the timeout is, as `read_timeout_s` of its state; its
    `note_cut` is told the status that a client gets, and says which version answers.

    A client that would rather speak another protocol (Java's and curl's offer HTTP/2 in their first request)
    is answered as if it had not said so.
    """

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._timeout_s: float = self.app_state.get(READ_TIMEOUT, 10.0)
        self._note_cut = self.app_state.get(NOTE_CUT, lambda _: b"none")
        self._waiting = _Waiting.HEAD
        self._since = self.loop.time()
        self._head_bytes = 0
        self._has_other = False
        self._left = self._left_since = 0.0
        self._look_later()

    def connection_lost(self, exc: Exception | None) -> None:
        """Look no more."""
        self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came, unless it is more of a head than there may be."""
        self._has_other = False
        self._unset_keepalive_if_required()
        try:
            self._parse(data)
        except HttpParserError:
            self._cut(400)
            return
        if self._waiting is _Waiting.NOTHING and not self._has_other and self.cycle.response_complete:
            self._waiting, self._since = _Waiting.HEAD, self.loop.time()  # line ends begin a head, too
        if self._waiting is not _Waiting.NOTHING and not self._has_other:
            self._head_bytes += len(data)
            if self._head_bytes > _HEAD_BYTES and not self.transport.is_closing():
                self._cut(431)

    def on_message_begin(self) -> None:
        """Expect a head."""
        super().on_message_begin()
        self._waiting, self._since, self._head_bytes = _Waiting.HEAD, self.loop.time(), 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take what a head holds, and nothing of what may follow a body: nobody asks for it."""
        if self._waiting is _Waiting.HEAD:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Expect a body."""
        if self.parser.should_upgrade():
            return
        super().on_headers_complete()
        self._waiting, self._since, self._head_bytes = _Waiting.BODY, self.loop.time(), 0

    def on_body(self, body: bytes) -> None:
        """Take a part of a body, whose size the application bounds."""
        self._has_other, self._head_bytes = True, 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Expect nothing: the next request has its own time."""
        if self.parser.should_upgrade():
            return
        self._waiting, self._has_other = _Waiting.NOTHING, True
        super().on_message_complete()

    def _parse(self, data: bytes) -> None:
        """Parse what came; a head that asks for another protocol is parsed again without its wish.

        httptools takes such a head for a whole request, and its body for the next one.
        """
        while data:
            try:
                self.parser.feed_data(data)
            except HttpParserUpgrade as upgrade:
                if self.parser.get_method() == b"CONNECT":
                    raise HttpParserError("this is no proxy") from None
                (end_of_head,) = upgrade.args
                data = self._head_without_wish() + data[end_of_head:]
                self.parser = HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn has it
            else:
                return

    def _head_without_wish(self) -> bytes:
        first = b"%b %b HTTP/%b" % (
            self.parser.get_method(),
            self.url,
            self.parser.get_http_version().encode(),
        )
        others = [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join([first, *others, b"", b""])

    def _look_later(self) -> None:
        self._timer = self.loop.call_later(self._timeout_s / _LOOKS_PER_TIMEOUT, self._look)

    def _look(self) -> None:
        if self.transport is None or self.transport.is_closing():
            return
        now = self.loop.time()
        if self._waiting is not _Waiting.NOTHING and now - self._since > self._timeout_s + _GRACE_S:
            self._cut(408)
        elif self._is_stuck(now):
            self.transport.abort()
        else:
            self._look_later()

    def _cut(self, status: int) -> None:
        """End the connection, with an answer where it cannot be taken for that to a former request."""
        cycle, is_body = self.cycle, self._waiting is _Waiting.BODY
        if cycle is None or (not cycle.response_started if is_body else cycle.response_complete):
            self.transport.write(_CUT % (STATUS_LINE[status], self._note_cut(status)))
        self.transport.close()

    def _is_stuck(self, now: float) -> bool:
        """Return whether nothing of an answer was taken away for as long as the timeout."""
        left = self.transport.get_write_buffer_size()
        if left == 0 or left != self._left:
            self._left, self._left_since = left, now
        return left > 0 and now - self._left_since > self._timeout_s
