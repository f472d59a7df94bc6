"""Room made: old local copies, rejected models and bundles removed, none of which anybody may still need."""

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Literal

from modelbook.config import Config, ConfigLike, load_config
from modelbook.files import storage_errors
from modelbook.logs import now
from modelbook.pipeline import layout
from modelbook.pipeline.lock import hold_project
from modelbook.records import ModelVersion, Record, RunMetadata
from modelbook.registry.books import Standing, has_books, open_books
from modelbook.registry.ledger import former_versions
from modelbook.registry.promotion import holding_moves, mend_interrupted
from modelbook.registry.registry import ModelRegistry
from modelbook.registry.shelf import Shelf
from modelbook.tracking.rejected import RejectedModel, rejected_models, remove_rejected

KEEP = 5
EXPORTS = "models/saved_models"


class Removal(Record):
    """Something that is removed.

    Attributes:
        kind: A version's local copy, an exported `.joblib`, the model of a run that the gate rejected, or the
            bundle of a version that no server answers with any more.
        name: What it is called.
        size_bytes: What it takes on disk, as far as nothing else shares its blocks.
    """

    kind: Literal["version", "export", "rejected", "bundle"]
    name: str
    size_bytes: int


class Clearing(Record):
    """What was removed, or would be, and which versions stay for what reason."""

    is_dry: bool
    removed: tuple[Removal, ...]
    kept: dict[str, str]

    @property
    def freed_bytes(self) -> int:
        """How much room that makes."""
        return sum(removal.size_bytes for removal in self.removed)


def clear(
    config: ConfigLike, *, keep: int = KEEP, is_dry: bool = False, clock: Callable[[], datetime] = now
) -> Clearing:
    """Remove old local copies of versions, old exports, and what MLflow keeps here of rejected models.

    A version stays in MLflow, and its entry in registry.json, which says when its copy was removed. What an
    alias names stays, and so do the version that a rollback would bring back, the model that lies in the
    project, and, with MLflow on, a copy that is the only one.

    Args:
        config: The project.
        keep: How many of the newest versions of each model, and of the newest exports, stay in any case.
        is_dry: Whether to remove nothing and say what would be removed.
        clock: Says what time it is.

    Raises:
        ProjectBusyError: A run holds the project.
        TrackingStoreError: The store cannot be used, so that nobody knows what its aliases name.
        StorageError: A folder cannot be written.
    """
    settings = load_config(config)
    mend_interrupted(settings)
    with hold_project(settings, command="modelbook gc"), holding_moves(settings):
        registry = ModelRegistry(settings)
        kept: dict[str, str] = {}
        removed: list[Removal] = []
        for name in sorted({entry.name for entry in registry.versions()}):
            reasons = _reasons(settings, name, keep=keep)
            kept |= {f"{name}/{version}": reason for version, reason in reasons.items()}
            old = [entry for entry in registry.versions(name) if _is_old(entry, reasons)]
            removed += [_of_version(settings, entry) for entry in old]
            if not is_dry:
                registry.remove_files(name, [entry.version for entry in old], moment=clock())
        removed += _clear_exports(settings, keep=keep, is_dry=is_dry)
        removed += _clear_rejected(settings, is_dry=is_dry)
        removed += _clear_bundles(settings, is_dry=is_dry)
    return Clearing(is_dry=is_dry, removed=tuple(removed), kept=kept)


def _is_old(entry: ModelVersion, reasons: dict[str, str]) -> bool:
    return entry.version not in reasons and entry.removed_at is None


def _reasons(config: Config, name: str, *, keep: int) -> dict[str, str]:
    """Return, by local version, why the copy of a version stays."""
    standing = open_books(config, name).read() if has_books(config) else Standing(is_known=False)
    entries = [entry for entry in ModelRegistry(config).versions(name) if entry.removed_at is None]
    newest = {entry.version for entry in entries[-keep:]} if keep else set()
    found = ((entry.version, _reason(config, entry, standing)) for entry in entries)
    reasons = {version: reason for version, reason in found if reason}
    return dict.fromkeys(newest - set(reasons), f"one of the newest {keep}") | reasons


def _reason(config: Config, entry: ModelVersion, standing: Standing) -> str | None:
    has_mlflow = config.training.enable_mlflow
    key = entry.mlflow_version if has_mlflow else entry.version
    if entry.stage in {"Production", "Staging"}:
        return f"it is in {entry.stage.lower()}"
    if has_mlflow and (key is None or key not in standing.digests):
        return "MLflow does not have it: this is the only copy"
    if aliases := [alias for alias, version in standing.named.items() if version == key]:
        return f"MLflow calls it {', '.join(sorted(aliases))}"
    if key == _rolled_back_to(standing):
        return "a rollback would bring it back"
    return "it is the model that lies in the project" if _lies_here(config, entry) else None


def _rolled_back_to(standing: Standing) -> str | None:
    former = former_versions(standing.entries, standing.aliases.production)
    return next((version for version in former if standing.has(version)), None)


def _lies_here(config: Config, entry: ModelVersion) -> bool:
    path = config.path(layout.METADATA)
    if not path.is_file() or entry.model is None:
        return False
    return RunMetadata.read(path).model.digest == entry.model.digest


def _of_version(config: Config, entry: ModelVersion) -> Removal:
    size = _own_bytes(config.path(entry.file).parent)
    return Removal(kind="version", name=f"{entry.name}/{entry.version}", size_bytes=size)


def _clear_exports(config: Config, *, keep: int, is_dry: bool) -> Iterator[Removal]:
    exports = sorted(config.path(EXPORTS).glob("model_*.joblib"), key=lambda path: path.stat().st_mtime)
    for path in exports[: max(0, len(exports) - keep)]:
        yield Removal(kind="export", name=path.name, size_bytes=_own_bytes(path))
        if not is_dry:
            with storage_errors(path):
                path.unlink()


def _clear_rejected(config: Config, *, is_dry: bool) -> Iterator[Removal]:
    if not config.training.enable_mlflow or not has_books(config):
        return
    path = config.path(layout.METADATA)
    here = RunMetadata.read(path).model.digest if path.is_file() else None
    found: list[RejectedModel] = [model for model in rejected_models(config) if model.digest != here]
    for model in found:
        yield Removal(kind="rejected", name=model.run_name, size_bytes=_own_bytes(model.folder))
        if not is_dry:
            remove_rejected(config, model)


def _clear_bundles(config: Config, *, is_dry: bool) -> Iterator[Removal]:
    shelf = Shelf(config)
    if not shelf.folder.is_dir():
        return
    with shelf.alone():
        for folder in (*shelf.old_bundles(keep=0), *shelf.unfinished()):
            yield Removal(kind="bundle", name=folder.name[:12], size_bytes=_own_bytes(folder))
        if not is_dry:
            shelf.clear(keep=0)


def _own_bytes(path: Path) -> int:
    """Return the bytes that removing a file or a folder frees: a file with other names keeps its blocks."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(status.st_size for status in (file.lstat() for file in files) if status.st_nlink == 1)
