"""A model that answers with its own code, in processes that are ended when they take too long.

A thread cannot be ended, and a model's own code may hang, hold the interpreter or take the memory. In a
process of its own it slows no other answer, a request that took too long really ends, and the server itself
never imports scikit-learn.
"""

import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from modelbook.errors import ModelbookError
from modelbook.logs import PipelineLogger
from modelbook.serving.answers import Answer, Rows
from modelbook.serving.apart import ANSWER, ERRORS, READY, Message
from modelbook.serving.golden import read_golden
from modelbook.serving.manifest import Kind, Manifest, read_manifest
from modelbook.serving.runtime import Runtime, open_runtime

_MODULE = "modelbook.serving.apart"
_START_S = 120.0
_RETRY_S = 1.0


class TooLongError(ModelbookError):
    """A model did not answer in time."""

    code = "timeout"


def open_served(folder: Path, *, processes: int) -> Runtime:
    """Return the model of a bundle: compiled in this process, else in others that run its code.

    Args:
        folder: The bundle.
        processes: How many processes answer, where its own code does.

    Raises:
        NotFoundError: There is no bundle.
        ModelRefusedError: A file is missing or another, or the model holds what is not trusted.
        ModelbookError: A process cannot be started.
    """
    manifest = read_manifest(folder)
    if manifest.kind == "compiled":
        return open_runtime(folder)
    return PooledRuntime(folder, manifest, processes=processes)


def close_runtime(runtime: Runtime, *, is_at_once: bool = False) -> None:
    """Let a model that answers no more hold no process; what is under way is completed, or not."""
    if isinstance(runtime, PooledRuntime):
        runtime.close(is_at_once=is_at_once)


class PooledRuntime:
    """Hands rows to processes in which the model's own code answers.

    Args:
        folder: The bundle.
        manifest: What it says of itself.
        processes: How many processes answer.

    Raises:
        ModelRefusedError: The model holds what is not trusted.
        ModelbookError: A process cannot be started.
    """

    kind: Kind = "reference"

    def __init__(self, folder: Path, manifest: Manifest, *, processes: int) -> None:
        self.record = manifest.record
        self.columns = manifest.columns
        self.has_probabilities = manifest.has_probabilities
        self.golden = read_golden(folder)
        self._folder = folder
        self._idle: queue.LifoQueue[_Process] = queue.LifoQueue()
        self._at_work: set[_Process] = set()
        self._is_closed = threading.Event()
        for process in _started(folder, processes):
            self._idle.put(process)

    def predict(self, rows: Rows, *, with_probabilities: bool = False) -> Answer:
        """Return what the model says of rows.

        Raises:
            TooLongError: It took longer than two minutes.
            DataInvalidError: The model does not take such rows.
            ModelbookError: The model failed, or its process ended.
        """
        return self.predict_until(time.monotonic() + _START_S, rows, with_probabilities=with_probabilities)

    def predict_until(self, until: float, rows: Rows, *, with_probabilities: bool = False) -> Answer:
        """Return what the model says of rows, or end it at a time of `time.monotonic`."""
        process = self._take(until)
        self._at_work.add(process)
        try:
            kind, content = process.ask((dict(rows), with_probabilities), until)
        except _GoneError as error:
            self._replace(process)
            raise ModelbookError("the process of the model ended") from error
        except BaseException:  # it may have answered in part: nobody can ask it again
            self._replace(process)
            raise
        finally:
            self._at_work.discard(process)
        self._take_back(process)
        if kind != ANSWER:
            raise ERRORS[kind](**content)
        return Answer(*content)

    def close(self, *, is_at_once: bool = False) -> None:
        """End every process; those at work end when they have answered, or at once."""
        self._is_closed.set()
        with suppress(queue.Empty):
            while True:
                self._idle.get_nowait().end()
        if is_at_once:
            for process in tuple(self._at_work):
                process.kill()

    def _take(self, until: float) -> "_Process":
        """Return a process that is alive; one that died while it had nothing to do costs nobody an answer."""
        while True:
            try:
                process = self._idle.get(timeout=max(until - time.monotonic(), 0))
            except queue.Empty:
                raise TooLongError("no process of the model was free in time") from None
            if process.is_alive:
                return process
            self._replace(process)

    def _take_back(self, process: "_Process") -> None:
        self._idle.put(process)
        if self._is_closed.is_set():
            self.close()

    def _replace(self, process: "_Process") -> None:
        process.end()
        threading.Thread(target=self._start_another, name="modelbook-pool", daemon=True).start()

    def _start_another(self) -> None:
        while not self._is_closed.is_set():
            try:
                (process,) = _started(self._folder, 1)
            except ModelbookError as error:
                PipelineLogger("serve").error(f"a process of the model cannot be started: {error.what}")
                self._is_closed.wait(_RETRY_S)
            else:
                self._take_back(process)
                return


def _started(folder: Path, number: int) -> "list[_Process]":
    """Return processes that are ready, or leave none running."""
    started: list[_Process] = []
    try:
        started.extend(_Process(folder) for _ in range(number))
        for process in started:
            process.await_ready()
    except BaseException as error:
        for process in started:
            process.end()
        if isinstance(error, OSError):
            raise ModelbookError("the machine starts no further process", got=error.strerror) from error
        raise
    return started


class _GoneError(Exception):
    """A process ended by itself."""


class _Process:
    """A process of `modelbook.serving.apart`."""

    def __init__(self, folder: Path) -> None:
        ours, theirs = socket.socketpair()
        self._connection: Connection[Any, Message] = Connection(ours.detach())
        with theirs:
            handle = theirs.fileno()
            self._process = subprocess.Popen(  # noqa: S603 (our own module, in our own interpreter)
                [sys.executable, "-P", "-m", _MODULE, str(folder), str(handle)],
                stdin=subprocess.DEVNULL,
                stdout=sys.__stderr__.fileno() if sys.__stderr__ else subprocess.DEVNULL,
                pass_fds=[handle],
            )

    @property
    def is_alive(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def await_ready(self) -> None:
        """Wait until the model is open."""
        try:
            kind, content = self._receive(time.monotonic() + _START_S)
        except _GoneError:
            raise ModelbookError("the process of the model ended before it was ready") from None
        if kind != READY:
            raise ERRORS[kind](**content)

    def ask(self, question: tuple[Any, ...], until: float) -> Message:
        """Return what the process answers."""
        with self._ended_at(until):
            try:
                self._connection.send(question)
            except OSError as error:
                raise _GoneError from error
            return self._receive(until)

    def kill(self) -> None:
        """Let whoever waits for the process see that it is gone."""
        self._process.kill()

    def end(self) -> None:
        """End the process at once."""
        self._process.kill()
        self._process.wait()
        self._connection.close()

    @contextmanager
    def _ended_at(self, until: float) -> Iterator[None]:
        """Kill the process at a time: whoever waits for one that reads or writes no more waits for ever."""
        guard = threading.Timer(max(until - time.monotonic(), 0), self._process.kill)
        guard.daemon = True
        guard.start()
        try:
            yield
        except _GoneError as error:
            if time.monotonic() >= until:
                raise TooLongError("the model did not answer in time") from error
            raise
        finally:
            guard.cancel()

    def _receive(self, until: float) -> Message:
        if not self._connection.poll(max(until - time.monotonic(), 0)):
            raise TooLongError("the model did not answer in time")
        try:
            message: Message = self._connection.recv()
        except (EOFError, OSError) as error:
            raise _GoneError from error
        return message
