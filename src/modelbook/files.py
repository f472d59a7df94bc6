"""Files, each whole or absent: written aside, synced to disk and renamed into place."""

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelbook.errors import StorageError

_CHUNK_BYTES = 1 << 20


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path that takes the place of `path` on leaving, and vanishes on an exception.

    The file is complete on disk before it gets its name, so a killed process or a full disk leaves the former
    one untouched. Parent folders are made.

    Raises:
        StorageError: The folder cannot be written or the disk is full.

    Example:
        >>> target = Path(tempfile.mkdtemp()) / "a.txt"
        >>> with whole_file(target) as temporary:
        ...     _ = temporary.write_text("whole")
        >>> target.read_text()
        'whole'
    """
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        os.close(handle)
    temporary = Path(name)
    try:
        with storage_errors(path):
            yield temporary
            _sync(temporary)
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
            _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


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
    with storage_errors(destination):
        destination.parent.mkdir(parents=True, exist_ok=True)
        destination.unlink(missing_ok=True)
        try:
            os.link(source, destination)
        except OSError:
            with whole_file(destination) as temporary:
                shutil.copyfile(source, temporary)


def file_hash(path: Path, algorithm: str = "sha256") -> str:
    """Return the hexadecimal hash of a file's bytes; with `md5` this is the hash that DVC gives it.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(
            file, lambda: hashlib.new(algorithm, usedforsecurity=False), _bufsize=_CHUNK_BYTES
        ).hexdigest()


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn what the operating system says about a file that cannot be written into a StorageError."""
    try:
        yield
    except OSError as error:
        hints = {
            errno.ENOSPC: "free some space and run the command again; nothing was left half written",
            errno.EDQUOT: "free some space and run the command again; nothing was left half written",
            errno.EACCES: "give yourself write permission there, or work in another folder",
            errno.EPERM: "give yourself write permission there, or work in another folder",
            errno.EROFS: "the file system is read-only: work in another folder",
            errno.ENOTDIR: "there is a file where a folder should be: move it, or work in another folder",
            errno.EEXIST: "there is a file where a folder should be: move it, or work in another folder",
        }
        if error.errno not in hints:
            raise
        raise StorageError(
            "a file cannot be written",
            where=str(path),
            got=os.strerror(error.errno or 0),
            hint=hints[error.errno],
        ) from error


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
