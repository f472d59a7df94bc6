"""The outbox: what a run has to tell a tracking store that does not answer.

`logs/outbox/<uid>/` holds the events of one run in `events.jsonl` and, by the hash of their bytes, the files
that belong to them. Each line starts with a checksum over itself and all that stands before it, and is on
disk before the run goes on. A last line without its end was being written when the process died, and counts
for nothing.
"""

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from filelock import FileLock, Timeout
from pydantic import ValidationError

from modelbook.config import Config
from modelbook.errors import ModelbookError
from modelbook.files import file_hash, link_or_copy, storage_errors, sync_to_disk, whole_file, write_whole
from modelbook.logs import PipelineLogger
from modelbook.tracking.events import ArtifactLogged, Event, RunEnded, RunStarted, read_event

FOLDER = "logs/outbox"

_EVENTS = "events.jsonl"
_FILES = "files"
_COPY = ".copy"
_LOCK = "lock"
_REFUSED = "refused.txt"
_REMOVED = ".removed-"
_CHECKSUM_LENGTH = 16


class Outbox:
    """The events of one run that wait for a store.

    Whoever appends to it or delivers it holds its lock, which ends with the process.

    Args:
        folder: Its folder, named after the run's uid.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.uid = folder.name
        self._path = folder / _EVENTS
        self._lock = FileLock(folder / _LOCK)
        self._checksum = ""

    @property
    def exists(self) -> bool:
        """Whether anything waits in it: a first line that was never finished counts for nothing."""
        try:
            with self._path.open("rb") as file:
                return file.readline().endswith(b"\n")
        except FileNotFoundError:
            return False

    @property
    def is_refused(self) -> bool:
        """Whether a store that answered refused what it holds, or it is damaged."""
        return (self.folder / _REFUSED).is_file()

    @property
    def is_held(self) -> bool:
        """Whether a living process is writing or delivering it."""
        try:
            with self.held(timeout_s=0):
                return False
        except Timeout:
            return True

    def hold(self, *, timeout_s: float = -1) -> Self:
        """Take the lock and make ready to append: what a killed process left half written is cut off.

        Raises:
            Timeout: Another process holds it.
            ModelbookError: A line in it is damaged.
            StorageError: The folder cannot be written or the disk is full.
        """
        with storage_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=timeout_s)
        try:
            self._cut_torn_line()
        except BaseException:
            self._lock.release()
            raise
        return self

    def release(self) -> None:
        """Give the lock back."""
        self._lock.release()

    @contextmanager
    def held(self, *, timeout_s: float = -1) -> Iterator[None]:
        """Hold the lock while the context lasts, whatever state the events are in.

        Raises:
            Timeout: Another process holds it.
        """
        with storage_errors(self.folder):
            self._lock.acquire(timeout=timeout_s)
        try:
            yield
        finally:
            self._lock.release()

    def append(self, event: Event, files: Mapping[str, Path], *, is_shared: bool = False) -> None:
        """Add an event with its files; both are on disk afterwards.

        Args:
            event: What happened. An artifact that went on changing since is noted as it was when it was kept.
            files: The files that belong to it, by the hash of their bytes.
            is_shared: Whether the files are only ever replaced: they then share their blocks on disk with
                what is kept of them here, and take no second space.

        Raises:
            StorageError: The folder cannot be written or the disk is full.
        """
        for sha256, source in files.items():
            kept = self._keep(source, sha256, is_shared=is_shared)
            if kept != sha256 and isinstance(event, ArtifactLogged):
                event = event.model_copy(update={"sha256": kept})
        content = event.model_dump_json().encode()
        checksum = _checksum(self._checksum, content)
        try:
            _append_line(self._path, checksum.encode() + b" " + content + b"\n")
        except BaseException:  # interrupted, it may stand there or not: the file says what comes before
            self._cut_torn_line()
            raise
        self._checksum = checksum

    def events(self) -> list[Event]:
        """Return the events in their order, without a last one that was only half written.

        Raises:
            ModelbookError: A line is damaged, or lines are missing.
        """
        return [event for _, event, _ in self._lines()]

    def file(self, sha256: str) -> Path:
        """Return where the file of a hash is kept."""
        return self.folder / _FILES / sha256

    @property
    def written_at(self) -> float:
        """When something was last added, in seconds since 1970: its run's last sign of life."""
        return self._path.stat().st_mtime

    def refuse(self, reason: str) -> None:
        """Note down why a store that answers does not take it; it is tried again all the same."""
        write_whole(self.folder / _REFUSED, reason.encode())

    def remove(self) -> None:
        """Remove everything: at once by a rename, then file by file."""
        gone = self.folder.with_name(f"{_REMOVED}{secrets.token_hex(8)}")
        with storage_errors(self.folder):
            self.folder.rename(gone)
            shutil.rmtree(gone)

    def _keep(self, source: Path, sha256: str, *, is_shared: bool) -> str:
        """Keep a file and return the hash of what is kept: one that grows is not what was hashed before."""
        kept = self.file(sha256)
        if kept.is_file():
            return sha256
        if is_shared:
            link_or_copy(source, kept)
            return sha256
        copy = self.file(_COPY)
        with whole_file(copy) as temporary:
            shutil.copyfile(source, temporary)
        copied = file_hash(copy)
        with storage_errors(copy):
            copy.replace(self.file(copied))
            sync_to_disk(copy.parent)
        return copied

    def _lines(self) -> Iterator[tuple[str, Event, int]]:
        """Yield each line's checksum, its event, and where in the file it ends."""
        before, end = "", 0
        with self._path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    return
                checksum, _, content = line[:-1].partition(b" ")
                before, end = _checksum(before, content), end + len(line)
                if checksum.decode("ascii", "replace") != before:
                    raise _damaged(self._path, number)
                yield before, _event(content, self._path, number), end

    def _cut_torn_line(self) -> None:
        self._checksum, end = "", 0
        if not self._path.is_file():
            return
        for checksum, _, place in self._lines():
            self._checksum, end = checksum, place
        if end < self._path.stat().st_size:
            with storage_errors(self._path):
                os.truncate(self._path, end)


def outbox_of(config: Config, uid: str) -> Outbox:
    """Return a run's outbox, whether anything waits in it or not."""
    return Outbox(config.path(FOLDER) / uid)


def waiting(config: Config) -> list[Outbox]:
    """Return the outboxes in which something waits, the oldest first; what was removed halfway goes."""
    folder = config.path(FOLDER)
    for removed in folder.glob(f"{_REMOVED}*"):
        shutil.rmtree(removed, ignore_errors=True)
    found = [Outbox(path.parent) for path in folder.glob(f"[!.]*/{_EVENTS}")]
    return sorted((outbox for outbox in found if outbox.exists), key=_began)


def waiting_events(config: Config) -> list[list[Event]]:
    """Return what waits, run by run, the oldest first; what is damaged is named and left out."""
    found = []
    for outbox in waiting(config):
        try:
            found.append(outbox.events())
        except (ModelbookError, OSError) as error:
            PipelineLogger("outbox").warning(f"{outbox.folder} cannot be read and is left out: {error}")
    return [events for events in found if began(events)]


def is_held_back(config: Config) -> bool:
    """Return whether something waits that the last attempt could not deliver, because the store was away.

    What a living process is writing, and what a store that answered refused, does not count.
    """
    return any(not outbox.is_refused and not outbox.is_held for outbox in waiting(config))


def began(events: list[Event]) -> RunStarted | None:
    """Return how a run of these events began."""
    return next((event for event in events if isinstance(event, RunStarted)), None)


def ended(events: list[Event]) -> RunEnded | None:
    """Return how a run of these events ended; None where it goes on, or its process was killed."""
    ends = [event for event in events if isinstance(event, RunEnded)]
    return ends[-1] if ends else None


def _began(outbox: Outbox) -> tuple[float, str]:
    try:
        start = began(outbox.events())
    except (ModelbookError, OSError):
        start = None
    return (start.started_at.timestamp() if start else 0.0, outbox.uid)


def _checksum(before: str, content: bytes) -> str:
    return hashlib.sha256(before.encode() + content).hexdigest()[:_CHECKSUM_LENGTH]


def _event(content: bytes, path: Path, number: int) -> Event:
    try:
        return read_event(content)
    except ValidationError as error:
        raise ModelbookError(
            "the outbox was written by another Modelbook",
            where=f"{path}, line {number}",
            hint="deliver it with the version that wrote it",
        ) from error


def _damaged(path: Path, number: int) -> ModelbookError:
    return ModelbookError(
        "the outbox is damaged: what waits in it is not delivered",
        where=f"{path}, line {number}",
        expected="the checksum of that line and everything before it",
        hint="restore the file from a backup, or move its folder away to give up what it holds",
    )


def _append_line(path: Path, line: bytes) -> None:
    """Append a line and wait until it is on disk; where that fails the file is as it was."""
    with storage_errors(path):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        size = os.fstat(handle).st_size
        try:
            left = memoryview(line)
            while left:
                left = left[os.write(handle, left) :]
            os.fsync(handle)
        except OSError:
            os.ftruncate(handle, size)
            raise
        finally:
            os.close(handle)
        if not size:
            sync_to_disk(path.parent)
