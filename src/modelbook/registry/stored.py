"""A model in MLflow's store: located, fetched, and its record held against what the store vouches for."""

import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from pydantic import ValidationError

from modelbook.config import Config
from modelbook.errors import ModelRefusedError, NotFoundError
from modelbook.files import file_hash
from modelbook.models.integrity import verify_package
from modelbook.records import ModelRecord
from modelbook.registry.reference import PRODUCTION, Reference, no_such_model, parse_reference
from modelbook.tracking.absent import is_absent
from modelbook.tracking.address import sqlite_path
from modelbook.tracking.events import UID_TAG
from modelbook.tracking.store import artifact_errors, name_filter, open_client, store_errors
from modelbook.tracking.versions import (
    CODE_TAG,
    DIGEST_TAG,
    HASH_TAG,
    RECORD_FILE,
    RECORD_TAG,
    logged_model,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion as MLflowVersion

_LOADER = "mlflow.sklearn"
_NEWEST = "latest"
_UID = re.compile(r"[0-9a-f]{32}")
_MODEL_ID = re.compile(r"m-[0-9a-f]{32}")


@dataclass(frozen=True)
class Stored:
    """A model in MLflow: where its files are, and what the store itself says of it."""

    source: str
    tags: Mapping[str, str]
    name: str | None = None
    version: str | None = None


@contextmanager
def fetched(
    config: Config, ref: str, *, in_place: bool = False
) -> Iterator[tuple[Stored, Path, ModelRecord]]:
    """Yield a model, the folder that its files were brought to, and the record that the store vouches for.

    Args:
        config: The project.
        ref: `runs:/…`, `models:/…`, or a reference to a registered model.
        in_place: Whether files that lie on this machine are yielded where they are, to be looked at alone.

    Raises:
        NotFoundError: There is no such model, or its files are gone.
        ModelRefusedError: Its record is not what the store vouches for; its files are not looked at.
        TrackingStoreError: The store cannot be used.
    """
    path = sqlite_path(config.tracking_uri)
    if path is not None and not path.is_file():
        raise no_such_model(ref)  # looking for a model makes no database
    client = open_client(config)
    with tempfile.TemporaryDirectory() as folder:
        with store_errors(config.tracking_uri):
            stored = _locate(client, ref)
            place = _on_this_machine(stored.source) if in_place else None
            place = place or _download(config, stored.source, Path(folder), ref=ref)
        yield stored, place, _vouched_record(place, stored.tags, ref)


def verify_stored(config: Config, ref: str) -> ModelRecord:
    """Return the record of a model in MLflow after checking each of its files; nothing of it is loaded.

    Raises:
        NotFoundError: There is no such model, or a file of it is gone.
        ModelRefusedError: A file is not what the store vouches for.
        TrackingStoreError: The store cannot be used.
    """
    with fetched(config, ref, in_place=True) as (_, folder, record):
        verify_package(folder, record)
        return record


def _on_this_machine(source: str) -> Path | None:
    """Return the folder of a model's files where they lie on this machine: they are read there."""
    parts = urlsplit(source)
    path = Path(unquote(parts.path))
    return path if parts.scheme == "file" and path.is_dir() else None


def _locate(client: "MlflowClient", ref: str) -> Stored:
    from mlflow.exceptions import MlflowException

    rest = re.sub("^(runs|models):/+", "", ref).rstrip("/")
    try:
        if ref.startswith("runs:"):
            return _of_run(client, rest.partition("/")[0])
        if _MODEL_ID.fullmatch(rest):
            return _of_logged_model(client, rest)
        return _of_registered(client, parse_reference(rest))
    except MlflowException as error:
        if not is_absent(error):
            raise
        raise no_such_model(ref) from None


def _of_registered(client: "MlflowClient", reference: Reference) -> Stored:
    version = _registered(client, reference)
    return Stored(
        source=client.get_model_version_download_uri(version.name, version.version),
        tags=_run_tags(client, version.run_id) | version.tags,
        name=version.name,
        version=str(version.version),
    )


def _registered(client: "MlflowClient", reference: Reference) -> "MLflowVersion":
    if reference.alias:
        return client.get_model_version_by_alias(reference.name, reference.alias)
    if reference.version not in {None, _NEWEST}:
        return client.get_model_version(reference.name, reference.version)
    model = client.get_registered_model(reference.name)
    if reference.version is None and PRODUCTION in model.aliases:
        return client.get_model_version(reference.name, str(model.aliases[PRODUCTION]))
    query = name_filter(reference.name)
    found = client.search_model_versions(query, order_by=["version_number DESC"], max_results=1)
    if not found:
        raise no_such_model(reference.name)
    return found[0]


def _of_run(client: "MlflowClient", run_id: str) -> Stored:
    run = _run(client, run_id)
    digest = run.data.tags.get(DIGEST_TAG)
    model = logged_model(client, run, digest) if digest else None
    if model is None:
        raise NotFoundError(
            "the run holds no model that Modelbook recorded",
            where=f"runs:/{run_id}",
            hint="`modelbook runs` lists the runs",
        )
    return Stored(str(model.artifact_location), run.data.tags)


def _run(client: "MlflowClient", ref: str) -> "Run":
    """Return the run of an id, be it the store's or the one that the run gave itself."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(ref)
    except MlflowException as error:
        if not is_absent(error) or not _UID.fullmatch(ref):
            raise
        places = [experiment.experiment_id for experiment in client.search_experiments()]
        found = client.search_runs(places, f"tags.`{UID_TAG}` = '{ref}'", max_results=1)
        if not found:
            raise
        return found[0]


def _of_logged_model(client: "MlflowClient", model_id: str) -> Stored:
    model = client.get_logged_model(model_id)
    return Stored(str(model.artifact_location), _run_tags(client, model.source_run_id) | model.tags)


def _run_tags(client: "MlflowClient", run_id: str | None) -> dict[str, str]:
    """Return the tags of a run; none where a model came from no run, so that nothing vouches for it."""
    return dict(client.get_run(run_id).data.tags) if run_id else {}


def _download(config: Config, source: str, folder: Path, *, ref: str) -> Path:
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    uri = config.tracking_uri
    try:
        with artifact_errors(uri):
            return Path(download_artifacts(artifact_uri=source, dst_path=str(folder), tracking_uri=uri))
    except MlflowException as error:
        if not is_absent(error):
            raise
        raise NotFoundError(
            "the model's files are not where MLflow has them",
            where=f"{ref}: {source}",
            hint="they were moved or deleted: bring them back, or make the model again with `modelbook run`",
        ) from error


def _vouched_record(folder: Path, tags: Mapping[str, str], ref: str) -> ModelRecord:
    """Return the record of a downloaded model, trusting only what the store's tags vouch for."""
    record = _read_record(folder, ref)
    _refuse_foreign_mlmodel(folder, record, ref)
    recorded = {HASH_TAG: record.sha256, DIGEST_TAG: record.digest}
    recorded |= {CODE_TAG + file.name: file.sha256 for file in record.code}
    recorded |= {RECORD_TAG: file_hash(folder / RECORD_FILE)}
    if unvouched := sorted(name for name, value in recorded.items() if tags.get(name) != value):
        raise _changed(
            "the model's record is not the one that its run names",
            where=ref,
            got="; ".join(f"{name} {recorded[name]}" for name in unvouched),
            expected="; ".join(f"{name} {tags.get(name, 'is not recorded')}" for name in unvouched),
        )
    return record


def _read_record(folder: Path, ref: str) -> ModelRecord:
    try:
        return ModelRecord.read(folder / RECORD_FILE)
    except (OSError, ValidationError) as error:
        raise ModelRefusedError(
            "the model was not recorded by Modelbook, or its record is damaged",
            where=ref,
            hint="load it with mlflow.pyfunc.load_model if you trust where it comes from",
        ) from error


def _refuse_foreign_mlmodel(folder: Path, record: ModelRecord, ref: str) -> None:
    """Refuse what MLmodel would have others execute or trust; nothing that it says is heard here."""
    from modelbook.models.estimators import TRUSTED_TYPES  # brings scikit-learn

    flavors = _flavors(folder)
    loader = flavors.get("python_function", {}).get("loader_module", "nothing that can be read")
    where = f"{ref}: MLmodel"
    if loader != _LOADER:
        what = "the model names a loader that Modelbook does not write"
        raise _changed(what, where=where, got=str(loader), expected=_LOADER)
    modules = tuple(file.name.removesuffix("py") for file in record.code)
    types = map(str, flavors.get("sklearn", {}).get("skops_trusted_types") or ())
    if foreign := sorted(
        name for name in types if name not in TRUSTED_TYPES and not name.startswith(modules)
    ):
        what = "the model asks for trust in types that Modelbook does not trust"
        expected = "types of the catalogue and of the recorded code"
        raise _changed(what, where=where, got=", ".join(foreign), expected=expected)


def _flavors(folder: Path) -> dict[str, Any]:
    """Return what MLmodel says of each flavor; nothing where it cannot be read."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        flavors = YAML(typ="safe", pure=True).load(folder / "MLmodel")["flavors"]
    except (OSError, UnicodeDecodeError, YAMLError, KeyError, TypeError):
        return {}
    is_read = isinstance(flavors, dict) and all(isinstance(flavor, dict) for flavor in flavors.values())
    return flavors if is_read else {}


def _changed(what: str, *, where: str, got: str, expected: str) -> ModelRefusedError:
    hint = "somebody changed the stored files: do not load it, make it again"
    return ModelRefusedError(what, where=where, got=got, expected=expected, hint=hint)
