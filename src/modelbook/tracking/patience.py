"""MLflow's client with little patience: a call that takes too long is given up.

MLflow tries again for minutes where a server is away, and some of its stores never give up at all. Each call
therefore runs in a thread of its own, which is left behind when its time is over.
"""

import time
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

from modelbook.errors import StoreAwayError

_UPLOADS = frozenset({"log_artifact", "log_artifacts", "log_model_artifacts"})
_SLOWEST_UPLOAD_BYTES_PER_S = 5e6
_LOOK_EVERY_S = 1.0

_T = TypeVar("_T")


class PatientClient:
    """Passes each call on to MLflow's client, and gives it up after a while.

    An upload may take longer than other calls, by its size, for as long as the store goes on answering.

    Args:
        client: MLflow's client.
        limit_s: How long a call may take.
        is_answering: Says whether the store answers at all.
    """

    def __init__(self, client: Any, *, limit_s: float, is_answering: Callable[[], bool]) -> None:
        self._client = client
        self._limit_s = limit_s
        self._is_answering = is_answering

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        return partial(self._call, name, found) if callable(found) else found

    def _call(self, name: str, method: Callable[..., Any], /, *arguments: Any, **options: Any) -> Any:
        longer_s = _size_bytes(Path(arguments[1])) / _SLOWEST_UPLOAD_BYTES_PER_S if name in _UPLOADS else 0.0
        return within(
            partial(method, *arguments, **options),
            limit_s=self._limit_s,
            longer_s=longer_s,
            is_answering=self._is_answering,
        )


def within(
    call: Callable[[], _T], *, limit_s: float, longer_s: float = 0.0, is_answering: Callable[[], bool]
) -> _T:
    """Return what a call returns if it does so in time, and else leave it behind.

    Args:
        call: What to do.
        limit_s: How long it may take.
        longer_s: How much longer it may take while the store answers.
        is_answering: Says whether the store answers.

    Raises:
        StoreAwayError: It took longer.
    """
    future = _begin(call)
    limit = time.monotonic() + limit_s
    # Where it may take longer, whether the store answers is asked early: asking takes seconds by itself.
    is_done = _wait(future, min(limit_s, _LOOK_EVERY_S) if longer_s else limit_s)
    while not is_done and longer_s and time.monotonic() < limit + longer_s and is_answering():
        is_done = _wait(future, _LOOK_EVERY_S)
    is_done = is_done or _wait(future, max(0.0, limit - time.monotonic()))
    if not is_done:
        raise StoreAwayError("the tracking store does not answer in time", got=f"nothing in {limit_s:.0f} s")
    return future.result()


def _begin(call: Callable[[], _T]) -> "Future[_T]":
    future: Future[_T] = Future()
    context = copy_context()

    def work() -> None:
        try:
            future.set_result(context.run(call))
        except BaseException as error:  # noqa: BLE001 (it is raised where the result is awaited)
            future.set_exception(error)

    Thread(target=work, name="modelbook-store", daemon=True).start()
    return future


def _wait(future: "Future[Any]", timeout_s: float) -> bool:
    """Return whether a call is done; an exception of its own is not raised here."""
    try:
        future.exception(timeout_s)
    except TimeoutError:
        return False
    return True


def _size_bytes(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)
