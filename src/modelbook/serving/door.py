"""The door of the server: who may enter, what each answer says of itself, and what is noted of it."""

import itertools
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from time import perf_counter
from typing import Any

from modelbook.config import ServingConfig
from modelbook.errors import DataError, ModelbookError, NotReadyError
from modelbook.logs import PipelineLogger
from modelbook.serving.accesslog import AccessLog
from modelbook.serving.address import is_loopback
from modelbook.serving.current import Current
from modelbook.serving.incoming import ClientGoneError, Message, Receive
from modelbook.serving.invocations import Invocations
from modelbook.serving.keys import KeyRing
from modelbook.serving.refusal import RequestRefusedError
from modelbook.serving.telemetry import Telemetry

INVOCATIONS = "/invocations"
OPEN_PATHS = frozenset({"/ping", "/health", "/livez", "/readyz"})  # probes have no keys and ask by address
KNOWN_PATHS = OPEN_PATHS | {INVOCATIONS, "/version", "/metrics", "/docs", "/openapi.json"}
_PAGES = frozenset({"/docs", "/openapi.json"})
VISIT = "modelbook.visit"  # where the scope has what is noted of a request
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1", "[::1]"})
_REQUEST_ID = re.compile(rb"[\w.:-]{1,64}")
_GONE = 499  # as nginx logs a client that did not wait

Send = Callable[[Message], Awaitable[None]]
Scope = MutableMapping[str, Any]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = Mapping[bytes, bytes]
Pairs = Sequence[tuple[bytes, bytes]]


class Visit:
    """A request on its way: what is noted of it.

    Attributes:
        request_id: What the client called it, or a name that it was given.
        version: The version that answers.
        status: The status of the answer; 0 before there is one.
        cause: Why it was refused; None where it was not.
        rows: Its rows.
        owner: Whose key it has.
        challenge: How a key is asked for: browsers are to ask for a password where people look.
    """

    __slots__ = ("cause", "challenge", "owner", "request_id", "rows", "start", "status", "version")

    def __init__(self, request_id: bytes, version: bytes, start: float) -> None:
        self.request_id = request_id
        self.version = version
        self.start = start
        self.status = 0
        self.cause: str | None = None
        self.rows: int | None = None
        self.owner: str | None = None
        self.challenge = b"Bearer"

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """What every answer says of itself."""
        return [(b"x-modelbook-version", self.version), (b"x-request-id", self.request_id)]


class Door:
    """The ASGI application that every request passes before FastAPI; invocations go no further.

    They are answered here and not by a route because what FastAPI does around a route takes longer than a
    small model takes to predict.

    Args:
        app: Answers everything but invocations.
        current: The model that answers.
        invocations: Answers invocations.
        settings: Who may enter.
        telemetry: Counts.
        access_log: Notes each request; None notes none.
    """

    def __init__(
        self,
        app: Application,
        *,
        current: Current,
        invocations: Invocations,
        settings: ServingConfig,
        telemetry: Telemetry,
        access_log: AccessLog | None,
    ) -> None:
        self.app = app
        self._current = current
        self._invocations = invocations
        self._telemetry = telemetry
        self._log = access_log
        self._keys = KeyRing(settings.api_keys)
        self._hosts = allowed_hosts(settings)
        self._prefix = secrets.token_hex(4).encode()
        self._numbers = itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or let it through."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        visit = Visit(self._request_id(headers), version_of(self._current), perf_counter())
        try:
            self._admit(headers, scope, visit)
            if scope["path"] == INVOCATIONS:
                content = await self._invocations.answer(
                    scope["method"], headers, receive=receive, noted=visit
                )
                await _respond(send, visit, status=200, content=content)
            else:
                scope[VISIT] = visit
                await self.app(scope, receive, _noting(send, visit))
        except ClientGoneError:
            visit.status, visit.cause = _GONE, "client_gone"
        except Exception as error:  # noqa: BLE001 (whatever happened, the client gets an answer of ours)
            await _refuse(send, visit, as_refusal(error))
        self._note(scope, visit)

    def _request_id(self, headers: Headers) -> bytes:
        given = headers.get(b"x-request-id")
        if given is not None and _REQUEST_ID.fullmatch(given):
            return given
        return b"%b-%x" % (self._prefix, next(self._numbers))

    def _admit(self, headers: Headers, scope: Scope, visit: Visit) -> None:
        if scope["path"] in OPEN_PATHS:
            return
        if self._hosts and _host_of(headers) not in self._hosts:
            raise RequestRefusedError("this server has another name", status=421, cause="host")
        if self._keys:
            visit.owner = self._keys.owner(headers)
            if visit.owner is None:
                if scope["path"] in _PAGES:
                    visit.challenge = b'Basic realm="modelbook"'
                what = "an API key is needed: Authorization: Bearer KEY"
                raise RequestRefusedError(what, status=401, cause="key")

    def _note(self, scope: Scope, visit: Visit) -> None:
        seconds = perf_counter() - visit.start
        path = scope["path"]
        path = path if path in KNOWN_PATHS else "other"
        self._telemetry.answered(path, visit.status, seconds=seconds, cause=visit.cause)
        if self._log is None:
            return
        client = scope.get("client")
        self._log.add(
            {
                "time": None,
                "request_id": visit.request_id.decode(),
                "client": client[0] if client else None,
                "key": visit.owner,
                "method": scope["method"],
                "path": path,
                "status": visit.status,
                "cause": visit.cause,
                "rows": visit.rows,
                "version": visit.version.decode(),
                "ms": round(seconds * 1000, 3),
            }
        )


def allowed_hosts(settings: ServingConfig) -> frozenset[str]:
    """Return the names that clients may ask for, in lower case; none where any will do.

    Example:
        >>> sorted(allowed_hosts(ServingConfig(allowed_hosts=["Models.example"])))
        ['models.example']
        >>> allowed_hosts(ServingConfig(host="0.0.0.0"))
        frozenset()
    """
    if settings.allowed_hosts:
        return frozenset(name.lower() for name in settings.allowed_hosts)
    host = settings.host.lower()
    return LOOPBACK | {host, f"[{host}]"} if is_loopback(host) else frozenset()


def version_of(current: Current) -> bytes:
    """Return the version that answers, as answers name it.

    Example:
        >>> version_of(Current())
        b'none'
    """
    return b"none" if current.serving is None else current.serving.version.encode()


def as_refusal(error: Exception) -> RequestRefusedError:
    """Return what a client is told of an error: nothing that could quote a row."""
    if isinstance(error, RequestRefusedError):
        return error
    if isinstance(error, NotReadyError):
        return RequestRefusedError(error.what, status=503, cause="not_ready", retry_after_s=1)
    if isinstance(error, DataError):
        return RequestRefusedError(error.what, cause="rows")
    what = error.what if isinstance(error, ModelbookError) else type(error).__name__
    PipelineLogger("serve").error(f"a request failed: {what}")
    return RequestRefusedError("the model failed on the rows", status=500, cause="model")


def _host_of(headers: Headers) -> str:
    """Return the name that a client asks for, without the port.

    Example:
        >>> _host_of({b"host": b"[::1]:5001"}), _host_of({b"host": b"localhost:5001"})
        ('[::1]', 'localhost')
    """
    host = headers.get(b"host", b"").decode("latin-1").lower()
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host


def _noting(send: Send, visit: Visit) -> Send:
    async def noting(message: Message) -> None:
        if message["type"] == "http.response.start":
            visit.status = message["status"]
            message["headers"] = [*message["headers"], *visit.headers]
        await send(message)

    return noting


async def _refuse(send: Send, visit: Visit, refusal: RequestRefusedError) -> None:
    visit.cause = refusal.cause
    if visit.status:  # the answer was begun: all that is left is to end it
        return
    extra: list[tuple[bytes, bytes]] = []
    if refusal.retry_after_s is not None:
        extra.append((b"retry-after", str(refusal.retry_after_s).encode()))
    if refusal.status == 401:  # noqa: PLR2004 (the status that asks for a key)
        extra.append((b"www-authenticate", visit.challenge))
    if refusal.status == 405:  # noqa: PLR2004 (the status that names the right method)
        extra.append((b"allow", b"POST"))
    content = refusal.body(visit.request_id.decode())
    await _respond(send, visit, status=refusal.status, content=content, extra=extra)


async def _respond(send: Send, visit: Visit, *, status: int, content: bytes, extra: Pairs = ()) -> None:
    visit.status = status
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(content)),
        *visit.headers,
        *extra,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
