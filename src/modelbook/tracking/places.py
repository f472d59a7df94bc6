"""Where MLflow keeps artifacts: on this machine, where others do not get at them, or elsewhere."""

import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

from modelbook.config import Config
from modelbook.tracking.address import sqlite_path
from modelbook.tracking.store import name_filter, open_client, store_errors

_VERSIONS = 20


def experiment_folder(config: Config) -> Path | None:
    """Return the folder in which the project's own database has its experiment's artifacts kept.

    None where the store is no database in the project, or does not say.
    """
    database = sqlite_path(config.tracking_uri)
    if database is None or not database.is_file() or not database.is_relative_to(config.root):
        return None
    query = "SELECT artifact_location FROM experiments WHERE name = ?"
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as store:
        row = store.execute(query, (config.tracking.experiment,)).fetchone()
        if row and _is_local(row[0]):
            return Path(unquote(urlsplit(row[0]).path))
    return None


def versions_kept_here(config: Config) -> list[str]:
    """Return which of the latest versions of the project's model are kept as files of this machine.

    Raises:
        TrackingStoreError: The store cannot be used.
    """
    client, name = open_client(config), config.tracking.model_name
    with store_errors(config.tracking_uri):
        found = client.search_model_versions(name_filter(name), max_results=_VERSIONS)
        versions = sorted((str(version.version) for version in found), key=int, reverse=True)
        return [
            version for version in versions if _is_local(client.get_model_version_download_uri(name, version))
        ]


def _is_local(place: str) -> bool:
    return urlsplit(place).scheme in {"", "file"}
