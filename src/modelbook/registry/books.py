"""Where it is written which version is in production: in MLflow's store, or in the project alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

from modelbook.config import Config
from modelbook.errors import UsageError
from modelbook.records import Stage
from modelbook.registry.ledger import (
    LEDGER_FILE,
    Aliases,
    LedgerEntry,
    differences,
    find_faults,
    read_entries,
    read_mirror,
    stages_of,
    write_mirror,
)
from modelbook.registry.reference import PRODUCTION, STAGING, is_local
from modelbook.registry.registry import FOLDER, ModelRegistry
from modelbook.tracking.address import sqlite_path
from modelbook.tracking.writer import StoreWriter, open_writer


@dataclass(frozen=True)
class Standing:
    """How things stand with a model.

    Attributes:
        aliases: What is in production and in staging.
        numbered: The lines of its ledger by number.
        head: Number and hash of the entry that the aliases were last moved by, as noted beside the ledger.
        digests: The digest of each version, by its name here.
        mirror: The project's copy of the ledger.
        mirror_head: Number and hash of the last entry that the project has seen.
        is_deleted: Whether the ledger was deleted in the store.
        is_known: Whether there is such a model.
        is_in_store: Whether MLflow's store said so.
        named: The version that each of MLflow's aliases names, other people's aliases among them.
    """

    aliases: Aliases = field(default_factory=Aliases)
    numbered: Mapping[int, str] = field(default_factory=dict)
    head: str | None = None
    digests: Mapping[str, str] = field(default_factory=dict)
    mirror: Sequence[str] = ()
    mirror_head: str | None = None
    is_deleted: bool = False
    is_known: bool = True
    is_in_store: bool = False
    named: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def lines(self) -> tuple[str, ...]:
        """The lines of the ledger in their order."""
        return tuple(self.numbered.values())

    @cached_property
    def entries(self) -> tuple[LedgerEntry, ...]:
        """The entries that are what their hashes say."""
        return read_entries(self.lines)

    def has(self, version: str) -> bool:
        """Return whether a version is there, as the model that the ledger last moved under its name."""
        return version in self.digests and not self._is_other(version)

    def stages(self, aliases: Aliases) -> dict[str, Stage]:
        """Return the stage of each version that the ledger moved; one that is another model now never was."""
        named = {aliases.production, aliases.staging}
        stages = stages_of(self.entries, aliases)
        return {key: stage for key, stage in stages.items() if key in named or not self._is_other(key)}

    def _is_other(self, version: str) -> bool:
        known = self.digests.get(version)
        moved = next((entry.digest for entry in reversed(self.entries) if entry.version == version), None)
        return bool(known and moved) and known != moved

    @cached_property
    def faults(self) -> tuple[str, ...]:
        """What is wrong with the ledger itself."""
        faults = find_faults(self.lines, head=self.head)
        return (*faults, *(["the run that is the ledger was deleted in MLflow"] if self.is_deleted else []))

    @cached_property
    def mirror_faults(self) -> tuple[str, ...]:
        """What is wrong with the project's copy, and where the ledger is not what the copy says."""
        own = (f"copy: {fault}" for fault in find_faults(self.mirror, head=self.mirror_head))
        return (*own, *differences(self.numbered, self.mirror))

    @cached_property
    def is_restorable(self) -> bool:
        """Whether the project's copy is whole, and the store holds the beginning of it and no more."""
        is_beginning = self.lines == tuple(self.mirror[: len(self.lines)])
        has_more = len(self.mirror) > len(self.lines)
        is_whole = not any(fault.startswith("copy:") for fault in self.mirror_faults)
        return is_beginning and has_more and is_whole

    @cached_property
    def is_contradicted(self) -> bool:
        """Whether ledger and copy, each whole in itself, say other things: one of them is forged."""
        if self.faults or find_faults(self.mirror, head=self.mirror_head):
            return False
        return any(one != other for one, other in zip(self.lines, self.mirror, strict=False))

    @property
    def doubts(self) -> tuple[str, ...]:
        """What makes it uncertain which versions were where: faults, or a copy that contradicts."""
        return self.mirror_faults if self.is_contradicted else self.faults

    @property
    def last_number(self) -> int:
        """The highest number in the ledger; 0 before the first entry."""
        return max(self.numbered, default=0)

    @property
    def head_number(self) -> int:
        """The number of the entry that the aliases were last moved by; 0 before the first."""
        number = (self.head or "0").partition(" ")[0]
        return int(number) if number.isdecimal() else 0


class Books(Protocol):
    """Keeps a model's aliases and its ledger."""

    is_by_number: bool

    def read(self) -> Standing:
        """Return how things stand."""

    def add(self, number: int, line: str) -> bool:
        """Add a line to the ledger and return whether it has that number now; doing it twice is well."""

    def set_stages(self, aliases: Mapping[str, str | None], stages: Mapping[str, Stage], head: str) -> None:
        """Let aliases and stages be so, and note the entry that says it; doing it twice changes nothing."""

    def undelete(self) -> None:
        """Bring back a ledger that was deleted; doing it twice changes nothing."""


class MLflowBooks:
    """The books of a project with MLflow: the store has the last word, the project a copy.

    Args:
        writer: Of the store.
        config: The project.
        name: The model.
    """

    is_by_number = True

    def __init__(self, writer: StoreWriter, config: Config, name: str) -> None:
        self._writer = writer
        self._config = config
        self._name = name

    def read(self) -> Standing:
        """Return how things stand.

        Raises:
            TrackingStoreError: The store cannot be used.
        """
        mirror = read_mirror(mirror_path(self._config, self._name))
        mirror_head = ModelRegistry(self._config).ledger_head(self._name)
        holding = self._writer.holding(self._name)
        if holding is None:
            return Standing(mirror=mirror, mirror_head=mirror_head, is_known=False, is_in_store=True)
        return Standing(
            aliases=Aliases(production=holding.aliases.get(PRODUCTION), staging=holding.aliases.get(STAGING)),
            numbered=holding.lines,
            head=holding.head,
            digests=holding.digests,
            mirror=mirror,
            mirror_head=mirror_head,
            is_deleted=holding.is_deleted,
            is_in_store=True,
            named=holding.aliases,
        )

    def add(self, number: int, line: str) -> bool:
        """Add a line to the ledger; False where another process was quicker.

        Raises:
            TrackingStoreError: The store cannot be used; it may have taken the line.
        """
        return self._writer.add_to_ledger(self._name, number=number, line=line)

    def set_stages(self, aliases: Mapping[str, str | None], stages: Mapping[str, Stage], head: str) -> None:
        """Let aliases and tags be so; a version that is gone is left out.

        Raises:
            TrackingStoreError: The store cannot be used; some of it may be done.
        """
        self._writer.set_stages(self._name, aliases=aliases, stages=stages, head=head)

    def undelete(self) -> None:
        """Bring back a ledger that was deleted in MLflow.

        Raises:
            TrackingStoreError: The store cannot be used.
        """
        self._writer.restore_ledger(self._name)


class LocalBooks:
    """The books of a project without MLflow: registry.json and the ledger beside it.

    Args:
        config: The project.
        name: The model.
    """

    is_by_number = False

    def __init__(self, config: Config, name: str) -> None:
        self._registry = ModelRegistry(config)
        self._path = mirror_path(config, name)
        self._name = name

    def read(self) -> Standing:
        """Return how things stand.

        Raises:
            ModelbookError: The local registry cannot be read.
        """
        lines = read_mirror(self._path)
        entries = self._registry.versions(self._name)
        staged = {entry.stage.lower(): entry.version for entry in entries}
        return Standing(
            aliases=Aliases(production=staged.get(PRODUCTION), staging=staged.get(STAGING)),
            numbered=dict(enumerate(lines, start=1)),
            head=self._registry.ledger_head(self._name),
            digests={
                entry.version: entry.model.digest if entry.model else ""
                for entry in entries
                if entry.removed_at is None
            },
            is_known=bool(entries),
        )

    def add(self, number: int, line: str) -> bool:
        """Add a line to the ledger, unless it has that number.

        Raises:
            StorageError: The folder cannot be written or the disk is full.
        """
        lines = read_mirror(self._path)
        if len(lines) >= number:
            return lines[number - 1] == line
        write_mirror(self._path, (*lines, line))
        return True

    def set_stages(self, aliases: Mapping[str, str | None], stages: Mapping[str, Stage], head: str) -> None:
        """Do nothing: registry.json is written with the stages anyway."""

    def undelete(self) -> None:
        """Do nothing: a file that is gone is gone."""


def open_books(config: Config, name: str) -> Books:
    """Return the books that have the last word on a project's model.

    Raises:
        UsageError: They are kept the other way: in MLflow, or in the project alone.
        TrackingStoreError: The store cannot be used.
    """
    _refuse_other_way(config, name)
    if not config.training.enable_mlflow:
        return LocalBooks(config, name)
    return MLflowBooks(open_writer(config), config, name)


def has_books(config: Config) -> bool:
    """Return whether there is anything to open: a store in a file that was never made holds nothing."""
    path = sqlite_path(config.tracking_uri)
    return not config.training.enable_mlflow or path is None or path.is_file()


def mirror_path(config: Config, name: str) -> Path:
    """Return where a project keeps its copy of a model's ledger; without MLflow it is the ledger."""
    return config.path(FOLDER) / name / LEDGER_FILE


def _refuse_other_way(config: Config, name: str) -> None:
    """Refuse a ledger whose versions are named as they are not named here: they would not be found."""
    has_mlflow = config.training.enable_mlflow
    path = mirror_path(config, name)
    entries = read_entries(read_mirror(path))
    if entries and is_local(entries[-1].version) == has_mlflow:
        raise UsageError(
            f"the model's history is kept {'in the project alone' if has_mlflow else 'in MLflow'}",
            where=f"{name}: {path.relative_to(config.root)}",
            got=f"training.enable_mlflow: {str(has_mlflow).lower()}",
            hint=f"set training.enable_mlflow to {str(not has_mlflow).lower()}: nothing is carried over",
        )
