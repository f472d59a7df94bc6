"""A model by its name: found in the local registry or in MLflow, verified, ready to predict."""

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelbook.config import CONFIG_PATH, Config, ConfigLike, load_config
from modelbook.errors import ModelRefusedError, NotFoundError, TrackingStoreError, UsageError
from modelbook.files import file_hash
from modelbook.logs import PipelineLogger
from modelbook.records import ModelRecord, ModelVersion
from modelbook.registry.registry import ModelRegistry

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion as MLflowVersion
    from sklearn.pipeline import Pipeline

PRODUCTION = "production"

_LOADER = "mlflow.sklearn"
_ALIASES = (PRODUCTION, "staging")
_NEWEST = "latest"
_REFERENCE = re.compile(r"(?P<name>[^/@:]+)(?:/(?P<version>[^/@:]+)|@(?P<alias>[^/@:]+))?")
_UID = re.compile(r"[0-9a-f]{32}")
_MODEL_ID = re.compile(r"m-[0-9a-f]{32}")
_ABSENT = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}


@dataclass(frozen=True)
class FoundModel:
    """A verified model, and which one it is.

    Attributes:
        pipeline: Takes raw columns and predicts.
        record: What is known of it; None for a `.joblib` file.
        name: The name that it is registered under; None where the reference names a run or a file.
        version: Its version as the registry that it was found in calls it.
    """

    pipeline: "Pipeline"
    record: ModelRecord | None
    name: str | None = None
    version: str | None = None


@dataclass(frozen=True)
class _Reference:
    name: str
    version: str | None
    alias: str | None


@dataclass(frozen=True)
class _Stored:
    """A model in MLflow: where its files are, and what the store itself says of it."""

    source: str
    tags: Mapping[str, str]
    name: str | None = None
    version: str | None = None


def load_model(
    ref: str | Path, *, config: ConfigLike | None = None, allow_pickle: bool = False
) -> "Pipeline":
    """Return a registered or recorded model, every file of which is what was recorded.

    Args:
        ref: `NAME`, `NAME/VERSION` or `NAME@ALIAS` for a model that is looked up in the local registry first;
            `models:/…` for one in MLflow's registry, and `runs:/RUN_ID` for that of a run, by the id that the
            store gave it or its own; the path of a `.joblib` file. A bare name means the version in
            production, or the newest where none is.
        config: The project; by default that of the current folder. Where there is none, MLFLOW_TRACKING_URI
            says where MLflow is.
        allow_pickle: Whether a `.joblib` file may be read, which executes whatever it holds.

    Raises:
        UsageError: That is no reference to a model.
        NotFoundError: There is no such model.
        ModelRefusedError: A file is not the recorded one, or holds what is not trusted.
        TrackingStoreError: MLflow's store cannot be used.
    """
    return open_model(ref, config=config, allow_pickle=allow_pickle).pipeline


def find_model(
    ref: str | Path, *, config: ConfigLike | None = None, allow_pickle: bool = False
) -> tuple["Pipeline", ModelRecord | None]:
    """Return a model as `load_model` does, with the record of it; a `.joblib` file has none."""
    found = open_model(ref, config=config, allow_pickle=allow_pickle)
    return found.pipeline, found.record


def open_model(
    ref: str | Path, *, config: ConfigLike | None = None, allow_pickle: bool = False
) -> FoundModel:
    """Return a model as `load_model` does, with the record of it and the version that it turned out to be.

    Raises:
        UsageError: That is no reference to a model.
        NotFoundError: There is no such model.
        ModelRefusedError: A file is not the recorded one, or holds what is not trusted.
        TrackingStoreError: MLflow's store cannot be used.
    """
    text = str(ref)
    if text.endswith(".joblib"):
        return FoundModel(_load_joblib(Path(text), allow_pickle=allow_pickle), None)
    if config is None:
        config = "." if CONFIG_PATH.is_file() else {}
    settings = load_config(config)
    if text.startswith(("runs:/", "models:/")):
        return _load_from_mlflow(settings, text)
    reference = _parsed(text)
    if (entry := _local(settings, reference)) is not None:
        return _load_local(settings, entry)
    if not settings.training.enable_mlflow or _is_local(reference.version):
        raise _not_found(text)
    return _load_from_mlflow(settings, text)


def _parsed(text: str) -> _Reference:
    if (found := _REFERENCE.fullmatch(text)) is None:
        raise UsageError(
            "that is no reference to a model",
            got=text,
            expected="NAME, NAME/VERSION or NAME@ALIAS, also with models:/ before it, or runs:/RUN_ID",
            hint="`modelbook models` lists what there is",
        )
    return _Reference(**found.groupdict())


def _local(config: Config, reference: _Reference) -> ModelVersion | None:
    """Return the local version that a reference means; None where MLflow has to be asked."""
    entries = ModelRegistry(config).versions(reference.name)
    if reference.version:
        return _of_version(entries, reference.version)
    if reference.alias and reference.alias not in _ALIASES:
        return None
    number = _aliased(config, reference.name, reference.alias or PRODUCTION)
    if number is not None:
        return _of_version(entries, number)
    return None if reference.alias or not entries else entries[-1]


def _is_local(version: str | None) -> bool:
    return version is not None and version.startswith("v_")


def _of_version(entries: tuple[ModelVersion, ...], version: str) -> ModelVersion | None:
    return next((entry for entry in entries if version in {entry.version, entry.mlflow_version}), None)


def _aliased(config: Config, name: str, alias: str) -> str | None:
    """Return the version that an alias names: MLflow's word counts, that of the local registry without it."""
    if config.training.enable_mlflow:
        from modelbook.tracking.store import aliased_version

        try:
            return aliased_version(config, model=name, alias=alias)
        except TrackingStoreError as error:
            PipelineLogger("registry").warning(
                f"{error.what} ({error.got}): {name}@{alias} is taken from the local registry"
            )
    entries = reversed(ModelRegistry(config).versions(name))
    return next((entry.version for entry in entries if entry.stage.lower() == alias), None)


def _load_local(config: Config, entry: ModelVersion) -> FoundModel:
    from modelbook.models.package import unpack

    path = config.path(entry.file)
    if entry.model is None or entry.model.file != path.name:
        raise ModelRefusedError(
            "the registered file was not packed by Modelbook",
            where=f"{entry.name}/{entry.version}: {entry.file}",
            hint="load it with the library that wrote it",
        )
    return FoundModel(unpack(path.parent, entry.model), entry.model, entry.name, entry.version)


def _load_from_mlflow(config: Config, ref: str) -> FoundModel:
    from modelbook.tracking.store import open_client, sqlite_path, store_errors

    path = sqlite_path(config.tracking_uri)
    if path is not None and not path.is_file():
        raise _not_found(ref)  # looking for a model makes no database
    client = open_client(config)
    with tempfile.TemporaryDirectory() as folder:
        with store_errors(config.tracking_uri):
            stored = _locate(client, ref)
            downloaded = _download(config, stored.source, Path(folder), ref=ref)
        pipeline, record = _unpack_recorded(downloaded, stored.tags, ref)
    return FoundModel(pipeline, record, stored.name, stored.version)


def _locate(client: "MlflowClient", ref: str) -> _Stored:
    from mlflow.exceptions import MlflowException

    rest = re.sub("^(runs|models):/+", "", ref).rstrip("/")
    try:
        if ref.startswith("runs:"):
            return _of_run(client, rest.partition("/")[0])
        if _MODEL_ID.fullmatch(rest):
            return _of_logged_model(client, rest)
        return _of_registered(client, _parsed(rest))
    except MlflowException as error:
        if error.error_code not in _ABSENT:
            raise
        raise _not_found(ref) from None


def _of_registered(client: "MlflowClient", reference: _Reference) -> _Stored:
    version = _registered(client, reference)
    return _Stored(
        source=client.get_model_version_download_uri(version.name, version.version),
        tags=_run_tags(client, version.run_id) | version.tags,
        name=version.name,
        version=str(version.version),
    )


def _registered(client: "MlflowClient", reference: _Reference) -> "MLflowVersion":
    if reference.alias:
        return client.get_model_version_by_alias(reference.name, reference.alias)
    if reference.version not in {None, _NEWEST}:
        return client.get_model_version(reference.name, reference.version)
    model = client.get_registered_model(reference.name)
    if reference.version is None and PRODUCTION in model.aliases:
        return client.get_model_version(reference.name, str(model.aliases[PRODUCTION]))
    from modelbook.tracking.store import name_filter

    query = name_filter(reference.name)
    found = client.search_model_versions(query, order_by=["version_number DESC"], max_results=1)
    if not found:
        raise _not_found(reference.name)
    return found[0]


def _of_run(client: "MlflowClient", run_id: str) -> _Stored:
    from modelbook.tracking.versions import DIGEST_TAG, logged_model

    run = _run(client, run_id)
    digest = run.data.tags.get(DIGEST_TAG)
    model = logged_model(client, run, digest) if digest else None
    if model is None:
        raise NotFoundError(
            "the run holds no model that Modelbook recorded",
            where=f"runs:/{run_id}",
            hint="`modelbook runs` lists the runs",
        )
    return _Stored(str(model.artifact_location), run.data.tags)


def _run(client: "MlflowClient", ref: str) -> "Run":
    """Return the run of an id, be it the store's or the one that the run gave itself."""
    from mlflow.exceptions import MlflowException

    from modelbook.tracking.events import UID_TAG

    try:
        return client.get_run(ref)
    except MlflowException as error:
        if error.error_code not in _ABSENT or not _UID.fullmatch(ref):
            raise
        places = [experiment.experiment_id for experiment in client.search_experiments()]
        found = client.search_runs(places, f"tags.`{UID_TAG}` = '{ref}'", max_results=1)
        if not found:
            raise
        return found[0]


def _of_logged_model(client: "MlflowClient", model_id: str) -> _Stored:
    model = client.get_logged_model(model_id)
    return _Stored(str(model.artifact_location), _run_tags(client, model.source_run_id) | model.tags)


def _run_tags(client: "MlflowClient", run_id: str | None) -> dict[str, str]:
    """Return the tags of a run; none where a model came from no run, so that nothing vouches for it."""
    return dict(client.get_run(run_id).data.tags) if run_id else {}


def _download(config: Config, source: str, folder: Path, *, ref: str) -> Path:
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    try:
        return Path(
            download_artifacts(artifact_uri=source, dst_path=str(folder), tracking_uri=config.tracking_uri)
        )
    except MlflowException as error:
        if error.error_code not in _ABSENT:
            raise
        raise NotFoundError(
            "the model's files are not where MLflow has them",
            where=f"{ref}: {source}",
            hint="they were moved or deleted: bring them back, or make the model again with `modelbook run`",
        ) from error


def _unpack_recorded(folder: Path, tags: Mapping[str, str], ref: str) -> tuple["Pipeline", ModelRecord]:
    """Load a model out of a downloaded folder, trusting only what the store's tags vouch for."""
    from modelbook.models.package import unpack
    from modelbook.tracking.versions import CODE_TAG, DIGEST_TAG, HASH_TAG, RECORD_FILE, RECORD_TAG

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
    return unpack(folder, record), record


def _read_record(folder: Path, ref: str) -> ModelRecord:
    from pydantic import ValidationError

    from modelbook.tracking.versions import RECORD_FILE

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
    from modelbook.models.estimators import TRUSTED_TYPES

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


def _not_found(ref: str) -> NotFoundError:
    hint = "`modelbook models` and `modelbook runs` list what there is"
    return NotFoundError("there is no such model", where=ref, hint=hint)


def _load_joblib(path: Path, *, allow_pickle: bool) -> "Pipeline":
    if not allow_pickle:
        raise ModelRefusedError(
            "a .joblib file is a pickle, which executes whatever it holds",
            where=str(path),
            hint="load the registered model instead, or pass allow_pickle=True if you wrote the file",
        )
    if not path.is_file():
        raise NotFoundError("there is no such model file", where=str(path))
    import joblib

    return joblib.load(path)
