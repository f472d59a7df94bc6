"""A server on one port: one process, or several of which a dead one is replaced."""

import asyncio
import logging
import os
import secrets
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelbook.config import Config
from modelbook.errors import UsageError
from modelbook.registry.reference import Reference
from modelbook.registry.wanted import Wanted, parse_wanted
from modelbook.serving.current import Current
from modelbook.serving.eventlog import write_events
from modelbook.serving.follow import Follower, make_ready
from modelbook.serving.leaving import GRACE_S, leave_well, leave_with_parent
from modelbook.serving.pool import close_runtime

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

_BACKLOG = 2048
_HEALTH_S = 20  # a busy machine takes a while to begin a worker
_COUNTS = "PROMETHEUS_MULTIPROC_DIR"

MakeApp = Callable[[Current, Config], "ASGIApp"]


def serve(
    ref: str,
    *,
    config: Config,
    make_app: MakeApp,
    told: Callable[[Wanted, str], None] = lambda _, __: None,
) -> None:
    """Answer requests by a registered model until the process is told to end.

    Args:
        ref: The model: `NAME` for what is in production, `NAME@ALIAS` or `NAME/VERSION`.
        config: The project, whose section `serving` says where to listen and in how many processes.
        make_app: Makes the web application of a process; a function of a module.
        told: Told which version is going to answer, and at what address.

    Raises:
        UsageError: The reference is none, or the address is taken or not one of this machine.
        NotFoundError: There is no such model.
        ModelRefusedError: The model is not what was recorded, and no other was verified before.
        TrackingStoreError: The store cannot be used, and no version was verified before.
        StorageError: The project's folder cannot be written or the disk is full.
    """
    reference = parse_wanted(ref)
    settings = config.serving
    with _bound(settings.host, settings.port) as door:
        wanted = make_ready(config, reference)
        _listen(door)
        told(wanted, _address(settings.host, door))
        worker = Worker(config, reference, secrets.token_hex(8), make_app)
        _run(worker, door, workers=settings.workers)


@dataclass(frozen=True)
class Worker:
    """Makes the application of one process; it travels to each.

    Attributes:
        config: The project.
        reference: What is served.
        server: Which start of a server this is.
        make_app: Makes the web application.
    """

    config: Config
    reference: Reference
    server: str
    make_app: MakeApp

    def __call__(self) -> "ASGIApp":
        """Return an application that follows the registry while it lives."""
        write_events(sys.stderr)
        current = Current(alias=self.reference.alias, on_ended=lambda serving: close_runtime(serving.runtime))
        follower = Follower(self.config, self.reference, current, server=self.server)
        return Following(self.make_app(current, self.config), current, follower)


class Following:
    """An application before which a model is in place, and the registry followed until it ends.

    Args:
        app: The application.
        current: What answers.
        follower: Puts versions in place.
    """

    def __init__(self, app: "ASGIApp", current: Current, follower: Follower) -> None:
        self._app, self._current, self._follower = app, current, follower

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answer a request, or live from beginning to end."""
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return
        leave_well(self._current)
        leave_with_parent()
        await asyncio.to_thread(self._follower.look)
        self._follower.start()
        try:
            await self._app(scope, receive, send)
        finally:
            self._follower.stop()
            if (serving := self._current.serving) is not None:
                close_runtime(serving.runtime, is_at_once=True)


def _run(worker: Worker, door: socket.socket, *, workers: int) -> None:
    import uvicorn

    from modelbook.serving.connection import CuttingProtocol
    from modelbook.serving.workers import Workers

    settings = uvicorn.Config(
        worker,  # made into an application in each process
        factory=True,
        workers=workers,
        lifespan="on",
        http=CuttingProtocol,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # a client says who it is by its address alone
        backlog=_BACKLOG,
        timeout_graceful_shutdown=int(GRACE_S),
        timeout_worker_healthcheck=_HEALTH_S,
    )
    if workers > 1:
        logging.getLogger("uvicorn.error").setLevel(logging.INFO)  # it says so quietly that a worker died
        write_events(sys.stderr)
        with _counted_together():
            Workers(settings, [door]).run()
        return
    # uvicorn sends itself the signal again that it ended by; it ended as it was told to.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    uvicorn.Server(settings).run(sockets=[door])


@contextmanager
def _counted_together() -> Iterator[None]:
    """Let each worker write its counts where the others find them, so that any of them tells them all."""
    with tempfile.TemporaryDirectory(prefix="modelbook-metrics-") as folder:
        os.environ[_COUNTS] = folder
        yield


def _bound(host: str, port: int) -> socket.socket:
    """Return a socket that has its address and does not listen yet: nobody waits before there is a model."""
    door = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        door.bind((host, port))
    except OSError as error:
        door.close()
        raise _cannot_listen(host, port, error) from None
    door.set_inheritable(True)
    return door


def _listen(door: socket.socket) -> None:
    """Let requests wait for the workers; of two servers that have bound one address the second is refused."""
    try:
        door.listen(_BACKLOG)
    except OSError as error:
        host, port = door.getsockname()[:2]
        raise _cannot_listen(host, port, error) from None


def _cannot_listen(host: str, port: int, error: OSError) -> UsageError:
    return UsageError(
        "the server cannot listen there",
        where=f"{host}, port {port}",
        got=error.strerror or str(error),
        hint="give another port with --port",
    )


def _address(host: str, door: socket.socket) -> str:
    port = door.getsockname()[1]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
