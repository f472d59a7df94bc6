"""A model by its name: found in the local registry or in MLflow, verified, ready to predict."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelbook.config import Config, ConfigLike, load_config
from modelbook.errors import ModelRefusedError, NotFoundError, UsageError
from modelbook.records import ModelRecord, ModelVersion
from modelbook.registry.registry import ModelRegistry

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from sklearn.pipeline import Pipeline

_LOADER = "mlflow.sklearn"
_CODE_TAG = "modelbook.code."


def load_model(ref: str | Path, *, config: ConfigLike = ".", allow_pickle: bool = False) -> "Pipeline":
    """Return a registered or recorded model, every file of which is what was recorded.

    Args:
        ref: `models:/NAME/VERSION`, `models:/NAME@ALIAS` or `runs:/RUN_ID` for a model in MLflow; `NAME`,
            `NAME/VERSION` or `NAME@ALIAS` for one that is looked up in the local registry first; the path of
            a `.joblib` file.
        config: The project.
        allow_pickle: Whether a `.joblib` file may be read, which executes whatever it holds.

    Raises:
        NotFoundError: There is no such model.
        ModelRefusedError: A file is not the recorded one, or holds what is not trusted.
        TrackingStoreError: MLflow's store cannot be used.
    """
    return find_model(ref, config=config, allow_pickle=allow_pickle)[0]


def find_model(
    ref: str | Path, *, config: ConfigLike = ".", allow_pickle: bool = False
) -> tuple["Pipeline", ModelRecord | None]:
    """Return a model as `load_model` does, with the record of it; a `.joblib` file has none."""
    text = str(ref)
    if text.endswith(".joblib"):
        return _load_joblib(Path(text), allow_pickle=allow_pickle), None
    settings = load_config(config)
    if not text.startswith(("runs:/", "models:/")):
        if (entry := _local(settings, text)) is not None:
            return _load_local(settings, entry)
        text = f"models:/{text}"
    return _load_from_mlflow(settings, text)


def _local(config: Config, ref: str) -> ModelVersion | None:
    registry = ModelRegistry(config)
    name, separator, version = ref.partition("/")
    if separator:
        entries = (
            entry for entry in registry.versions(name) if version in {entry.version, entry.mlflow_version}
        )
        return next(entries, None)
    name, separator, alias = ref.partition("@")
    entries_of_name = registry.versions(name)
    if separator:
        return next((entry for entry in reversed(entries_of_name) if entry.stage.lower() == alias), None)
    promoted = (entry for entry in reversed(entries_of_name) if entry.stage == "Production")
    return next(promoted, entries_of_name[-1] if entries_of_name else None)


def _load_local(config: Config, entry: ModelVersion) -> tuple["Pipeline", ModelRecord]:
    from modelbook.models.package import unpack

    if entry.model is None:
        raise ModelRefusedError(
            "the registered file was not written by Modelbook",
            where=f"{entry.name}/{entry.version}: {entry.file}",
            hint="load it with the library that wrote it",
        )
    return unpack(config.path(entry.file).parent, entry.model), entry.model


def _load_from_mlflow(config: Config, ref: str) -> tuple["Pipeline", ModelRecord]:
    from modelbook.tracking.store import open_client, store_errors

    client = open_client(config)
    with store_errors(config.tracking_uri), tempfile.TemporaryDirectory() as folder:
        source, run_id = _locate(client, ref)
        path = _download(config, source, Path(folder))
        tags = client.get_run(run_id).data.tags
        return _unpack_recorded(path, tags, ref)


def _locate(client: "MlflowClient", ref: str) -> tuple[str, str]:
    """Return where a model's files are and the run that made it."""
    from mlflow.exceptions import MlflowException

    kind, _, rest = ref.partition(":/")
    try:
        if kind == "runs":
            return _of_run(client, rest.strip("/").partition("/")[0])
        name, separator, alias = rest.strip("/").partition("@")
        if separator:
            version = client.get_model_version_by_alias(name, alias)
        else:
            name, _, number = name.partition("/")
            version = client.get_model_version(name, number) if number else _newest(client, name)
    except MlflowException as error:
        if error.error_code not in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
            raise
        hint = "`modelbook models` and `modelbook runs` list what there is"
        raise NotFoundError("there is no such model", where=ref, hint=hint) from None
    return client.get_model_version_download_uri(version.name, version.version), str(version.run_id)


def _newest(client: "MlflowClient", name: str) -> Any:
    found = client.search_model_versions(f"name = '{name}'", order_by=["version_number DESC"], max_results=1)
    if not found:
        hint = "`modelbook models` lists what there is"
        raise NotFoundError("there is no such model", where=name, hint=hint)
    return found[0]


def _of_run(client: "MlflowClient", run_id: str) -> tuple[str, str]:
    run = client.get_run(run_id)
    models = run.outputs.model_outputs if run.outputs else []
    if not models:
        raise NotFoundError("the run holds no model", where=f"runs:/{run_id}")
    return client.get_logged_model(models[-1].model_id).artifact_location, run_id


def _download(config: Config, source: str, folder: Path) -> Path:
    from mlflow.artifacts import download_artifacts

    return Path(
        download_artifacts(artifact_uri=source, dst_path=str(folder), tracking_uri=config.tracking_uri)
    )


def _unpack_recorded(folder: Path, tags: dict[str, str], ref: str) -> tuple["Pipeline", ModelRecord]:
    """Load a model out of a downloaded folder, trusting only what the store's tags vouch for."""
    from pydantic import ValidationError

    from modelbook.models.package import unpack
    from modelbook.tracking.versions import HASH_TAG, RECORD_FILE

    try:
        record = ModelRecord.read(folder / RECORD_FILE)
    except (OSError, ValidationError) as error:
        raise ModelRefusedError(
            "the model was not recorded by Modelbook, or its record is damaged",
            where=ref,
            hint="load it with mlflow.pyfunc.load_model if you trust where it comes from",
        ) from error
    _refuse_foreign_loader(folder, ref)
    vouched = {
        name.removeprefix(_CODE_TAG): value for name, value in tags.items() if name.startswith(_CODE_TAG)
    }
    unvouched = [file.name for file in record.code if vouched.get(file.name) != file.sha256]
    if record.sha256 != tags.get(HASH_TAG) or unvouched:
        raise ModelRefusedError(
            "the model's record is not the one that its run names",
            where=ref,
            got=f"sha256 {record.sha256}" + (f", code {', '.join(unvouched)}" if unvouched else ""),
            expected=f"sha256 {tags.get(HASH_TAG, 'none recorded')}",
            hint="somebody changed the stored files: do not load it, make it again",
        )
    return unpack(folder, record), record


def _refuse_foreign_loader(folder: Path, ref: str) -> None:
    from ruamel.yaml import YAML

    content = YAML(typ="safe", pure=True).load(folder / "MLmodel")
    loader = content.get("flavors", {}).get("python_function", {}).get("loader_module")
    if loader != _LOADER:
        raise ModelRefusedError(
            "the model names a loader that Modelbook does not write",
            where=f"{ref}: MLmodel",
            got=str(loader),
            expected=_LOADER,
            hint="somebody changed the stored files: do not load it, make it again",
        )


def _load_joblib(path: Path, *, allow_pickle: bool) -> "Pipeline":
    if not allow_pickle:
        raise UsageError(
            "a .joblib file is a pickle, which executes whatever it holds",
            where=str(path),
            hint="load the registered model instead, or pass allow_pickle=True if you wrote the file",
        )
    if not path.is_file():
        raise NotFoundError("there is no such model file", where=str(path))
    import joblib

    return joblib.load(path)
