"""Models in MLflow: logged with a run in MLflow's own format, and registered, each digest once."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from modelbook.errors import TrackingStoreError
from modelbook.files import link_or_copy
from modelbook.records import ModelRecord

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Run

DIGEST_TAG = "modelbook.model_digest"
HASH_TAG = "modelbook.model_sha256"
CODE_TAG = "modelbook.code."

RECORD_FILE = "modelbook.json"

_LOGGED_NAME = "model"


def log_packed_model(
    client: "MlflowClient",
    run: "Run",
    record: ModelRecord,
    *,
    package: Path,
    example: "pd.DataFrame | None",
) -> None:
    """Record a packed model with a run, unless the run holds one of its digest already.

    Tags of the run and of the model vouch for the files; they are written first, so that no model is ever
    without them.

    Args:
        client: The store.
        run: The run.
        record: The packed model.
        package: The folder that it was packed into.
        example: A few rows of raw columns.
    """
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus, RunTag
    from mlflow.models import Model

    from modelbook.models.package import trusted_types
    from modelbook.tracking.mlmodel import write_mlmodel

    if logged_model(client, run, record.digest) is not None:
        return
    run_id, experiment_id = run.info.run_id, run.info.experiment_id
    tags = _vouching_tags(record)
    client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])
    logged = client.create_logged_model(experiment_id, name=_LOGGED_NAME, source_run_id=run_id, tags=tags)
    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
    _copy_metrics(client, run, logged.model_id)
    with tempfile.TemporaryDirectory() as name:
        model = Model(run_id=run_id, model_uuid=logged.model_id, model_id=logged.model_id)
        trusted = trusted_types(package, record)
        write_mlmodel(Path(name), record, package=package, model=model, trusted=trusted, example=example)
        record.write(Path(name) / RECORD_FILE)
        client.log_model_artifacts(logged.model_id, name)
    _relink(package / record.file, logged.artifact_location)
    client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)


def logged_model(client: "MlflowClient", run: "Run", digest: str) -> "LoggedModel | None":
    """Return the complete model of a digest that a run holds, if there is one."""
    from mlflow.entities import LoggedModelStatus

    query = f"source_run_id = '{run.info.run_id}' AND tags.`{DIGEST_TAG}` = '{digest}'"
    found = client.search_logged_models([run.info.experiment_id], filter_string=query)
    return next((model for model in found if model.status == LoggedModelStatus.READY), None)


def register(
    client: "MlflowClient",
    run: "Run",
    record: ModelRecord,
    *,
    name: str,
    tags: Mapping[str, str],
    package: Path | None = None,
) -> str:
    """Register a run's model and return its version; one digest is registered once under a name.

    Args:
        client: The store.
        run: The run that holds the model.
        record: The packed model.
        name: The model's name in the registry.
        tags: What the version is to carry, beside its digest and hash.
        package: The folder that the model was packed into, for a local store to share the file with.

    Raises:
        TrackingStoreError: The run does not hold the model.
    """
    if (known := registered_version(client, name, record.digest)) is not None:
        for key, value in tags.items():
            client.set_model_version_tag(name, known, key, value)
        return known
    logged = logged_model(client, run, record.digest)
    if logged is None:
        raise TrackingStoreError(
            "the run holds no model to register",
            where=f"run {run.info.run_id}",
            hint="run the pipeline again, which records it",
        )
    if package is not None:
        _relink(package / record.file, logged.artifact_location)
    _ensure_registered_model(client, name)
    version = client.create_model_version(
        name,
        source=logged.artifact_location,
        run_id=run.info.run_id,
        model_id=logged.model_id,
        tags={DIGEST_TAG: record.digest, HASH_TAG: record.sha256, **tags},
    )
    return str(version.version)


def registered_version(client: "MlflowClient", name: str, digest: str) -> str | None:
    """Return the version of a model that has a digest, if there is one."""
    query = f"name = '{name}' and tags.`{DIGEST_TAG}` = '{digest}'"
    found = client.search_model_versions(query, max_results=1)
    return str(found[0].version) if found else None


def _vouching_tags(record: ModelRecord) -> dict[str, str]:
    hashes = {DIGEST_TAG: record.digest, HASH_TAG: record.sha256}
    return hashes | {f"{CODE_TAG}{file.name}": file.sha256 for file in record.code}


def _ensure_registered_model(client: "MlflowClient", name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _copy_metrics(client: "MlflowClient", run: "Run", model_id: str) -> None:
    """Let the logged model carry the run's metrics, as MLflow's own `log_model` does."""
    from mlflow.entities import Metric

    metrics = [
        Metric(key, value, run.info.start_time, 0, model_id=model_id)
        for key, value in run.data.metrics.items()
    ]
    if metrics:
        client.log_batch(run.info.run_id, metrics=metrics)


def _relink(source: Path, artifact_location: str) -> None:
    """Let a local store's copy of a model's file share its blocks on disk with the original."""
    parts = urlsplit(artifact_location)
    if parts.scheme == "file" and (stored := Path(unquote(parts.path)) / source.name).is_file():
        link_or_copy(source, stored)
