"""A run as it is on record: found by any of its names, with what it left behind."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import polars as pl
from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from modelbook.config import Config
from modelbook.errors import ModelbookError, ModelRefusedError, NotFoundError, TrackingStoreError, UsageError
from modelbook.logs import PipelineLogger
from modelbook.pipeline import layout
from modelbook.records import Lineage, ModelVersion, RunMetadata
from modelbook.registry.registry import ModelRegistry
from modelbook.tracking import journal
from modelbook.tracking.held import read_run, run_of_version
from modelbook.tracking.lineage import (
    CONFIG_FILE,
    ENVIRONMENT_FILE,
    PATCH_FILE,
    lineage_files,
    lineage_tags,
    packages_hash,
)
from modelbook.tracking.runs import LATEST, find_run
from modelbook.tracking.store import aliased_version

CURRENT = "current"

_VERSION = re.compile(r"models:/+(?P<name>[^/@:]+)(?:/(?P<version>[^/@:]+)|@(?P<alias>[^/@:]+))/?")
_LINEAGE = (CONFIG_FILE, ENVIRONMENT_FILE, PATCH_FILE)
_FILES = (journal.METADATA_FILE, journal.PREDICTIONS_FILE, *_LINEAGE)
_VOUCHING = (
    "mlflow.source.git.commit",
    "modelbook.git.",
    "modelbook.data.",
    "modelbook.config_sha256",
    "modelbook.environment_sha256",
)


@dataclass(frozen=True)
class RecordedRun:
    """A run as it is on record.

    Attributes:
        run_id: Its id in the store; its uid where there is none.
        metadata: Its record.
        predictions: What it predicted for the test rows; None where that was not kept or cannot be read.
        faults: Which of its files are not what the record holds of them, or cannot be read, one each.
    """

    run_id: str
    metadata: RunMetadata
    predictions: pl.DataFrame | None
    faults: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Names:
    run_id: str
    uid: str | None


def find_recorded(config: Config, ref: str, log: PipelineLogger) -> RecordedRun:
    """Return the record of a run, out of the tracking store, or of the project's journal without it.

    Args:
        config: The project.
        ref: A run's id, a unique beginning of one, its uid, `latest`, or `current` for the one whose outputs
            lie in the project; `models:/NAME/VERSION` or `models:/NAME@ALIAS` for the run that made a
            version, which MLflow or the local registry holds.
        log: What goes on is said here.

    Raises:
        ModelRefusedError: The record contradicts itself or the run's tags.
        NotFoundError: There is no such run or version, or it was not made by the pipeline.
        UsageError: That is no reference to a version.
    """
    if ref == CURRENT:
        ref = _current(config)
    names = _of_version(config, ref, log) if ref.startswith("models:") else _of_run(config, ref, log)
    found = _in_store(config, names, log) or _in_journal(config, names)
    if found is None:
        raise NotFoundError(
            "the run is not wholly on record: it has no metadata.json",
            where=ref if ref == names.run_id else f"{ref}: run {names.run_id}",
            hint="only the pipeline (`modelbook run`, `dvc repro`) records all that this takes",
        )
    return found


def _current(config: Config) -> str:
    path = config.path(layout.METADATA)
    if not path.is_file():
        raise NotFoundError(
            "no run's outputs lie in the project", where=str(path), hint="`modelbook run` makes them"
        )
    return RunMetadata.read(path).uid


def _of_run(config: Config, ref: str, log: PipelineLogger) -> _Names:
    try:
        run = find_run(config, ref)
    except TrackingStoreError as error:
        log.warning(f"{error.what} ({error.got}): looking in the project's journal")
        return _kept(config, ref, error)
    except NotFoundError as error:
        if error.got is not None:  # more than one begins so
            raise
        return _kept(config, ref, error)
    return _Names(run.run_id, run.uid)


def _kept(config: Config, ref: str, error: ModelbookError) -> _Names:
    """Return the run of the journal that a reference means, else raise what the store said."""
    runs = journal.kept_runs(config)
    if ref == LATEST:
        found = [run for run in runs if journal.kept_parent(config, run.uid) is None][:1]
    else:
        found = [run for run in runs if _is_named(run, ref)]
    if len(found) != 1:
        raise error
    return _Names(found[0].run_id, found[0].uid)


def _is_named(run: RunMetadata, ref: str) -> bool:
    return run.uid.startswith(ref) or run.run_id.startswith(ref)


def _of_version(config: Config, ref: str, log: PipelineLogger) -> _Names:
    found = _VERSION.fullmatch(ref)
    if found is None:
        raise UsageError(
            "that is no reference to a registered version",
            got=ref,
            expected="models:/NAME/VERSION or models:/NAME@ALIAS",
            hint="`modelbook models` lists what there is",
        )
    if config.training.enable_mlflow and not (found["version"] or "").startswith("v_"):
        try:
            if (run_id := _run_in_mlflow(config, **found.groupdict())) is not None:
                return _Names(run_id, None)
        except TrackingStoreError as error:
            log.warning(f"{error.what} ({error.got}): looking in the local registry")
    return _of_local_version(config, ref, **found.groupdict())


def _run_in_mlflow(config: Config, *, name: str, version: str | None, alias: str | None) -> str | None:
    number = aliased_version(config, model=name, alias=alias) if alias else version
    return run_of_version(config, name, number)


def _of_local_version(
    config: Config, ref: str, *, name: str, version: str | None, alias: str | None
) -> _Names:
    entries = reversed(ModelRegistry(config).versions(name))
    entry = next((entry for entry in entries if _is_meant(entry, version, alias)), None)
    if entry is None:
        hint = "`modelbook models` lists what there is"
        raise NotFoundError("there is no such version", where=ref, hint=hint)
    if entry.run_id is None:
        hint = "it was registered by hand: only what the pipeline made can be made again"
        raise NotFoundError("the version names no run", where=ref, hint=hint)
    return _Names(entry.run_id, entry.uid)


def _is_meant(entry: ModelVersion, version: str | None, alias: str | None) -> bool:
    if version is None:
        return entry.stage.lower() == alias
    return version in {entry.version, entry.mlflow_version}


def _in_store(config: Config, names: _Names, log: PipelineLogger) -> RecordedRun | None:
    if not config.training.enable_mlflow:
        return None
    try:
        return _read_store(config, names.run_id)
    except TrackingStoreError as error:
        log.warning(f"{error.what} ({error.got}): taking the run from the project's journal")
        return None


def _read_store(config: Config, run_id: str) -> RecordedRun | None:
    held = read_run(config, run_id, names=_FILES)
    if held is None or journal.METADATA_FILE not in held.files:
        return None
    metadata = _parsed(held.files[journal.METADATA_FILE], where=f"run {run_id}")
    _refuse_contradiction([*_own_faults(metadata.lineage), *_tag_faults(metadata, held.tags)], run_id)
    faults = _file_faults(metadata, held.files)
    return _with_predictions(run_id, metadata, held.files.get(journal.PREDICTIONS_FILE), faults=faults)


def _in_journal(config: Config, names: _Names) -> RecordedRun | None:
    for run in journal.kept_runs(config):
        if names.uid == run.uid or names.run_id in {run.run_id, run.uid}:
            kept = config.path(journal.FOLDER) / run.uid / journal.PREDICTIONS_FILE
            path = kept if kept.is_file() else _lying(config, run)
            content = path.read_bytes() if path and path.is_file() else None
            _refuse_contradiction(_own_faults(run.lineage), names.run_id)
            return _with_predictions(names.run_id, run, content, faults=[])
    return None


def _lying(config: Config, run: RunMetadata) -> Path | None:
    """Return the predictions that lie in the project, if they are that run's."""
    metadata = config.path(layout.METADATA)
    is_its = metadata.is_file() and RunMetadata.read(metadata).uid == run.uid
    return config.path(layout.PREDICTIONS) if is_its else None


def _parsed(content: bytes, *, where: str) -> RunMetadata:
    try:
        return RunMetadata.model_validate_json(content)
    except ValidationError as error:
        raise NotFoundError(
            "the run's metadata.json cannot be read",
            where=where,
            got=str(error).partition("\n")[0],
            hint="it was changed or cut off, or a later version of Modelbook wrote it",
        ) from error


def _with_predictions(
    run_id: str, metadata: RunMetadata, content: bytes | None, *, faults: list[str]
) -> RecordedRun:
    """Return a recorded run with what was kept of its predictions; what cannot be read is one more fault."""
    predictions = None
    if content is not None:
        try:
            predictions = pl.read_parquet(BytesIO(content))
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError):
            faults = [*faults, f"record: {journal.PREDICTIONS_FILE} of the run cannot be read"]
    return RecordedRun(run_id, metadata, predictions, tuple(faults))


def _refuse_contradiction(faults: list[str], run_id: str) -> None:
    """Refuse a record that is at odds with its hashes or tags, before any of its code or packages is used."""
    if faults:
        raise ModelRefusedError(
            "the run's record contradicts itself: nothing of it is run",
            where=f"run {run_id}, {journal.METADATA_FILE}",
            got="; ".join(faults),
            expected="the hashes that the record and the run's tags give",
            hint="somebody changed one or the other since; restore it from a backup",
        )


def _own_faults(lineage: Lineage) -> list[str]:
    """Return which parts of a record do not have the hash that it gives them."""
    environment = lineage.environment
    hashes = {
        "settings": (lineage.config_sha256, _settings_hash(lineage.config)),
        "packages": (environment.sha256, packages_hash(environment.python, environment.packages)),
    }
    return [
        f"record: the {name} in metadata.json have the hash {found}, and it says {said}"
        for name, (said, found) in hashes.items()
        if said != found
    ]


def _tag_faults(metadata: RunMetadata, tags: Mapping[str, str]) -> list[str]:
    """Return what the run's tags say otherwise than its metadata.json."""
    expected = lineage_tags(metadata.lineage)
    return [
        f"record: tag {name} is {tags[name]}, metadata.json has {value}"
        for name, value in expected.items()
        if name.startswith(_VOUCHING) and tags.get(name, value) != value
    ]


def _file_faults(metadata: RunMetadata, files: Mapping[str, bytes]) -> list[str]:
    """Return which of the run's files are not what its metadata.json holds of them."""
    expected = lineage_files(metadata.lineage)
    return [
        f"record: {name} of the run is not what its metadata.json holds"
        for name in _LINEAGE
        if name in files and _meaning(name, files[name]) != _meaning(name, expected.get(name, b""))
    ]


def _settings_hash(settings: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def _meaning(name: str, content: bytes) -> object:
    if name != CONFIG_FILE:
        return content
    try:
        return YAML(typ="safe", pure=True).load(content)
    except YAMLError:
        return content
