"""Models in MLflow: logged with a run in MLflow's own format, and registered, each digest once."""

import hashlib
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from modelbook.errors import TrackingStoreError
from modelbook.files import link_or_copy
from modelbook.records import ModelRecord
from modelbook.tracking.events import ModelRegistered
from modelbook.tracking.store import artifact_errors, name_filter

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Run
    from mlflow.entities.model_registry import ModelVersion

DIGEST_TAG = "modelbook.model_digest"
HASH_TAG = "modelbook.model_sha256"
RECORD_TAG = "modelbook.record_sha256"
CODE_TAG = "modelbook.code."

RECORD_FILE = "modelbook.json"

_LOGGED_NAME = "model"


class ModelNotLoggedError(TrackingStoreError):
    """A run does not hold the model that is to be registered."""


def log_packed_model(
    client: "MlflowClient",
    run: "Run",
    record: ModelRecord,
    *,
    files: Mapping[str, Path],
    example: str | None,
) -> None:
    """Record a packed model with a run, unless the run holds one of its digest already.

    What a killed process began is completed. Tags of the run and of the model vouch for the files; they are
    written first, so that no model is ever without them.

    Args:
        client: The store.
        run: The run.
        record: The packed model.
        files: The files that it was packed into, by the hash of their bytes.
        example: A few rows of raw columns, as `mlmodel.write_mlmodel` takes them.
    """
    from mlflow.entities import LoggedModelStatus, RunTag

    logged = logged_model(client, run, record.digest, is_complete=False)
    if logged is not None and logged.status == LoggedModelStatus.READY:
        return
    run_id, experiment_id = run.info.run_id, run.info.experiment_id
    tags = _vouching_tags(record)
    client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])
    if logged is None:
        logged = client.create_logged_model(experiment_id, name=_LOGGED_NAME, source_run_id=run_id, tags=tags)
    _ensure_output(client, run, logged.model_id)
    _unlink(logged, record.file)
    _copy_metrics(client, run, logged.model_id)
    with tempfile.TemporaryDirectory() as name:
        _lay_out(Path(name), record, logged, run=run, files=files, example=example)
        with artifact_errors(logged.artifact_location):
            client.log_model_artifacts(logged.model_id, name)
    _relink(files[record.sha256], logged, record.file)
    client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)


def logged_model(
    client: "MlflowClient", run: "Run", digest: str, *, is_complete: bool = True
) -> "LoggedModel | None":
    """Return the model of a digest that a run holds, if there is one.

    Args:
        client: The store.
        run: The run.
        digest: The digest of the fitted state.
        is_complete: Whether a model that was only begun does not count; else it does where there is no other.
    """
    from mlflow.entities import LoggedModelStatus

    query = f"source_run_id = '{run.info.run_id}' AND tags.`{DIGEST_TAG}` = '{digest}'"
    found = client.search_logged_models([run.info.experiment_id], filter_string=query)
    ready = next((model for model in found if model.status == LoggedModelStatus.READY), None)
    return ready or (None if is_complete else next(iter(found), None))


def register(client: "MlflowClient", run: "Run", *, event: ModelRegistered, files: Mapping[str, Path]) -> str:
    """Register a run's model and return its version; one digest is registered once under a name.

    Two clones that register one digest at the same instant both find none before they make a version. A
    version is made with its tags in one transaction, and the number after it only once that is done: so the
    later of two finds the earlier when it looks again, and is withdrawn by the run that made it. Nobody else
    withdraws a version, nor one that an alias names.

    Args:
        client: The store.
        run: The run that holds the model.
        event: Which model, under what name, with which tags.
        files: Where the model's file is known by the hash of its bytes, a local store shares it.

    Raises:
        ModelNotLoggedError: The run does not hold the model.
    """
    found = _versions(client, event.name, event.digest)
    if not found:
        created = _create_version(client, run, event=event, files=files)
        found = _versions(client, event.name, event.digest) or [created]
    first, *later = found
    for version in later:
        if version.run_id == run.info.run_id:
            _withdraw(client, event.name, str(version.version))
    for key, value in event.tags.items():
        if first.tags.get(key) != value:
            client.set_model_version_tag(event.name, str(first.version), key, value)
    return str(first.version)


def _versions(client: "MlflowClient", name: str, digest: str) -> "list[ModelVersion]":
    """Return the versions of a model that have a digest, the earliest first."""
    query = f"{name_filter(name)} and tags.`{DIGEST_TAG}` = '{digest}'"
    return sorted(client.search_model_versions(query), key=lambda version: int(version.version))


def _withdraw(client: "MlflowClient", name: str, number: str) -> None:
    """Delete a version, unless an alias names it: only a version read by itself has its aliases."""
    if not client.get_model_version(name, number).aliases:
        client.delete_model_version(name, number)


def _create_version(
    client: "MlflowClient", run: "Run", *, event: ModelRegistered, files: Mapping[str, Path]
) -> "ModelVersion":
    logged = logged_model(client, run, event.digest)
    if logged is None:
        raise ModelNotLoggedError(
            "the run holds no model to register",
            where=f"run {run.info.run_id}",
            hint="run the pipeline again, which records it",
        )
    if (file := files.get(event.sha256)) is not None:
        _relink(file, logged, event.file)
    _ensure_registered_model(client, event.name)
    return client.create_model_version(
        event.name,
        source=logged.artifact_location,
        run_id=run.info.run_id,
        model_id=logged.model_id,
        tags={
            DIGEST_TAG: event.digest,
            HASH_TAG: event.sha256,
            RECORD_TAG: logged.tags[RECORD_TAG],  # the run's own is that of the last model it logged
            **event.tags,
        },
    )


def _vouching_tags(record: ModelRecord) -> dict[str, str]:
    described = hashlib.sha256(record.to_bytes()).hexdigest()
    hashes = {DIGEST_TAG: record.digest, HASH_TAG: record.sha256, RECORD_TAG: described}
    return hashes | {f"{CODE_TAG}{file.name}": file.sha256 for file in record.code}


def _ensure_registered_model(client: "MlflowClient", name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _ensure_output(client: "MlflowClient", run: "Run", model_id: str) -> None:
    """Say that the run made the model, once: MLflow takes it a second time for another output."""
    from mlflow.entities import LoggedModelOutput

    outputs = run.outputs.model_outputs if run.outputs else []
    if all(output.model_id != model_id for output in outputs):
        client.log_outputs(run.info.run_id, [LoggedModelOutput(model_id, step=0)])


def _lay_out(
    folder: Path,
    record: ModelRecord,
    logged: "LoggedModel",
    *,
    run: "Run",
    files: Mapping[str, Path],
    example: str | None,
) -> None:
    """Make a folder what MLflow stores of a model."""
    from mlflow.models import Model

    from modelbook.models.integrity import CODE_FOLDER
    from modelbook.models.package import trusted_types
    from modelbook.tracking.mlmodel import write_mlmodel

    link_or_copy(files[record.sha256], folder / record.file)
    for code in record.code:
        link_or_copy(files[code.sha256], folder / CODE_FOLDER / code.name)
    model = Model(run_id=run.info.run_id, model_uuid=logged.model_id, model_id=logged.model_id)
    trusted = trusted_types(folder, record)
    write_mlmodel(folder, record, model=model, trusted=trusted, example=example)
    record.write(folder / RECORD_FILE)


def _copy_metrics(client: "MlflowClient", run: "Run", model_id: str) -> None:
    """Let the logged model carry the run's latest metrics, each with its time and step."""
    from mlflow.entities import Metric

    histories = [client.get_metric_history(run.info.run_id, key) for key in run.data.metrics]
    latest = [max(history, key=lambda point: (point.step, point.timestamp)) for history in histories]
    metrics = [
        Metric(metric.key, metric.value, metric.timestamp, metric.step, model_id=model_id)
        for metric in latest
    ]
    if metrics:
        client.log_batch(run.info.run_id, metrics=metrics)


def _relink(source: Path, logged: "LoggedModel", name: str) -> None:
    """Let a local store's copy of a model's file share its blocks on disk with the original."""
    stored = _stored(logged, name)
    if stored is not None:
        link_or_copy(source, stored)


def _unlink(logged: "LoggedModel", name: str) -> None:
    """Take away a local store's copy of a model's file, lest MLflow write over the blocks that it shares."""
    stored = _stored(logged, name)
    if stored is not None:
        stored.unlink()


def _stored(logged: "LoggedModel", name: str) -> Path | None:
    """Return where a local store has a model's file; None where it is not there, or elsewhere."""
    parts = urlsplit(logged.artifact_location)
    path = Path(unquote(parts.path)) / name
    return path if parts.scheme == "file" and path.is_file() else None
