"""The body of a request, taken in within limits of number, size and time, and decompressed."""

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from modelbook.serving.refusal import RequestRefusedError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

_GZIP = 16 + zlib.MAX_WBITS
_ENCODINGS = {b"gzip": _GZIP, b"x-gzip": _GZIP, b"deflate": zlib.MAX_WBITS}


class ClientGoneError(Exception):
    """Nobody waits for the answer any more."""


class Intake:
    """Takes in the bodies of requests; of those that come in parts only so many at once.

    A body that is there as a whole needs no place, so that clients who dawdle keep no small one waiting, and
    what all of them together take of the memory is bounded.

    Args:
        limit_bytes: The size of a body.
        timeout_s: The time that its parts may take.
        places: How many bodies may be under way.
    """

    def __init__(self, *, limit_bytes: int, timeout_s: float, places: int) -> None:
        self._limit_bytes, self._timeout_s, self._places = limit_bytes, timeout_s, places
        self._under_way = 0

    async def take(self, receive: Receive, headers: Mapping[bytes, bytes]) -> bytes:
        """Return the body of a request as it came.

        Raises:
            RequestRefusedError: It is too large or takes too long, or too many are under way.
            ClientGoneError: The client went away.
        """
        _check_length(headers.get(b"content-length"), self._limit_bytes)
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        body: bytes = message.get("body", b"")
        if message.get("more_body"):
            return await self._take_parts(receive, bytearray(body))
        if len(body) > self._limit_bytes:
            raise _too_large(self._limit_bytes)
        return body

    async def _take_parts(self, receive: Receive, body: bytearray) -> bytes:
        if self._under_way >= self._places:
            what = "the server takes in as many bodies as it may"
            raise RequestRefusedError(what, status=503, cause="busy", retry_after_s=1)
        self._under_way += 1
        try:
            async with asyncio.timeout(self._timeout_s):
                return await _take_rest(receive, body, self._limit_bytes)
        except TimeoutError:
            what = f"the body did not arrive within {self._timeout_s:g} s"
            raise RequestRefusedError(what, status=408, cause="slow_client") from None
        finally:
            self._under_way -= 1


def decompressed(body: bytes, encoding: bytes, *, limit_bytes: int) -> bytes:
    """Return a body decompressed, without ever holding more than the limit.

    Raises:
        RequestRefusedError: It is larger, cut off, or compressed in another way.

    Example:
        >>> decompressed(zlib.compress(b"rows"), b"deflate", limit_bytes=100)
        b'rows'
    """
    name = encoding.strip().lower()
    if name in {b"", b"identity"}:
        return body
    if name not in _ENCODINGS:
        raise RequestRefusedError(
            "the only encodings taken are gzip and deflate", status=415, cause="encoding"
        )
    stream = zlib.decompressobj(_ENCODINGS[name])
    try:
        content = stream.decompress(body, limit_bytes + 1)
    except zlib.error:
        raise RequestRefusedError("the body cannot be decompressed", cause="encoding") from None
    if len(content) > limit_bytes:
        raise _too_large(limit_bytes)
    if not stream.eof or stream.unused_data:
        raise RequestRefusedError("the body cannot be decompressed", cause="encoding")
    return content


async def _take_rest(receive: Receive, body: bytearray, limit_bytes: int) -> bytes:
    has_more = True
    while has_more:
        if len(body) > limit_bytes:
            raise _too_large(limit_bytes)
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        body += message.get("body", b"")
        has_more = message.get("more_body", False)
    if len(body) > limit_bytes:
        raise _too_large(limit_bytes)
    return bytes(body)


def _check_length(header: bytes | None, limit_bytes: int) -> None:
    if header is None:
        return
    if not header.isdigit():
        raise RequestRefusedError("the content length is no number")
    if len(header) > len(str(limit_bytes)) or int(header) > limit_bytes:
        raise _too_large(limit_bytes)


def _too_large(limit_bytes: int) -> RequestRefusedError:
    what = f"the body is larger than {limit_bytes:,} bytes"
    return RequestRefusedError(what, status=413, cause="too_large")
