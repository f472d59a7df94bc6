"""Bundles of served versions kept in the project, by the digest of each, and which one answered last."""

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from filelock import FileLock
from pydantic import ValidationError

from modelbook.config import Config
from modelbook.files import remove_folder, storage_errors
from modelbook.records import Record
from modelbook.registry.reference import Reference

FOLDER = Path("models/serving")
KEEP = 3
KEEP_REFERENCES = 10

_BUNDLES = "bundles"
_REMEMBERED = ".json"


class Remembered(Record):
    """The version that answered last, of those that a reference has meant.

    Attributes:
        name: The model.
        version: Its version.
        digest: The digest of its fitted state, by which its bundle is found.
        alias: The alias that named it, if one did.
        server: Which start of a server it answered in: its workers come and go, and all do as the first did.
        moment: Since when.
    """

    name: str
    version: str
    digest: str
    alias: str | None
    server: str
    moment: datetime


class Shelf:
    """The bundles of a project's served versions.

    Args:
        config: The project.
    """

    def __init__(self, config: Config) -> None:
        self.folder = config.path(FOLDER)

    def bundle(self, digest: str) -> Path:
        """Return where the bundle of a digest is, or would be."""
        return self.folder / _BUNDLES / digest

    @contextmanager
    def alone(self, *, timeout_s: float = -1) -> Iterator[None]:
        """Be the only process that makes or removes bundles, after waiting for whoever is at it.

        Args:
            timeout_s: How long to wait; for as long as it takes where it is negative.

        Raises:
            Timeout: Somebody was at it for longer.
            StorageError: The folder cannot be written.
        """
        with storage_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / ".lock")
            lock.acquire(timeout=timeout_s)
        try:
            yield
        finally:
            lock.release()

    def remember(self, reference: Reference, remembered: Remembered) -> None:
        """Note which version answers to a reference, and that its bundle was used.

        Raises:
            StorageError: The folder cannot be written or the disk is full.
        """
        remembered.write(self._note(reference))
        with storage_errors(self.folder):
            os.utime(self.bundle(remembered.digest))

    def recall(self, reference: Reference) -> Remembered | None:
        """Return the version that answered last to a reference; None where nobody noted one."""
        try:
            return Remembered.read(self._note(reference))
        except (OSError, ValidationError):
            return None

    def old_bundles(self, keep: int = KEEP) -> list[Path]:
        """Return the bundles beyond the newest few, the oldest first, but for those that are needed yet.

        Needed are what answered last to the ten references that were put in place last.
        """
        notes = sorted(self._notes(), key=lambda note: note.moment)
        used = {note.digest for note in notes[-KEEP_REFERENCES:]}
        folders = sorted(self._bundles(), key=lambda folder: folder.stat().st_mtime_ns)
        spare = [folder for folder in folders if folder.name not in used]
        return spare[: max(0, len(folders) - keep)]

    def unfinished(self) -> list[Path]:
        """Return the bundles that somebody is making or removing, or was when it was killed."""
        return [path for path in (self.folder / _BUNDLES).glob(".*") if path.is_dir()]

    def clear(self, keep: int = KEEP, *, besides: Collection[str] = ()) -> None:
        """Remove the old bundles, but for those of some digests, and the unfinished ones; to be done alone.

        Raises:
            StorageError: The folder cannot be written.
        """
        old = [folder for folder in self.old_bundles(keep) if folder.name not in besides]
        for folder in (*old, *self.unfinished()):
            remove_folder(folder)

    def _note(self, reference: Reference) -> Path:
        part = f"/{reference.version}" if reference.version else f"@{reference.alias}"
        return self.folder / f"{quote(reference.name + part, safe='@')}{_REMEMBERED}"

    def _notes(self) -> Iterator[Remembered]:
        for path in self.folder.glob(f"*{_REMEMBERED}"):
            try:
                yield Remembered.read(path)
            except (OSError, ValidationError):
                continue

    def _bundles(self) -> list[Path]:
        return [path for path in (self.folder / _BUNDLES).glob("[!.]*") if path.is_dir()]
