"""The DVC side of a new project: its settings, and the data files that it tracks."""

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import orjson

from modelbook.errors import ModelbookError, UsageError
from modelbook.files import storage_errors
from modelbook.pipeline import layout

_RWLOCK = ".dvc/tmp/rwlock"


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
        hint = "`dvc doctor` says what DVC finds on this machine"
        got = f"{error}: {error.__cause__}" if error.__cause__ else str(error)
        raise ModelbookError("DVC refused", where=str(place), got=got, hint=hint) from error
    finally:
        logger.setLevel(level)
