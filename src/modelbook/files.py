"""Files, each whole or absent: written aside, synced to disk and renamed into place."""

import errno
import hashlib
import os
import re
import secrets
import shutil
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from modelbook.errors import ModelbookError, StorageError

REMOVED = ".removed-"

_FULL = "free some space and run the command again; nothing was left half written"
_CLOSED = "give yourself write permission there, or work in another folder"
_NO_FOLDER = "there is a file where a folder should be: move it, or work in another folder"
_HINTS = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EACCES: _CLOSED,
    errno.EPERM: _CLOSED,
    errno.EROFS: "the file system is read-only: work in another folder",
    errno.ENOTDIR: _NO_FOLDER,
    errno.EEXIST: _NO_FOLDER,
    errno.EISDIR: "there is a folder where the file should be: move it, or work in another folder",
    errno.ENAMETOOLONG: "give it a shorter name, or work in a folder with a shorter path",
}


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path that takes the place of `path` on leaving, and vanishes on an exception.

    The file is complete on disk before it gets its name, so a killed process or a full disk leaves the former
    one untouched. It keeps the permissions of the former one. Parent folders are made. A symbolic link is
    replaced, never written through: it may lead into DVC's cache.

    Raises:
        StorageError: The folder cannot be written or the disk is full.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "a.txt"
        >>> with whole_file(target) as temporary:
        ...     _ = temporary.write_text("whole")
        >>> target.read_text()
        'whole'
    """
    temporary = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            _create(temporary, like=path)
            yield temporary
            sync_to_disk(temporary)
            temporary.replace(path)
            sync_to_disk(path.parent)
    finally:
        with suppress(OSError):
            temporary.unlink()


def write_whole(path: Path, content: bytes) -> None:
    """Write bytes to a file that is then either whole or as it was.

    Raises:
        StorageError: The folder cannot be written or the disk is full.
    """
    with whole_file(path) as temporary:
        temporary.write_bytes(content)


def link_or_copy(source: Path, destination: Path) -> None:
    """Give a file a second place: a hard link where the file system has them, else a copy.

    Neither place may be written to afterwards other than by replacing the file, as `whole_file` does.

    Raises:
        StorageError: The folder cannot be written or the disk is full.
    """
    with whole_file(destination) as temporary:
        temporary.unlink()
        try:
            os.link(source.resolve(), temporary)
        except OSError:
            shutil.copyfile(source, temporary)


def remove_folder(folder: Path) -> None:
    """Remove a folder: at once by a rename, then file by file; what an earlier removal left goes, too.

    Raises:
        StorageError: The folder around it cannot be written.
    """
    gone = folder.with_name(f"{REMOVED}{secrets.token_hex(8)}")
    with storage_errors(folder):
        if folder.is_dir():
            folder.rename(gone)
        for left in folder.parent.glob(f"{REMOVED}*"):
            shutil.rmtree(left, ignore_errors=True)


def free_name(name: str, taken: Collection[str]) -> str:
    """Return a name, with the first free number behind it where it is taken.

    Example:
        >>> free_name("model", {"model", "model_2"})
        'model_3'
    """
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}_{number}"
    return free


def file_hash(path: Path, algorithm: str = "sha256") -> str:
    """Return the hexadecimal hash of a file's bytes; with `md5` this is the hash that DVC gives it.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn what the operating system says about a file that cannot be written into a StorageError."""
    try:
        yield
    except ModelbookError:
        raise
    except Exception as error:
        number = _error_number(error)
        if number not in _HINTS:
            raise
        raise StorageError(
            "a file cannot be written", where=str(path), got=os.strerror(number), hint=_HINTS[number]
        ) from error


def _error_number(error: Exception) -> int | None:
    """Return the operating system's number of an error; libraries written in Rust have it in their text."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    found = re.search(r"\(os error (\d+)\)", str(error))
    return int(found[1]) if found else None


def _create(path: Path, *, like: Path) -> None:
    """Create an empty file with the permissions of another, or with those that a new file gets here."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    if like.is_file():
        path.chmod(stat.S_IMODE(like.stat().st_mode) | stat.S_IWUSR)


def sync_to_disk(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
