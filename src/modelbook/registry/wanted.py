"""The version that a reference means now, asked of the registry in some 20 ms; nothing is loaded for it."""

import re
from dataclasses import dataclass

from modelbook.config import Config
from modelbook.errors import ModelbookError, StoreAwayError
from modelbook.records import ModelVersion
from modelbook.registry.reference import PRODUCTION, Reference, is_local, no_such_model, parse_reference
from modelbook.registry.registry import ModelRegistry
from modelbook.registry.shelf import Shelf

_PREFIX = "models:/"
_NEWEST = "latest"
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Wanted:
    """A registered version.

    Attributes:
        name: The model.
        version: Its version, as the registry calls it.
        digest: The digest of its fitted state; None where the registry does not say.
        alias: The alias that named it; None where it was asked for by its number, or is the newest.
    """

    name: str
    version: str
    digest: str | None
    alias: str | None = None


def parse_wanted(ref: str) -> Reference:
    """Return the parts of a reference to a registered model; a bare name means the version in production.

    Raises:
        UsageError: It is none.

    Example:
        >>> parse_wanted("models:/houses").alias, parse_wanted("houses/3").alias
        ('production', None)
    """
    found = parse_reference(ref.removeprefix(_PREFIX).lstrip("/"))
    if found.version == _NEWEST:
        return Reference(found.name, None, None)
    return found if found.version or found.alias else Reference(found.name, None, PRODUCTION)


def find_wanted(config: Config, reference: Reference) -> Wanted:
    """Return the version that a reference means; the newest one where nothing has its production alias.

    Args:
        config: The project: MLflow's word counts, that of the local registry without it.
        reference: As `parse_wanted` gives it.

    Raises:
        NotFoundError: There is no such version.
        StoreAwayError: MLflow's store does not answer, or not in time, or its file is gone.
        TrackingStoreError: It cannot be used.
    """
    if not config.training.enable_mlflow or is_local(reference.version):
        return find_kept(config, reference)
    from modelbook.tracking.named import named_version

    name = reference.name
    found = named_version(config, name, alias=reference.alias, version=reference.version)
    alias = reference.alias if found else None
    if found is None and reference.alias == PRODUCTION:
        found = named_version(config, name)
    if found is None:
        raise _not_there(config, reference)
    return Wanted(name, found.version, found.digest, alias)


def find_kept(config: Config, reference: Reference) -> Wanted:
    """Return the version that a reference means by what the local registry last knew.

    Raises:
        NotFoundError: There is no such version.
    """
    entries = ModelRegistry(config).versions(reference.name)
    entry = next((entry for entry in reversed(entries) if _is_meant(entry, reference)), None)
    alias = reference.alias if entry else None
    if entry is None and reference.alias in {PRODUCTION, None} and reference.version is None:
        entry = entries[-1] if entries else None
    if entry is None:
        raise no_such_model(_spelled(reference))
    number = entry.mlflow_version if config.training.enable_mlflow else None
    digest = entry.model.digest if entry.model else None
    return Wanted(entry.name, number or entry.version, digest, alias)


def digest_of(wanted: Wanted) -> str | None:
    """Return a version's digest if it is one: what a store says becomes the name of a folder.

    Example:
        >>> digest_of(Wanted("houses", "3", "../../elsewhere")) is None
        True
    """
    digest = wanted.digest
    return digest if digest and _DIGEST.fullmatch(digest) else None


def _not_there(config: Config, reference: Reference) -> ModelbookError:
    """Return why there is no version: what answered before is none that nobody made."""
    from modelbook.tracking.address import sqlite_path

    path = sqlite_path(config.tracking_uri)
    if path is None or path.is_file() or Shelf(config).recall(reference) is None:
        return no_such_model(_spelled(reference))
    return StoreAwayError(
        "the tracking store is gone",
        where=str(path),
        got="no such file",
        hint="bring it back, or correct MLFLOW_TRACKING_URI or tracking.uri",
    )


def _is_meant(entry: ModelVersion, reference: Reference) -> bool:
    if reference.version:
        return reference.version in {entry.version, entry.mlflow_version}
    return reference.alias is not None and entry.stage.lower() == reference.alias


def _spelled(reference: Reference) -> str:
    if reference.version:
        return f"{reference.name}/{reference.version}"
    return reference.name if reference.alias in {None, PRODUCTION} else f"{reference.name}@{reference.alias}"
