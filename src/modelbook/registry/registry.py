"""The local registry: models/model_registry/registry.json and the files it names; it needs no server."""

import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
from filelock import FileLock
from pydantic import Field, ValidationError

from modelbook.config import ConfigLike, load_config
from modelbook.errors import GateRejectedError, ModelbookError, NotFoundError
from modelbook.files import (
    file_hash,
    free_name,
    link_or_copy,
    remove_folder,
    storage_errors,
    whole_file,
    write_whole,
)
from modelbook.logs import STAMP, now
from modelbook.records import EvaluationReport, GateVerdict, ModelVersion, Record, RunMetadata, Stage

FOLDER = Path("models/model_registry")
SCHEMA_VERSION = 2

_CODE = "code"


class _Registry(Record):
    schema_version: int = SCHEMA_VERSION
    versions: tuple[ModelVersion, ...] = ()
    ledger_heads: dict[str, str] = Field(default_factory=dict)


class ModelRegistry:
    """Registered versions of a project's models, the oldest first.

    Args:
        config: The settings.
        clock: Says what time it is.
    """

    def __init__(self, config: ConfigLike, *, clock: Callable[[], datetime] = now) -> None:
        self.config = load_config(config)
        self.path = self.config.path(FOLDER / "registry.json")
        self._clock = clock

    def register_model(
        self,
        model_path: Path | str,
        model_metadata: RunMetadata | Mapping[str, Any],
        evaluation_report: EvaluationReport | Mapping[str, Any],
        *,
        mlflow_version: str | None = None,
    ) -> str:
        """Keep a model as a version and return the version's name.

        A packed model of one digest is kept once: registering it again returns the version it has, after
        noting MLflow's version of it where that is news.

        Args:
            model_path: The model's file; code beside it in `code/` goes with it.
            model_metadata: The run's record, or whatever is known of the model.
            evaluation_report: What `ModelEvaluator.evaluate` or the gate said of it.
            mlflow_version: The version that MLflow's registry gave it.

        Returns:
            `v_YYYYmmdd_HHMMSS`, with `_2` and so on for a second one within a second.

        Raises:
            GateRejectedError: The report says that a check was not passed.
            NotFoundError: There is no such file.
            StorageError: The folder cannot be written or the disk is full.
        """
        source = Path(model_path)
        if not source.is_file():
            raise NotFoundError("there is no model file to register", where=str(source))
        run, other = _as_run(model_metadata)
        verdict, metrics = _judgement(evaluation_report)
        with self._locked() as registry:
            name = self.config.tracking.model_name
            known = _of_digest(registry, name, run.model.digest) if run else None
            entry = known or self._new(registry, source, run=run, other=other)
            if known is None or known.removed_at:
                self._keep(entry, source, run=run)
            if known and known.removed_at:  # a model made again has its digest, and may have other bytes
                entry = entry.model_copy(update=_contents(source, run))
            news = {
                "mlflow_version": mlflow_version or entry.mlflow_version,
                "gate": verdict,
                "metrics": metrics,
                "removed_at": None,
            }
            entry = entry.model_copy(update=news)
            self._save(_without_number(registry, entry), entry)
        return entry.version

    def note_delivery(self, name: str, digest: str, *, mlflow_version: str, run_id: str) -> None:
        """Note the version and the run that MLflow has of a model that was registered while it was away.

        Args:
            name: The model.
            digest: The digest of its fitted state; where no version has it, nothing happens.
            mlflow_version: The version that MLflow's registry gave it.
            run_id: The run that made it.

        Raises:
            StorageError: The folder cannot be written or the disk is full.
        """
        with self._locked() as registry:
            entry = _of_digest(registry, name, digest)
            if entry is not None:
                news = {"mlflow_version": mlflow_version, "run_id": run_id}
                entry = entry.model_copy(update=news)
                self._save(_without_number(registry, entry), entry)

    def set_stages(
        self, name: str, stages: Mapping[str, Stage], *, head: str | None, by_number: bool
    ) -> None:
        """Let the versions of a model have the stages that they have come to; doing it twice changes nothing.

        Args:
            name: The model.
            stages: The stage of each version that ever had one.
            head: Number and hash of the ledger's entry that says so.
            by_number: Whether versions are named by MLflow's numbers; one without a number, of a store that
                was lost, is archived if it had a stage.

        Raises:
            StorageError: The folder cannot be written or the disk is full.
        """
        with self._locked() as registry:
            entries = tuple(
                entry.model_copy(update={"stage": _stage(entry, stages, by_number=by_number)})
                if entry.name == name
                else entry
                for entry in registry.versions
            )
            heads = registry.ledger_heads | ({name: head} if head else {})
            if entries != registry.versions or heads != registry.ledger_heads:
                self._write(_Registry(versions=entries, ledger_heads=heads))

    def remove_files(self, name: str, versions: Collection[str], *, moment: datetime) -> None:
        """Remove the files of versions, whose entries stay and say so; what was cut off is finished.

        Args:
            name: The model.
            versions: Their local names.
            moment: When.

        Raises:
            StorageError: The folder cannot be written or the disk is full.
        """
        with self._locked() as registry:
            entries = tuple(
                entry.model_copy(update={"removed_at": moment})
                if entry.name == name and entry.version in versions and entry.removed_at is None
                else entry
                for entry in registry.versions
            )
            if entries != registry.versions:
                self._write(registry.model_copy(update={"versions": entries}))
            for entry in entries:
                if entry.removed_at and entry.name == name:
                    remove_folder(self.config.path(entry.file).parent)

    def ledger_head(self, name: str) -> str | None:
        """Return number and hash of the last entry of a model's ledger that was seen here, if any was."""
        return self._read().ledger_heads.get(name)

    def versions(self, name: str | None = None) -> tuple[ModelVersion, ...]:
        """Return the versions of a model, or of every model, the oldest first."""
        return tuple(entry for entry in self._read().versions if name in {None, entry.name})

    def find(self, name: str, version: str) -> ModelVersion:
        """Return a version by its local name or by MLflow's number.

        Raises:
            NotFoundError: There is none.
        """
        for entry in self.versions(name):
            if version in {entry.version, entry.mlflow_version}:
                return entry
        known = ", ".join(entry.version for entry in self.versions(name)[-5:]) or "none"
        raise NotFoundError(
            "there is no such version in the local registry",
            where=f"{name}/{version}",
            expected=f"one of: {known}",
            hint="`modelbook models` lists them",
        )

    def of_digest(self, name: str, digest: str) -> ModelVersion | None:
        """Return the version of a model that has a digest, if there is one."""
        entries = (entry for entry in self.versions(name) if entry.model and entry.model.digest == digest)
        return next(entries, None)

    @contextmanager
    def _locked(self) -> Iterator[_Registry]:
        with storage_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path.with_name("registry.lock"))
            lock.acquire()
        try:
            yield self._read()
        finally:
            lock.release()

    def _read(self) -> _Registry:
        if not self.path.is_file():
            return _Registry()
        try:
            content = orjson.loads(self.path.read_bytes())
            return _Registry.model_validate_json(orjson.dumps(_migrated(content)))
        except (orjson.JSONDecodeError, ValidationError) as error:
            raise ModelbookError(
                "the local registry cannot be read",
                where=str(self.path),
                got=str(error).partition("\n")[0],
                hint="move it away and run `modelbook run --force`; the models in its folder are not touched",
            ) from error

    def _save(self, registry: _Registry, entry: ModelVersion) -> None:
        others = tuple(other for other in registry.versions if other.version != entry.version)
        entries = sorted((*others, entry), key=lambda version: version.created_at)
        self._write(registry.model_copy(update={"versions": tuple(entries)}))

    def _write(self, registry: _Registry) -> None:
        write_whole(self.path, registry.to_bytes())

    def _new(
        self, registry: _Registry, source: Path, *, run: RunMetadata | None, other: dict[str, Any]
    ) -> ModelVersion:
        moment = self._clock()
        version = free_name(f"v_{moment.strftime(STAMP)}", {entry.version for entry in registry.versions})
        name = self.config.tracking.model_name
        return ModelVersion(
            name=name,
            version=version,
            run_id=run.run_id if run else other.get("run_id"),
            uid=run.uid if run else None,
            created_at=moment,
            file=str(FOLDER / name / version / source.name),
            metadata=other,
            **_contents(source, run),
        )

    def _keep(self, entry: ModelVersion, source: Path, *, run: RunMetadata | None) -> None:
        """Bring a version's file to its place, and its code beside it."""
        place = self.config.path(entry.file)
        # A file of the pipeline's is only ever replaced; one of the user's may be written over in place.
        keep = link_or_copy if run else _copy
        keep(source, place)
        listed = {file.name for file in run.model.code} if run else None
        for code in sorted((source.parent / _CODE).glob("*.py")):
            if listed is None or code.name in listed:
                write_whole(place.parent / _CODE / code.name, code.read_bytes())


def _contents(source: Path, run: RunMetadata | None) -> dict[str, Any]:
    """Return what an entry says of its file."""
    return {
        "sha256": file_hash(source),
        "size_bytes": source.stat().st_size,
        "model": run.model if run else None,
    }


def _copy(source: Path, destination: Path) -> None:
    with whole_file(destination) as temporary:
        shutil.copyfile(source, temporary)


def _as_run(metadata: RunMetadata | Mapping[str, Any]) -> tuple[RunMetadata | None, dict[str, Any]]:
    """Return metadata as a run's record where it is one, and else as plain JSON."""
    if isinstance(metadata, RunMetadata):
        return metadata, {}
    try:
        return RunMetadata.model_validate(dict(metadata)), {}
    except ValidationError:
        content = orjson.dumps(dict(metadata), default=str, option=orjson.OPT_SERIALIZE_NUMPY)
        return None, orjson.loads(content)


def _judgement(
    report: EvaluationReport | Mapping[str, Any],
) -> tuple[GateVerdict, dict[str, float]]:
    if isinstance(report, EvaluationReport):
        verdict, metrics = report.gate.verdict, report.metrics
    else:
        passed = report.get("all_checks_passed")
        verdict = GateVerdict.NONE if passed is None else GateVerdict("passed" if passed else "rejected")
        metrics = {name: float(value) for name, value in report.get("metrics", {}).items()}
    if verdict is GateVerdict.REJECTED:
        raise GateRejectedError(
            "a model that misses a threshold is not registered",
            hint="improve it, or change evaluation.thresholds if they ask too much",
        )
    return verdict, metrics


def _of_digest(registry: _Registry, name: str, digest: str) -> ModelVersion | None:
    entries = (entry for entry in registry.versions if entry.name == name and entry.model)
    return next((entry for entry in entries if entry.model and entry.model.digest == digest), None)


def _without_number(registry: _Registry, entry: ModelVersion) -> _Registry:
    """Take an entry's MLflow version from every other one: that was a version of a store since lost."""
    others = tuple(
        other.model_copy(update={"mlflow_version": None})
        if other.name == entry.name and other.mlflow_version == entry.mlflow_version
        else other
        for other in registry.versions
    )
    return registry.model_copy(update={"versions": others})


def _stage(entry: ModelVersion, stages: Mapping[str, Stage], *, by_number: bool) -> Stage:
    key = entry.mlflow_version if by_number else entry.version
    if key is None:
        return "None" if entry.stage == "None" else "Archived"
    return stages.get(key, "None")


def _migrated(content: Any) -> Any:
    """Return what an older Modelbook wrote in today's form; the first one knew nothing of ledgers."""
    version = content.get("schema_version") if isinstance(content, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise ModelbookError(
            "the local registry was written by a newer Modelbook",
            got=f"schema_version {version}",
            expected=f"at most {SCHEMA_VERSION}",
            hint="update Modelbook",
        )
    return content | {"schema_version": SCHEMA_VERSION} if version == 1 else content
