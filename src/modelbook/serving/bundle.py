"""A registered model turned into what a server opens: a folder of data that is whole or not there."""

import math
import secrets
import shutil
from pathlib import Path
from typing import Any

import pandas as pd

from modelbook.config import ColumnType
from modelbook.errors import UsageError
from modelbook.files import link_or_copy, remove_folder, storage_errors
from modelbook.logs import PipelineLogger
from modelbook.models.integrity import CODE_FOLDER
from modelbook.records import InputColumn, ModelRecord
from modelbook.registry.loading import FoundModel
from modelbook.serving.manifest import MODEL_FOLDER, Manifest, ServedColumn, seal

_EXAMPLES: dict[ColumnType, float | int | bool | str] = {
    "float": 1.0,
    "integer": 1,
    "boolean": True,
    "string": "text",
    "datetime": "2026-01-31T12:00:00",
}


def write_bundle(
    found: FoundModel,
    package: Path,
    folder: Path,
    *,
    golden: pd.DataFrame | None = None,
    log: PipelineLogger | None = None,
) -> Manifest:
    """Make the bundle of a model, whole or not at all, and return what it says of itself.

    Args:
        found: The model, loaded from its verified package.
        package: The folder of that package: the model's file and `code/`.
        folder: The bundle; what lies there is replaced.
        golden: Rows that came with the model: its input columns, `predicted` and `probability_<class>` as
            they were recorded.
        log: Told why a model is not compiled.

    Raises:
        UsageError: The model has no record.
        NotFoundError: A file of the package is missing.
        StorageError: The folder cannot be written or the disk is full.
    """
    record = _record_of(found)
    making = folder.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with storage_errors(folder):
            making.mkdir(parents=True)
            _copy_package(package, making / MODEL_FOLDER, record)
            manifest = seal(making, _manifest(found, record, golden))
            if manifest.why:
                (log or PipelineLogger("serve")).warning(
                    f"the model answers with its own code: {manifest.why}"
                )
            remove_folder(folder)
            making.rename(folder)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return manifest


def _record_of(found: FoundModel) -> ModelRecord:
    if found.record is None:
        raise UsageError("the model has no record of what it takes", hint="register it first")
    return found.record


def _copy_package(package: Path, folder: Path, record: ModelRecord) -> None:
    for name in (record.file, *(f"{CODE_FOLDER}/{file.name}" for file in record.code)):
        link_or_copy(package / name, folder / name)


def _manifest(found: FoundModel, record: ModelRecord, golden: pd.DataFrame | None) -> Manifest:
    return Manifest(
        name=found.name,
        version=found.version,
        record=record,
        kind="reference",
        why="not compiled yet",
        has_probabilities=hasattr(found.pipeline, "predict_proba"),
        columns=tuple(_column(column, golden) for column in record.inputs),
    )


def _column(column: InputColumn, golden: pd.DataFrame | None) -> ServedColumn:
    values = golden[column.name].dropna() if golden is not None else pd.Series(dtype=object)
    told: dict[str, Any] = {"example": _example(column, values)}
    if column.type in {"float", "integer"} and len(values):
        told |= {"min": float(values.min()), "max": float(values.max())}
    return ServedColumn(**column.model_dump(), **told)


def _example(column: InputColumn, values: "pd.Series[Any]") -> float | int | bool | str:
    if not len(values):
        return _EXAMPLES[column.type]
    value = values.iloc[0]
    match column.type:
        case "float":
            return float(value) if math.isfinite(value) else 1.0
        case "integer":
            return int(value)
        case "boolean":
            return bool(value)
        case "datetime":
            return str(pd.Timestamp(value).isoformat())
        case _:
            return str(value)
