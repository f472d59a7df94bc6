"""A model by its name: found in the local registry or in MLflow, verified, ready to predict."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from modelbook.config import CONFIG_PATH, Config, ConfigLike, load_config
from modelbook.errors import ModelRefusedError, NotFoundError, TrackingStoreError
from modelbook.logs import PipelineLogger
from modelbook.records import ModelRecord, ModelVersion
from modelbook.registry.promotion import mend_interrupted
from modelbook.registry.reference import (
    PRODUCTION,
    STAGING,
    Reference,
    is_local,
    no_such_model,
    parse_reference,
)
from modelbook.registry.registry import ModelRegistry

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

_ALIASES = (PRODUCTION, STAGING)


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
    with open_package(text, config=config) as (found, _):
        return found


@contextmanager
def open_package(ref: str, *, config: ConfigLike | None = None) -> Iterator[tuple[FoundModel, Path]]:
    """Yield a model as `open_model` returns it, and the folder that its verified files lie in meanwhile.

    Raises:
        UsageError: That is no reference to a model.
        NotFoundError: There is no such model.
        ModelRefusedError: A file is not the recorded one, or holds what is not trusted.
        TrackingStoreError: MLflow's store cannot be used.
    """
    if config is None:
        config = "." if CONFIG_PATH.is_file() else {}
    settings = load_config(config)
    mend_interrupted(settings)
    place = _find(settings, ref)
    if isinstance(place, ModelVersion):
        yield _load_local(settings, place), settings.path(place.file).parent
        return
    from modelbook.models.package import unpack
    from modelbook.registry.stored import fetched

    with fetched(settings, place) as (stored, folder, record):
        yield FoundModel(unpack(folder, record), record, stored.name, stored.version), folder


def _find(config: Config, ref: str) -> ModelVersion | str:
    """Return the local version that a reference means, or by what reference MLflow has the model."""
    if ref.startswith(("runs:/", "models:/")):
        return ref
    reference = parse_reference(ref)
    entry = _local(config, reference)
    if entry is not None:
        return _removed(config, entry) if entry.removed_at else entry
    if not config.training.enable_mlflow or is_local(reference.version):
        raise no_such_model(ref)
    return ref


def _local(config: Config, reference: Reference) -> ModelVersion | None:
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


def _removed(config: Config, entry: ModelVersion) -> str:
    """Return by what reference MLflow has a version whose file was removed here."""
    if config.training.enable_mlflow and entry.mlflow_version:
        return f"models:/{entry.name}/{entry.mlflow_version}"
    raise NotFoundError(
        "the version's file was removed to make room",
        where=f"{entry.name}/{entry.version}",
        got=f"removed {entry.removed_at:%Y-%m-%d %H:%M} by `modelbook gc`",
        hint="`modelbook reproduce` makes its run again",
    )


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
