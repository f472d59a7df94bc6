"""What the tracking store holds of one run, and which run made a registered version."""

import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from modelbook.config import Config
from modelbook.tracking.store import open_client, store_errors

_ABSENT = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}


@dataclass(frozen=True)
class HeldRun:
    """A run as the store holds it.

    Attributes:
        tags: Its tags.
        files: Some of its artifacts, by name.
    """

    tags: Mapping[str, str]
    files: Mapping[str, bytes]


def read_run(config: Config, run_id: str, *, names: Collection[str]) -> HeldRun | None:
    """Return a run of the store, of any experiment; None where the store does not know it.

    Args:
        config: The project.
        run_id: The run.
        names: The artifacts to read; what the run does not have is left out.

    Raises:
        TrackingStoreError: The store cannot be used.
    """
    client = open_client(config)
    from mlflow.exceptions import MlflowException

    with store_errors(config.tracking_uri), tempfile.TemporaryDirectory() as folder:
        try:
            tags = client.get_run(run_id).data.tags
        except MlflowException as error:
            if error.error_code not in _ABSENT:
                raise
            return None
        held = [entry.path for entry in client.list_artifacts(run_id) if entry.path in names]
        paths = {name: Path(client.download_artifacts(run_id, name, folder)) for name in held}
        return HeldRun(tags, {name: path.read_bytes() for name, path in paths.items()})


def run_of_version(config: Config, name: str, version: str | None) -> str | None:
    """Return the run that made a registered version; None where there is no such version or it names none.

    Raises:
        TrackingStoreError: The store cannot be used.
    """
    if version is None:
        return None
    client = open_client(config)
    from mlflow.exceptions import MlflowException

    with store_errors(config.tracking_uri):
        try:
            return client.get_model_version(name, version).run_id or None
        except MlflowException as error:
            if error.error_code not in _ABSENT:
                raise
            return None
