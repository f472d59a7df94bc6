"""Models of runs that the gate rejected: what a store in the project keeps of them, and how it goes."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from modelbook.config import Config
from modelbook.files import remove_folder
from modelbook.tracking.events import GATE_TAG
from modelbook.tracking.store import open_client, store_errors
from modelbook.tracking.versions import DIGEST_TAG
from modelbook.tracking.writer import open_writer

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_REJECTED = f"tags.`{GATE_TAG}` = 'rejected'"


@dataclass(frozen=True)
class RejectedModel:
    """The model of a rejected run, kept as files in the project.

    Attributes:
        model_id: MLflow's id of it.
        run_name: The run's name.
        digest: The digest of its fitted state.
        folder: Where its files are, or were.
    """

    model_id: str
    run_name: str
    digest: str
    folder: Path


def rejected_models(config: Config) -> list[RejectedModel]:
    """Return the models of rejected runs of the project's experiment that lie in the project.

    What a server or another folder keeps is its owner's to clear; a model that is registered all the same is
    none of them.

    Raises:
        TrackingStoreError: The store cannot be used.
    """
    client = open_client(config)
    with store_errors(config.tracking_uri):
        experiment = client.get_experiment_by_name(config.tracking.experiment)
        if experiment is None:
            return []
        runs = _all_runs(client, experiment.experiment_id)
        found = [model for run in runs for model in _models_of(client, run)]
        kept = {source for run in runs for source in _registered_from(client, run)}
    return [model for model, source in found if source not in kept and _is_inside(model.folder, config)]


def remove_rejected(config: Config, model: RejectedModel) -> None:
    """Remove the files of a model and let MLflow forget it; what was cut off is done again.

    Raises:
        TrackingStoreError: The store cannot be used.
        StorageError: The folder cannot be written.
    """
    remove_folder(model.folder)
    open_writer(config).forget_model(model.model_id)


def _all_runs(client: "MlflowClient", experiment_id: str) -> list["Run"]:
    runs: list[Run] = []
    token: str | None = None
    while True:
        page = client.search_runs([experiment_id], _REJECTED, max_results=1000, page_token=token)
        runs += page
        token = page.token
        if not token:
            return runs


def _models_of(client: "MlflowClient", run: "Run") -> Iterator[tuple[RejectedModel, str]]:
    query = f"source_run_id = '{run.info.run_id}'"
    for model in client.search_logged_models([run.info.experiment_id], filter_string=query):
        source = str(model.artifact_location)
        folder = Path(unquote(urlsplit(source).path))
        digest = model.tags.get(DIGEST_TAG, "")
        yield RejectedModel(model.model_id, run.info.run_name or "", digest, folder), source


def _registered_from(client: "MlflowClient", run: "Run") -> set[str]:
    """Return where the versions that a run made have their files."""
    return {str(version.source) for version in client.search_model_versions(f"run_id = '{run.info.run_id}'")}


def _is_inside(folder: Path, config: Config) -> bool:
    return folder.is_relative_to(config.path("logs").resolve()) or folder.is_relative_to(config.path("logs"))
