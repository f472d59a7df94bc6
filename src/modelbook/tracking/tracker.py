"""The one place that writes runs and models to MLflow."""

import tempfile
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import orjson

from modelbook.config import Config, ConfigLike, load_config, mask_password
from modelbook.errors import TrackingStoreError, UsageError
from modelbook.files import write_whole
from modelbook.logs import STAMP, PipelineLogger, now
from modelbook.records import DataVersion, Lineage, ModelRecord
from modelbook.tracking import versions
from modelbook.tracking.lineage import command_line, lineage_files, lineage_tags, read_lineage
from modelbook.tracking.store import is_remote, open_client, store_errors

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities import Run

UID_TAG = "modelbook.uid"
GATE_TAG = "modelbook.gate"

_EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}  # its page then shows runs
_LONGEST_VALUE = 5000
_BATCH = 100


class MLflowTracker:
    """Records a run in MLflow, with everything that it came from.

    Used alone, around a user's own code, it records the same lineage as the pipeline does. With
    `training.enable_mlflow` off, or with the tracking server away, it records nothing and says so once.

    Args:
        config: The settings.
        clock: Says what time it is.

    Attributes:
        config: The settings.
        training_config: Their part about training.
        logger: The log it writes to.
        uid: The run's own id, kept in every store.
        run_id: The id that the store gave it; the uid where there is none.
        is_recording: Whether a store takes what is logged.
    """

    def __init__(self, config: ConfigLike, *, clock: Callable[[], datetime] = now) -> None:
        self.config: Config = load_config(config)
        self.training_config = self.config.training
        self.logger = PipelineLogger("tracking")
        self.uid = uuid.uuid4().hex
        self.run_id = self.uid
        self._clock = clock
        self._is_active = False
        self._client_or_none = self._open() if self.training_config.enable_mlflow else None

    @property
    def is_recording(self) -> bool:
        """Whether a store takes what is logged."""
        return self._client_or_none is not None

    def start_run(
        self,
        run_name: str | None = None,
        *,
        lineage: Lineage | None = None,
        uid: str | None = None,
        started_at: datetime | None = None,
    ) -> str:
        """Open a run and return its id.

        Args:
            run_name: Its name; `<algorithm>_<YYYYmmdd_HHMMSS>` by default.
            lineage: What the result will come from; read now by default, and recorded with its files.
            uid: The run's own id, when one that was recorded elsewhere is entered here.
            started_at: When it began; now by default.

        Raises:
            UsageError: A run is open already.
            TrackingStoreError: The store cannot be used.
        """
        if self._is_active:
            raise UsageError("a run is open already", hint="end it with end_run() first")
        started_at = started_at or self._clock()
        name = run_name or f"{self.config.model.algorithm}_{started_at.strftime(STAMP)}"
        self.uid = self.run_id = uid or uuid.uuid4().hex
        self._is_active = True
        if self._client_or_none is None:
            return self.run_id
        own = lineage or self._read_lineage()
        tags = lineage_tags(own) | {UID_TAG: self.uid}
        with self._errors():
            run = self._client.create_run(
                self._experiment_id(), start_time=_milliseconds(started_at), tags=tags, run_name=name
            )
        self.run_id = run.info.run_id
        if lineage is None:
            self.log_lineage(own)
        return self.run_id

    def resume_run(self, run_id: str, *, uid: str) -> None:
        """Go on with a run that the store holds."""
        self.run_id, self.uid, self._is_active = run_id, uid, True

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Record settings. MLflow keeps a parameter's first value and refuses another."""
        if not self.is_recording:
            return
        from mlflow.entities import Param

        entities = [Param(key, _bounded(value)) for key, value in params.items()]
        self._log(params=entities)

    def log_metrics(
        self, metrics: Mapping[str, float], *, step: int = 0, moment: datetime | None = None
    ) -> None:
        """Record metrics.

        Args:
            metrics: Values by name.
            step: The step that they belong to.
            moment: When they were measured; now by default.
        """
        if not self.is_recording:
            return
        from mlflow.entities import Metric

        stamp = _milliseconds(moment or self._clock())
        self._log(metrics=[Metric(key, float(value), stamp, step) for key, value in metrics.items()])

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Record tags; a later value replaces an earlier one."""
        if not self.is_recording:
            return
        from mlflow.entities import RunTag

        self._log(tags=[RunTag(key, _bounded(value)) for key, value in tags.items()])

    def log_inputs(self, versions: Iterable[DataVersion]) -> None:
        """Record data files as MLflow dataset inputs, with DVC's hash as their digest."""
        if not self.is_recording:
            return
        from mlflow.entities import Dataset, DatasetInput, InputTag

        inputs = [
            DatasetInput(
                Dataset(
                    name=version.path,
                    digest=version.md5,
                    source_type="local",
                    source=orjson.dumps({"uri": version.path}).decode(),
                    profile=orjson.dumps({"num_rows": version.rows}).decode(),
                ),
                [InputTag("mlflow.data.context", Path(version.path).stem)],
            )
            for version in versions
        ]
        with self._errors():
            self._client.log_inputs(self._active_run_id, datasets=inputs)

    def log_lineage(self, lineage: Lineage) -> None:
        """Record the inputs, settings, packages and uncommitted changes that a result comes from."""
        if not self.is_recording:
            return
        self.log_inputs(lineage.data)
        with tempfile.TemporaryDirectory() as folder:
            for name, content in lineage_files(lineage).items():
                write_whole(Path(folder) / name, content)
            self.log_artifacts(folder)

    def log_artifact(self, path: str | Path, artifact_path: str | None = None) -> None:
        """Record a file.

        Args:
            path: The file.
            artifact_path: The folder it goes to among the run's artifacts.
        """
        if self.is_recording:
            with self._errors():
                self._client.log_artifact(self._active_run_id, str(path), artifact_path)

    def log_artifacts(self, folder: str | Path) -> None:
        """Record every file of a folder."""
        if self.is_recording:
            with self._errors():
                self._client.log_artifacts(self._active_run_id, str(folder))

    def log_model(self, model: Any, registered_model_name: str | None = None) -> str | None:
        """Record a fitted scikit-learn model, and register it if it is given a name.

        A model registered this way passed no gate: its version carries `modelbook.gate` = `none`.

        Args:
            model: A fitted estimator or pipeline that takes a table with named columns.
            registered_model_name: The name to register it under.

        Returns:
            The registered version; None where nothing was registered.

        Raises:
            ModelRefusedError: It holds types that could not be loaded again.
        """
        from modelbook.models.package import describe_inputs, pack

        with tempfile.TemporaryDirectory() as folder:
            record = pack(
                model,
                Path(folder),
                algorithm=type(model).__name__,
                task=self.config.project.task,
                target=self.config.data.target,
                inputs=describe_inputs(model, self.config),
                code=(),
            )
            self.log_packed_model(record, Path(folder))
        if not (registered_model_name and self.is_recording):
            return None
        return self.register(registered_model_name, record, tags={GATE_TAG: "none"})

    def log_packed_model(
        self, record: ModelRecord, package: Path, *, example: "pd.DataFrame | None" = None
    ) -> None:
        """Record a packed model: in MLflow's own format, loadable by plain MLflow.

        A run holds a model of one digest once, however often this is called.

        Args:
            record: The packed model.
            package: The folder that it was packed into.
            example: A few rows of raw columns.
        """
        if self.is_recording:
            with self._errors():
                versions.log_packed_model(self._client, self._run(), record, package=package, example=example)

    def register(
        self, name: str, record: ModelRecord, *, tags: Mapping[str, str], package: Path | None = None
    ) -> str:
        """Register the run's model and return its version; one digest is registered once under a name.

        Args:
            name: The model's name in the registry.
            record: The packed model.
            tags: What the version is to carry, beside its digest and hash.
            package: The folder that the model was packed into, for a local store to share the file with.

        Raises:
            TrackingStoreError: The store cannot be used or does not hold the model.
        """
        with self._errors():
            return versions.register(self._client, self._run(), record, name=name, tags=tags, package=package)

    def find_run(self, *, run_id: str, uid: str) -> "Run | None":
        """Return the run of an id, or of a uid where another store gave it another id."""
        from mlflow.exceptions import MlflowException

        if not self.is_recording:
            return None
        with self._errors():
            try:
                run = self._client.get_run(run_id)
            except MlflowException as error:
                if error.error_code not in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
                    raise
            else:
                return run if run.info.lifecycle_stage == "active" else None
            found = self._client.search_runs(
                [self._experiment_id()], f"tags.`{UID_TAG}` = '{uid}'", max_results=1
            )
        return found[0] if found else None

    def end_run(self, status: str = "FINISHED", *, ended_at: datetime | None = None) -> None:
        """Close the run.

        Args:
            status: `FINISHED`, `FAILED` or `KILLED`.
            ended_at: When it ended; now by default.
        """
        if self._is_active and self.is_recording:
            with self._errors():
                moment = _milliseconds(ended_at or self._clock())
                self._client.set_terminated(self.run_id, status=status, end_time=moment)
        self._is_active = False

    def close_abandoned(self, run_id: str) -> None:
        """Mark a run as `KILLED` if it is still open; one that the store does not know is left alone."""
        if not self.is_recording:
            return
        run = self.find_run(run_id=run_id, uid=run_id)
        if run is not None and run.info.status == "RUNNING":
            with self._errors():
                self._client.set_terminated(run_id, status="KILLED", end_time=_milliseconds(self._clock()))

    def stop_recording(self) -> None:
        """Write nothing more, as where the store went away; the run stays open there and can be resumed."""
        self._is_active = False
        self._client_or_none = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.end_run()
            return
        try:
            self.end_run("KILLED" if issubclass(kind, (KeyboardInterrupt, SystemExit)) else "FAILED")
        except TrackingStoreError as error:  # what went wrong first is what the user is to see
            self.logger.warning(f"run {self.run_id} stays open in the tracking store: {error.got}")

    @property
    def _client(self) -> "MlflowClient":
        if self._client_or_none is None:
            raise TrackingStoreError("no tracking store is open")
        return self._client_or_none

    def _run(self) -> "Run":
        return self._client.get_run(self._active_run_id)

    @property
    def _active_run_id(self) -> str:
        if not self._is_active:
            self.start_run()
        return self.run_id

    def _open(self) -> "MlflowClient | None":
        try:
            return open_client(self.config)
        except TrackingStoreError as error:
            if not is_remote(self.config.tracking_uri):
                raise
            self.logger.warning(
                f"{error.what} ({error.where}: {error.got}): the run is recorded locally, and entered "
                "into the store by the next `modelbook run` that reaches it"
            )
            return None

    def _errors(self) -> Any:
        return store_errors(self.config.tracking_uri)

    def _read_lineage(self) -> Lineage:
        raw = self.config.data.raw
        data = [raw] if self.config.path(raw).is_file() else []
        return read_lineage(self.config, data=data, rows={}, threads=1, command=command_line())

    def _experiment_id(self) -> str:
        from mlflow.exceptions import MlflowException

        name = self.config.tracking.experiment
        if (experiment := self._client.get_experiment_by_name(name)) is None:
            try:
                return self._client.create_experiment(name, self._artifact_location(), _EXPERIMENT_TAGS)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                experiment = self._client.get_experiment_by_name(name)
        if experiment is None or experiment.lifecycle_stage != "active":
            raise TrackingStoreError(
                "the experiment was deleted",
                where=f"{name!r} in {mask_password(self.config.tracking_uri)}",
                hint="restore it in MLflow, or give tracking.experiment another name",
            )
        return str(experiment.experiment_id)

    def _artifact_location(self) -> str | None:
        """Return where artifacts go; a server decides for itself."""
        if is_remote(self.config.tracking_uri):
            return None
        return (self.config.path("logs/mlruns") / uuid.uuid4().hex[:12]).as_uri()

    def _log(
        self, *, params: Sequence[Any] = (), metrics: Sequence[Any] = (), tags: Sequence[Any] = ()
    ) -> None:
        run_id = self._active_run_id
        with self._errors():
            for start in range(0, max(len(params), len(metrics), len(tags)), _BATCH):
                part = slice(start, start + _BATCH)
                self._client.log_batch(run_id, metrics[part], params[part], tags[part])


def _bounded(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
