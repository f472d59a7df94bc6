"""One run at a time in a project."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from modelbook.config import Config
from modelbook.errors import ProjectBusyError
from modelbook.files import storage_errors, write_whole
from modelbook.logs import PipelineLogger
from modelbook.pipeline import layout

_LOCK = f"{layout.LOGS}/run.lock"
_HOLDER = f"{layout.LOGS}/run.holder"


@contextmanager
def hold_project(config: Config, *, command: str, is_waiting: bool = False) -> Iterator[None]:
    """Keep other runs out of a project. The lock ends with the process that holds it, however that ends.

    Args:
        config: The project.
        command: What the holder was started with, for the message that others get.
        is_waiting: Whether to wait for another run instead of giving up.

    Raises:
        ProjectBusyError: Another run holds the project.
        StorageError: The project's folder cannot be written.
    """
    path, holder = config.path(_LOCK), config.path(_HOLDER)
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if not is_waiting:
                raise ProjectBusyError(
                    "another run holds the project",
                    where=str(config.root),
                    got=_said_by(holder),
                    hint="wait for it to end, or run the command with --wait",
                ) from None
            PipelineLogger("run").info(f"waiting for the run that holds the project: {_said_by(holder)}")
            lock.acquire()
    try:
        write_whole(holder, f"pid {os.getpid()}: {command}".encode())
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _said_by(holder: Path) -> str:
    """Return what the holder said of itself; it may have ended, or not have said it yet."""
    try:
        return holder.read_text(encoding="utf-8")
    except OSError:
        return "it did not say which"
