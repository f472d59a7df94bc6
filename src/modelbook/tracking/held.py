"""What the tracking store holds of one run, and which run made a registered version."""

import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from modelbook.config import Config
from modelbook.tracking.absent import or_none
from modelbook.tracking.store import artifact_errors, open_client, store_errors


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
    uri = config.tracking_uri
    with store_errors(uri), artifact_errors(uri), tempfile.TemporaryDirectory() as folder:
        run = or_none(lambda: client.get_run(run_id))
        if run is None:
            return None
        held = [entry.path for entry in client.list_artifacts(run_id) if entry.path in names]
        paths = {name: Path(client.download_artifacts(run_id, name, folder)) for name in held}
        return HeldRun(run.data.tags, {name: path.read_bytes() for name, path in paths.items()})


def run_of_version(config: Config, name: str, version: str | None) -> str | None:
    """Return the run that made a registered version; None where there is no such version or it names none.

    Raises:
        TrackingStoreError: The store cannot be used.
    """
    if version is None:
        return None
    client = open_client(config)
    with store_errors(config.tracking_uri):
        found = or_none(lambda: client.get_model_version(name, version))
    return found.run_id or None if found else None
