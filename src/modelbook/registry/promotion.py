"""Versions moved between stages: the ledger, MLflow's aliases and the local registry, all of it or nothing.

A move is written down as an intent, then added to the ledger, which decides that it happens; aliases and
tags, the project's copy of the ledger and registry.json follow, and the intent goes last. Whoever finds an
intent asks the ledger: what stands there is carried through, and anything else never happened.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from modelbook.config import Config
from modelbook.errors import ModelbookError, NotFoundError, ProjectBusyError, StoreAwayError
from modelbook.files import free_name, storage_errors, write_whole
from modelbook.logs import STAMP, PipelineLogger, now
from modelbook.records import GateCheck, GateVerdict, Record, Stage
from modelbook.registry.books import Books, Standing, has_books, mirror_path, open_books
from modelbook.registry.ledger import (
    Aliases,
    LedgerEntry,
    Mover,
    hash_of,
    head_of,
    read_line,
    seal,
    stages_of,
    write_mirror,
)
from modelbook.registry.registry import FOLDER, ModelRegistry

INTENT_FILE = "intent"

_LOCK = "lifecycle.lock"
_LOG = PipelineLogger("registry")


class Move(Record):
    """A version that is to change its stage, and why; the fields are those of `LedgerEntry`."""

    who: Mover
    action: Literal["promote", "rollback"]
    version: str
    local_version: str | None = None
    digest: str | None = None
    run_id: str | None = None
    commit: str | None = None
    stage: Literal["Staging", "Production"]
    reason: str | None = None
    forced: tuple[str, ...] = ()
    gate: GateVerdict = GateVerdict.NONE
    checks: tuple[GateCheck, ...] = ()


class Lifecycle:
    """The way of one model's versions to production and back, held by one process at a time.

    Args:
        config: The project.
        name: The model.
        books: Have the last word.
        clock: Says what time it is.

    Attributes:
        standing: How things stand.
    """

    def __init__(
        self, config: Config, name: str, books: Books, *, clock: Callable[[], datetime] = now
    ) -> None:
        self.name = name
        self.standing = Standing()
        self._books = books
        self._registry = ModelRegistry(config)
        self._mirror = mirror_path(config, name)
        self._intent = intent_path(config, name)
        self._clock = clock

    def move(self, move: Move) -> LedgerEntry:
        """Move a version, and return what the ledger says of it.

        Raises:
            NotFoundError: The version was deleted meanwhile; nothing was changed.
            ProjectBusyError: Another project on the same store was quicker; nothing was changed.
            TrackingStoreError: The store cannot be used. The next command that reaches it finishes what was
                begun, or withdraws it.
            StorageError: The project's folder cannot be written.
        """
        if not self._has(move.version):
            raise NotFoundError("the version is no longer there", where=f"{self.name}/{move.version}")
        entry = self._entry(move)
        line = seal(entry)
        write_whole(self._intent, line.encode())
        with _begun():
            if not self._books.add(entry.number, line):
                self._intent.unlink()
                raise ProjectBusyError(
                    "another project on the same store moved a version of the model meanwhile",
                    where=self.name,
                    hint="nothing was changed: look at `modelbook history`, and run the command again",
                )
            if self.standing.is_contradicted:  # whoever moves all the same takes the store's word
                self._put_aside()
            self._carry_through(line)
            self._settle()
        self._intent.unlink()
        return entry

    def mend(self) -> list[str]:
        """Finish or withdraw what killed processes left, and return what was done, one line each.

        A ledger that was deleted is restored first, and entries that the store has lost are written back from
        the project's copy. While the store does not know the model everything stays as it is.

        Raises:
            TrackingStoreError: The store cannot be used.
            StorageError: The project's folder cannot be written.
        """
        self.standing = self._books.read()
        if not self.standing.is_known:  # a wrong address, a lost database: neither says what happened
            return []
        said = self._restore()
        intent = self._intent.read_bytes().decode("utf-8", "replace") if self._intent.is_file() else None
        is_decided = intent in self.standing.lines
        if intent is not None:
            done = "finished" if is_decided else "withdrawn, since the ledger does not have it"
            said.append(f"{_called(intent)} was cut off: it is {done}")
        last = self.standing.lines[-1] if self.standing.lines else None
        is_behind = self.standing.head_number < self.standing.last_number
        is_late = is_decided and intent != last  # it may have moved aliases that others had moved on
        if last and (is_behind or is_late) and (intent == last or not self.standing.doubts):
            is_own = intent == last or not is_behind
            said += [] if is_own else [f"{_called(last)} was cut off elsewhere: it is finished"]
            self._carry_through(last)
        if is_decided and self.standing.doubts:
            self._settle()
        elif said:
            said += self.reconcile()
        self._intent.unlink(missing_ok=True)
        return said

    def reconcile(self) -> list[str]:
        """Let the project say what a whole ledger says; return what was done, one line each.

        A copy that is not the store's is put aside.

        Raises:
            TrackingStoreError: The store cannot be used.
            StorageError: The project's folder cannot be written.
        """
        standing = self.standing
        if standing.doubts or not standing.is_known:
            return []
        said = []
        if standing.mirror_faults:
            done = f"put aside as {self._put_aside()}" if standing.mirror else "written anew"
            said.append(f"the project's copy of the ledger was not whole: it is {done}")
        self._settle()
        return said

    def _restore(self) -> list[str]:
        """Bring back what the store has lost of the ledger, and return what was done."""
        said = []
        if self.standing.is_deleted:
            self._books.undelete()
            self.standing = self._books.read()
            said.append("the ledger had been deleted in MLflow: it is restored")
        standing = self.standing
        if not standing.is_restorable:
            return said
        for number, line in enumerate(standing.mirror, start=1):
            self._books.add(number, line)
        self._books.set_stages({}, {}, head_of(standing.mirror) or "")
        self.standing = self._books.read()
        lost = len(standing.mirror) - len(standing.lines)
        return [
            *said,
            f"the store had lost {lost} entries of the ledger: written back from the project's copy",
        ]

    def _put_aside(self) -> str:
        stamp = f"damaged_{self._clock().strftime(STAMP)}"
        taken = {path.stem for path in self._mirror.parent.glob("damaged_*.jsonl")}
        aside = self._mirror.with_name(f"{free_name(stamp, taken)}.jsonl")
        with storage_errors(aside):
            self._mirror.replace(aside)
        return aside.name

    def _entry(self, move: Move) -> LedgerEntry:
        standing = self.standing
        stages = standing.stages(standing.aliases)
        last = standing.lines[-1] if standing.lines else ""
        return LedgerEntry(
            number=standing.last_number + 1,
            moment=self._clock(),
            name=self.name,
            stage_before=stages.get(move.version, "None"),
            before=standing.aliases,
            after=_after(standing.aliases, move),
            previous=hash_of(last),
            **{field: getattr(move, field) for field in Move.model_fields},
        )

    def _carry_through(self, line: str) -> None:
        """Let the aliases be what the last entry says; while this works another project may add one."""
        entry = read_line(line)
        while entry is not None:
            head = f"{entry.number} {hash_of(line)}"
            aliases = entry.after.model_dump() if self._is_there(entry) else {}
            self._books.set_stages(aliases, self._touched(entry) if aliases else {}, head)
            self.standing = self._books.read()
            line = self.standing.lines[-1] if self.standing.last_number > entry.number else ""
            entry = read_line(line) if line else None

    def _touched(self, entry: LedgerEntry) -> dict[str, Stage]:
        """Return the stages of the versions that an entry moved, directly or by taking their place."""
        stages = stages_of([entry], entry.after)
        return {version: stage for version, stage in stages.items() if self._has(version)}

    def _is_there(self, entry: LedgerEntry) -> bool:
        """Return whether the store has the versions that an entry names, and the moved one is what it was."""
        named = filter(None, (entry.after.production, entry.after.staging))
        is_same = entry.digest is None or self.standing.digests.get(entry.version) in {entry.digest, ""}
        return is_same and all(self._has(version) for version in named)

    def _has(self, version: str) -> bool:
        return version in self.standing.digests

    def _settle(self) -> None:
        """Write into the project what the books say, and look at what stands there then."""
        standing, by_number = self.standing, self._books.is_by_number
        lines, aliases = standing.lines, standing.aliases
        if by_number:
            lines = self._copy()
            if lines != tuple(standing.mirror):
                write_mirror(self._mirror, lines)
        elif standing.entries:  # the ledger has the last word, and registry.json follows it
            aliases = standing.entries[-1].after
        stages = standing.stages(aliases)
        self._registry.set_stages(self.name, stages, head=head_of(lines), by_number=by_number)
        self.standing = self._books.read()

    def _copy(self) -> tuple[str, ...]:
        """Return what the project's copy of the ledger is to be; a damaged one overwrites nothing there."""
        standing = self.standing
        if standing.is_contradicted:
            return tuple(standing.mirror)
        if not standing.faults:
            return standing.lines
        known = len(standing.mirror)
        return (*standing.mirror, *(line for number, line in standing.numbered.items() if number > known))


@contextmanager
def open_lifecycle(config: Config, name: str) -> Iterator[Lifecycle]:
    """Hold the lifecycle of a model, with what killed processes left of it mended.

    One process of a project moves versions at a time, others wait; a run of the pipeline is in nobody's way.

    Args:
        config: The project.
        name: The model.

    Raises:
        TrackingStoreError: The store cannot be used.
        StorageError: The project's folder cannot be written.
    """
    books = open_books(config, name)
    with _held(config):
        lifecycle = Lifecycle(config, name, books)
        for line in (*lifecycle.mend(), *lifecycle.reconcile()):
            _LOG.warning(line)
        yield lifecycle


def mend_interrupted(config: Config) -> list[str]:
    """Finish or withdraw the moves that killed processes of this project left, and return what was done.

    Where nothing was left this looks for a file and no more. A move that is at work is left alone, and so is
    one that the store is needed for while it is away, which is said.
    """
    said: list[str] = []
    for path in sorted(config.path(FOLDER).glob(f"*/{INTENT_FILE}")):
        try:
            said += _mend(config, path)
        except ModelbookError as error:
            _LOG.warning(
                f"a promotion of {path.parent.name} was cut off and cannot be finished yet: {error.what}"
            )
    for line in said:
        _LOG.warning(line)
    return said


def bring_in_line(config: Config, name: str) -> list[str]:
    """Finish what was left half done of a model, and let the project say what the store says.

    What was done is returned, one line each. While another process of the project moves a version, it is
    nothing.

    Raises:
        TrackingStoreError: The store cannot be used.
        StorageError: The project's folder cannot be written.
    """
    books = open_books(config, name)
    try:
        with _held(config, timeout_s=0):
            lifecycle = Lifecycle(config, name, books)
            return [*lifecycle.mend(), *lifecycle.reconcile()]
    except Timeout:
        return []


@contextmanager
def holding_moves(config: Config) -> Iterator[None]:
    """Keep every process of the project from moving versions while the context lasts."""
    with _held(config):
        yield


def intent_path(config: Config, name: str) -> Path:
    """Return where a move is written down before it begins."""
    return config.path(FOLDER) / name / INTENT_FILE


def _mend(config: Config, intent: Path) -> list[str]:
    if not has_books(config):
        return []
    books = open_books(config, intent.parent.name)
    try:
        with _held(config, timeout_s=0):
            return Lifecycle(config, intent.parent.name, books).mend() if intent.is_file() else []
    except Timeout:
        return []


@contextmanager
def _held(config: Config, *, timeout_s: float = -1) -> Iterator[None]:
    path = config.path(FOLDER) / _LOCK
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        lock.acquire(timeout=timeout_s)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _begun() -> Iterator[None]:
    """Say of a store that goes away in the middle what becomes of what was begun."""
    try:
        yield
    except StoreAwayError as error:
        error.hint = "the next command that reaches the store finishes what was begun, or withdraws it"
        raise


def _after(aliases: Aliases, move: Move) -> Aliases:
    if move.stage == "Staging":
        return aliases.model_copy(update={"staging": move.version})
    staging = None if aliases.staging == move.version else aliases.staging
    return Aliases(production=move.version, staging=staging)


def _called(line: str) -> str:
    """Return what people call the move that a line is about."""
    entry = read_line(line)
    if entry is None:
        return "a move that cannot be read"
    stage: Stage = entry.stage
    return f"{entry.action} of {entry.name}/{entry.version} to {stage.lower()}"
