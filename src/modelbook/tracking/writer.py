"""The one place that writes to MLflow: it applies events, each as often as you like with the same result."""

import tempfile
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from modelbook.config import Config, mask_password
from modelbook.errors import TrackingStoreError
from modelbook.files import link_or_copy
from modelbook.records import DataVersion
from modelbook.tracking import lifecycle, versions
from modelbook.tracking.absent import or_none
from modelbook.tracking.address import is_remote
from modelbook.tracking.events import (
    INCOMPLETE_TAG,
    PARENT_UID_TAG,
    UID_TAG,
    ArtifactLogged,
    Event,
    InputsLogged,
    MetricsLogged,
    ModelLogged,
    ModelRegistered,
    ParamsLogged,
    RunEnded,
    RunStarted,
    TagsSet,
)
from modelbook.tracking.keys import with_mlflow_keys
from modelbook.tracking.statistics import keep_statistics
from modelbook.tracking.store import PATIENCE_S, artifact_errors, open_patient, registering, store_errors

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Run

_EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}  # its page then shows runs
_PARENT_TAG = "mlflow.parentRunId"
_BATCH = 100


def open_writer(config: Config, *, patience_s: float = PATIENCE_S) -> "StoreWriter":
    """Return a writer to the project's tracking store, which answers.

    Args:
        config: The project.
        patience_s: How long each call may take, where the store is not a file of this machine.

    Raises:
        StoreAwayError: The store does not answer.
        TrackingStoreError: It cannot be used, or is of a kind that MLflow refuses.
    """
    return StoreWriter(open_patient(config, patience_s=patience_s), config)


class StoreWriter:
    """Applies the events of one run after the other to a tracking store.

    Args:
        client: The store.
        config: The project.

    Attributes:
        client: The store.
        run_id: The run that events are applied to.
    """

    def __init__(self, client: "MlflowClient", config: Config) -> None:
        self.client = client
        self.run_id = ""
        self._config = config
        self._known_parents: dict[str, str] = {}

    def apply(self, event: Event, files: Mapping[str, Path]) -> str | None:
        """Apply an event; applying it again changes nothing.

        Args:
            event: What happened.
            files: The files that belong to it, by the hash of their bytes.

        Returns:
            The run's id where it began, the version where a model was registered, and else None.

        Raises:
            StoreAwayError: The store does not answer or breaks down; it may have taken the event.
            TrackingStoreError: The store refuses the event.
        """
        with store_errors(self._config.tracking_uri):
            return self._apply(event, files)

    def _apply(self, event: Event, files: Mapping[str, Path]) -> str | None:
        match event:
            case RunStarted():
                return self._begin(event)
            case ParamsLogged():
                self._log_params(event.params)
            case MetricsLogged():
                self._log_metrics(event)
            case TagsSet():
                self._set_tags(event.tags)
            case InputsLogged():
                datasets = [_dataset(version) for version in event.inputs]
                self.client.log_inputs(self.run_id, datasets=datasets)
            case ArtifactLogged():
                with artifact_errors(self._config.tracking_uri):
                    self._log_artifact(event, files[event.sha256])
            case ModelLogged():
                versions.log_packed_model(
                    self.client, self._run(), event.model, files=files, example=event.example
                )
            case ModelRegistered():
                with registering(self._config.tracking_uri):
                    return versions.register(self.client, self._run(), event=event, files=files)
            case RunEnded():
                self._finish(event)
        return None

    def find_run(self, *, run_id: str | None, uid: str, experiment: str) -> "Run | None":
        """Return the run of an id, or of a uid where another store gave it another id.

        Raises:
            StoreAwayError: The store does not answer or breaks down.
            TrackingStoreError: The store refuses to say.
        """
        with store_errors(self._config.tracking_uri):
            return self._find(run_id, uid, experiment)

    def status(self) -> str:
        """Return the status that the store has of the run.

        Raises:
            StoreAwayError: The store does not answer or breaks down.
        """
        with store_errors(self._config.tracking_uri):
            return str(self._run().info.status)

    def end_other(self, run_id: str, status: str, ended_at: datetime) -> None:
        """Mark a run other than the current one as ended, if it is still open.

        Raises:
            StoreAwayError: The store does not answer or breaks down.
        """
        with store_errors(self._config.tracking_uri):
            run = or_none(lambda: self.client.get_run(run_id))
            if run is not None and run.info.status == "RUNNING":
                self._end(run_id, status, ended_at)

    def holding(self, name: str) -> lifecycle.Holding | None:
        """Return what the store holds of a model's way to production; None where it does not know the model.

        Raises:
            StoreAwayError: The store does not answer or breaks down.
        """
        with store_errors(self._config.tracking_uri):
            return lifecycle.read_holding(self.client, name, digest_tag=versions.DIGEST_TAG)

    def add_to_ledger(self, name: str, *, number: int, line: str) -> bool:
        """Add a line to a model's ledger, and return whether it has that number now; another one may have it.

        Raises:
            StoreAwayError: The store does not answer or breaks down; it may have taken the line.
        """
        with store_errors(self._config.tracking_uri):
            experiment_id = self._experiment_id(lifecycle.EXPERIMENT)
            return lifecycle.add_line(
                self.client, name, number=number, line=line, experiment_id=experiment_id
            )

    def restore_ledger(self, name: str) -> None:
        """Bring back a model's ledger that somebody deleted in the store.

        Raises:
            StoreAwayError: The store does not answer or breaks down.
        """
        with store_errors(self._config.tracking_uri):
            lifecycle.restore_ledger(self.client, name)

    def set_stages(
        self, name: str, *, aliases: Mapping[str, str | None], stages: Mapping[str, str], head: str
    ) -> None:
        """Let aliases and tags say the stages of versions, as `lifecycle.set_stages` does.

        Raises:
            StoreAwayError: The store does not answer or breaks down; some of it may be done.
        """
        with store_errors(self._config.tracking_uri):
            lifecycle.set_stages(self.client, name, aliases=aliases, stages=stages, head=head)

    def forget_model(self, model_id: str) -> None:
        """Let the store forget a logged model.

        Raises:
            StoreAwayError: The store does not answer or breaks down.
        """
        with store_errors(self._config.tracking_uri):
            self.client.delete_logged_model(model_id)

    def _begin(self, event: RunStarted) -> str:
        """Go on with the run where the store holds it, and else begin it."""
        run = self._find(event.run_id, event.uid, event.experiment)
        if run is None:
            run = self.client.create_run(
                self._experiment_id(event.experiment),
                start_time=_milliseconds(event.started_at),
                tags=with_mlflow_keys(event.tags) | {UID_TAG: event.uid} | self._parent_tag(event),
                run_name=event.name,
            )
        self.run_id = str(run.info.run_id)
        return self.run_id

    def _parent_tag(self, event: RunStarted) -> dict[str, str]:
        """Return MLflow's own tag for the run that another is part of, whatever id this store gave that."""
        uid = event.tags.get(PARENT_UID_TAG)
        if uid is None:
            return {}
        if uid not in self._known_parents and (parent := self._run_of_uid(uid, event.experiment)):
            self._known_parents[uid] = str(parent.info.run_id)
        return {_PARENT_TAG: self._known_parents[uid]} if uid in self._known_parents else {}

    def _run(self) -> "Run":
        return self.client.get_run(self.run_id)

    def _find(self, run_id: str | None, uid: str, experiment: str) -> "Run | None":
        run = or_none(lambda: self.client.get_run(run_id)) if run_id else None
        is_there = run is not None and run.info.lifecycle_stage == "active"
        return run if is_there else self._run_of_uid(uid, experiment)

    def _run_of_uid(self, uid: str, experiment: str) -> "Run | None":
        known = self.client.get_experiment_by_name(experiment)
        if known is None:
            return None
        found = self.client.search_runs([known.experiment_id], f"tags.`{UID_TAG}` = '{uid}'", max_results=1)
        return found[0] if found else None

    def _experiment_id(self, name: str) -> str:
        from mlflow.exceptions import MlflowException

        if (experiment := self.client.get_experiment_by_name(name)) is None:
            try:
                return self.client.create_experiment(name, self._artifact_location(), _EXPERIMENT_TAGS)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                experiment = self.client.get_experiment_by_name(name)
        if experiment is None or experiment.lifecycle_stage != "active":
            raise TrackingStoreError(
                "the experiment was deleted",
                where=f"{name!r} in {mask_password(self._config.tracking_uri)}",
                hint="restore it in MLflow, or give tracking.experiment another name",
            )
        return str(experiment.experiment_id)

    def _artifact_location(self) -> str | None:
        """Return where artifacts go; a server decides for itself."""
        if is_remote(self._config.tracking_uri):
            return None
        return (self._config.path("logs/mlruns") / uuid.uuid4().hex[:12]).as_uri()

    def _log_params(self, params: Mapping[str, str]) -> None:
        from mlflow.entities import Param

        self._log(params=[Param(key, value) for key, value in with_mlflow_keys(params).items()])

    def _log_metrics(self, event: MetricsLogged) -> None:
        from mlflow.entities import Metric

        metrics = with_mlflow_keys(event.metrics).items()
        self._log(metrics=[Metric(key, value, event.timestamp_ms, event.step) for key, value in metrics])

    def _set_tags(self, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        self._log(tags=[RunTag(key, value) for key, value in with_mlflow_keys(tags).items()])

    def _log(
        self, *, params: Sequence[Any] = (), metrics: Sequence[Any] = (), tags: Sequence[Any] = ()
    ) -> None:
        for start in range(0, max(len(params), len(metrics), len(tags)), _BATCH):
            part = slice(start, start + _BATCH)
            self.client.log_batch(self.run_id, metrics[part], params[part], tags[part])

    def _log_artifact(self, event: ArtifactLogged, source: Path) -> None:
        if source.name == event.name:
            self.client.log_artifact(self.run_id, str(source), event.folder)
            return
        with tempfile.TemporaryDirectory() as folder:
            named = Path(folder) / event.name
            link_or_copy(source, named)
            self.client.log_artifact(self.run_id, str(named), event.folder)

    def _finish(self, event: RunEnded) -> None:
        """End the run; what was said of a missing beginning is taken back: it was entered whole since."""
        if event.status == "FINISHED" and INCOMPLETE_TAG in self._run().data.tags:
            self.client.delete_tag(self.run_id, INCOMPLETE_TAG)
        self._end(self.run_id, event.status, event.ended_at)

    def _end(self, run_id: str, status: str, ended_at: datetime) -> None:
        self.client.set_terminated(run_id, status=status, end_time=_milliseconds(ended_at))
        keep_statistics(self._config.tracking_uri)


def _dataset(version: DataVersion) -> "DatasetInput":
    from mlflow.entities import Dataset, DatasetInput, InputTag

    return DatasetInput(
        Dataset(
            name=version.path,
            digest=version.md5,
            source_type="local",
            source=orjson.dumps({"uri": version.path}).decode(),
            profile=orjson.dumps({"num_rows": version.rows}).decode(),
        ),
        [InputTag("mlflow.data.context", Path(version.path).stem)],
    )


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
