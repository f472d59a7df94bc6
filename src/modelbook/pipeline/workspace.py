"""The DVC side of a project: its settings, its locks, and the data files that it tracks."""

import logging
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any

import orjson

from modelbook.errors import ModelbookError, ProjectBusyError, UsageError
from modelbook.files import storage_errors
from modelbook.logs import PipelineLogger
from modelbook.pipeline import layout

_LOCK = ".dvc/tmp/lock"
_RWLOCK = ".dvc/tmp/rwlock"
_LOOK_EVERY_S = 1.0


def create_workspace(root: Path, *, tracked: Path, has_git: bool) -> None:
    """Set DVC up in a folder that is the root of a git repository, and put one data file into its care.

    DVC keeps a cache outside the project under a name made from the project's path; that one is taken away
    again, so that a folder which is renamed afterwards leaves nothing behind.

    Args:
        root: The folder.
        tracked: A file in it; `<file>.dvc` and an entry in .gitignore appear beside it.
        has_git: Whether the folder is a git repository; DVC then works with it.

    Raises:
        StorageError: The folder cannot be written or the disk is full.
        ModelbookError: DVC refused.
    """
    from dvc.repo import Repo

    with dvc_errors(root):
        repo = Repo.init(str(root), no_scm=not has_git)
        with repo.config.edit() as settings:
            settings["core"]["analytics"] = False
        repo.add(str(tracked))
        repo.close()
        shutil.rmtree(repo.site_cache_dir, ignore_errors=True)


def track(root: Path, path: Path) -> None:
    """Bring DVC's record of a data file, `<file>.dvc` beside it, up to what the file now holds.

    Args:
        root: The project's folder.
        path: The file.

    Raises:
        StorageError: The folder cannot be written or the disk is full.
        ModelbookError: DVC refused.
    """
    from dvc.repo import Repo

    with dvc_errors(path), Repo(str(root)) as repo:
        repo.add(str(path))


def mend_lock(root: Path) -> None:
    """See to it that DVC can read dvc.lock and the file in which it notes who uses what.

    DVC writes both in place, often in a run, and refuses every command once a process was killed while it
    did. An empty dvc.lock is taken away: DVC then looks at each stage anew and restores what its cache has.

    Args:
        root: The project's folder.
    """
    lock = root / layout.LOCK
    if lock.is_file() and not lock.stat().st_size:
        lock.unlink(missing_ok=True)
    path = root / _RWLOCK
    if _is_whole(path):
        return
    from dvc.lock import LockError, make_lock

    # Whoever writes it at this moment holds the guard.
    with suppress(LockError), make_lock(f"{path}.lock", tmp_dir=str(path.parent)):
        if not _is_whole(path):
            path.unlink()


@contextmanager
def keep_dvc_out(root: Path, *, is_waiting: bool = False) -> Iterator[None]:
    """Hold DVC's own lock of a project, where it has one, once no other process has DVC at work there.

    While `dvc repro` runs a stage it gives its lock away, and notes down in a file who uses what. The lock
    ends with the process that holds it.

    Args:
        root: The project's folder.
        is_waiting: Whether to wait for DVC instead of giving up.

    Raises:
        ProjectBusyError: Another process has DVC at work there.
        StorageError: The project's folder cannot be written.
        ModelbookError: DVC's settings cannot be read.
    """
    if not (root / ".dvc").is_dir():
        yield
        return
    with dvc_errors(root):
        lock = _dvc_lock(root, is_waiting=is_waiting)
        lock.lock()
    said = None
    while (user := _user_of_dvc(root)) is not None:
        lock.unlock()
        if not is_waiting:
            raise _busy(root, user)
        if user != said:
            PipelineLogger("run").info(f"waiting for DVC, which is at work in the project: {user}")
            said = user
        time.sleep(_LOOK_EVERY_S)
        lock.lock()
    try:
        yield
    finally:
        lock.unlock()


def _dvc_lock(root: Path, *, is_waiting: bool) -> Any:
    """Return the lock that DVC holds but while a stage runs, unless it outlives a process that is killed."""
    from dvc.config import Config as DvcConfig
    from dvc.lock import LockNoop, make_lock

    if DvcConfig(str(root / ".dvc"))["core"].get("hardlink_lock"):
        return LockNoop()
    (root / _LOCK).parent.mkdir(exist_ok=True)
    return make_lock(str(root / _LOCK), wait=is_waiting)


def _user_of_dvc(root: Path) -> str | None:
    """Return which other living process uses files of a project by way of DVC, as DVC notes it."""
    with suppress(FileNotFoundError, orjson.JSONDecodeError):
        notes = orjson.loads((root / _RWLOCK).read_bytes())
        users = [*notes.get("write", {}).values(), *chain.from_iterable(notes.get("read", {}).values())]
        others = (user for user in users if user["pid"] != os.getpid() and _is_alive(user["pid"]))
        return next((f"pid {user['pid']}: {user['cmd']}" for user in others), None)
    return None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True


def _busy(root: Path, got: str) -> ProjectBusyError:
    return ProjectBusyError(
        "DVC is at work in the project",
        where=str(root),
        got=" ".join(got.split()),
        hint="wait for it to end, or run with --wait; if there is no such process, remove .dvc/tmp/rwlock",
    )


def _is_whole(path: Path) -> bool:
    try:
        orjson.loads(path.read_bytes())
    except FileNotFoundError:
        return True
    except orjson.JSONDecodeError:
        return False
    return True


@contextmanager
def dvc_errors(place: Path) -> Iterator[None]:
    """Keep DVC from printing, and raise what it raises as errors of ours."""
    from dvc.exceptions import DvcException, NotDvcRepoError
    from dvc.lock import LockError

    logger = logging.getLogger("dvc")
    level: Any = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with storage_errors(place):
            yield
    except NotDvcRepoError as error:
        raise UsageError(
            "the project is not under DVC's care",
            where=str(place),
            hint="run with --no-dvc, or set DVC up there with `dvc init`",
        ) from error
    except DvcException as error:
        for said in (error, error.__cause__):
            if isinstance(said, LockError):
                raise _busy(place, str(said)) from error
        hint = "`dvc doctor` says what DVC finds on this machine"
        got = f"{error}: {error.__cause__}" if error.__cause__ else str(error)
        raise ModelbookError("DVC refused", where=str(place), got=got, hint=hint) from error
    finally:
        logger.setLevel(level)
