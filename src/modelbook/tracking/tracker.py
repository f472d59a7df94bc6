"""The tracker: what a run's code calls. It makes events of the calls, for the store or for the outbox."""

import tempfile
import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from modelbook.config import Config, ConfigLike, load_config
from modelbook.errors import ModelbookError, TrackingStoreError, UsageError
from modelbook.files import file_hash, write_whole
from modelbook.logs import STAMP, PipelineLogger, now
from modelbook.records import DataVersion, Lineage, ModelRecord
from modelbook.tracking.abandoned import process_tags
from modelbook.tracking.channel import NO_FILES, Channel
from modelbook.tracking.events import (
    GATE_TAG,
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
from modelbook.tracking.lineage import command_line, lineage_files, lineage_tags, read_lineage

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient

_LONGEST_VALUE = 5000


class MLflowTracker:
    """Records a run in MLflow, with everything that it came from.

    Used alone, around a user's own code, it records the same lineage as the pipeline does. Where the tracking
    store does not answer, or stops answering on the way, everything goes to the outbox from there on, which
    `modelbook sync` delivers. With `training.enable_mlflow` off it records nothing.

    Args:
        config: The settings.
        clock: Says what time it is.
        is_offline: Whether to write to the outbox without trying the store first.

    Attributes:
        config: The settings.
        training_config: Their part about training.
        logger: The log it writes to.
        uid: The run's own id, kept in every store.
        run_id: The id that the store gave it; the uid where there is none.
    """

    def __init__(
        self, config: ConfigLike, *, clock: Callable[[], datetime] = now, is_offline: bool = False
    ) -> None:
        self.config: Config = load_config(config)
        self.training_config = self.config.training
        self.logger = PipelineLogger("tracking")
        self.uid = uuid.uuid4().hex
        self.run_id = self.uid
        self._clock = clock
        self._params: dict[str, str] = {}
        is_on = self.training_config.enable_mlflow
        self._channel = Channel(self.config, self.logger, is_offline=is_offline) if is_on else None
        self._is_active = False

    @property
    def is_recording(self) -> bool:
        """Whether what is logged is recorded, in the store or in the outbox."""
        return self._channel is not None

    @property
    def is_online(self) -> bool:
        """Whether the store takes what is logged."""
        return self._channel is not None and self._channel.writer is not None

    def start_run(
        self,
        run_name: str | None = None,
        *,
        lineage: Lineage | None = None,
        started_at: datetime | None = None,
    ) -> str:
        """Open a run and return its id, after closing those that killed processes of this project left open.

        Args:
            run_name: Its name; `<algorithm>_<YYYYmmdd_HHMMSS>` by default.
            lineage: What the result will come from; read now by default, and recorded with its files.
            started_at: When it began; now by default.

        Raises:
            UsageError: A run is open already.
            TrackingStoreError: The store refuses the run, or is a file of the project's that cannot be used.
        """
        if self._is_active:
            raise UsageError("a run is open already", hint="end it with end_run() first")
        self.uid = self.run_id = uuid.uuid4().hex
        if self._channel is None:
            self._is_active = True
            return self.run_id
        own = lineage or self._read_lineage()
        started = self._start(run_name, own, started_at or self._clock())
        self._channel.close_abandoned(self._clock())
        self.run_id = self._channel.begin(started)
        self._is_active = True
        if lineage is None:
            self.log_lineage(own)
        return self.run_id

    def resume_run(self, started: RunStarted, *, is_new: bool = False) -> str | None:
        """Go on with a run, after beginning it where neither the outbox nor the store has it.

        What waits of it in the outbox is added to there, without another try at the store.

        Args:
            started: How the run began.
            is_new: Whether it is no surprise that the store does not know it.

        Returns:
            The status that it had; None where it was unknown, or the store does not say.

        Raises:
            TrackingStoreError: The store refuses to say.
        """
        self.uid, self.run_id, status = started.uid, started.run_id or started.uid, None
        if self._channel is not None:
            self.run_id, status = self._channel.resume(started, is_new=is_new)
        self._is_active = True
        return status

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Record settings.

        Raises:
            TrackingStoreError: A parameter has another value already.
        """
        texts = {key: _bounded(value) for key, value in params.items()}
        for key, value in texts.items():
            if self._params.get(key, value) != value:
                raise TrackingStoreError(
                    "a parameter keeps its first value",
                    where=f"parameter {key}",
                    got=value,
                    expected=self._params[key],
                    hint="give the other value another name, or begin another run",
                )
        self._emit(ParamsLogged(params=texts))
        self._params |= texts

    def log_metrics(
        self, metrics: Mapping[str, float], *, step: int = 0, moment: datetime | None = None
    ) -> None:
        """Record metrics.

        Args:
            metrics: Values by name.
            step: The step that they belong to.
            moment: When they were measured; now by default.
        """
        values = {key: float(value) for key, value in metrics.items()}
        stamp = int((moment or self._clock()).timestamp() * 1000)
        self._emit(MetricsLogged(metrics=values, step=step, timestamp_ms=stamp))

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Record tags; a later value replaces an earlier one."""
        self._emit(TagsSet(tags={key: _bounded(value) for key, value in tags.items()}))

    def log_inputs(self, versions: Iterable[DataVersion]) -> None:
        """Record data files as MLflow dataset inputs, with DVC's hash as their digest."""
        self._emit(InputsLogged(inputs=tuple(versions)))

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

        Raises:
            OSError: The file cannot be read.
        """
        if not self.is_recording:
            return
        source = Path(path)
        event = ArtifactLogged(name=source.name, folder=artifact_path, sha256=file_hash(source))
        self._emit(event, {event.sha256: source})

    def log_artifacts(self, folder: str | Path) -> None:
        """Record every file of a folder, under the folders that they have in it."""
        for path in sorted(file for file in Path(folder).rglob("*") if file.is_file()):
            place = path.parent.relative_to(folder).as_posix()
            self.log_artifact(path, None if place == "." else place)

    def log_model(self, model: Any, registered_model_name: str | None = None) -> str | None:
        """Record a fitted scikit-learn model, and register it if it is given a name.

        A model registered this way passed no gate: its version carries `modelbook.gate` = `none`.

        Args:
            model: A fitted estimator or pipeline that takes a table with named columns.
            registered_model_name: The name to register it under.

        Returns:
            The registered version; None where nothing was registered, or not yet.

        Raises:
            ModelRefusedError: It holds types that could not be loaded again.
        """
        from modelbook.models.description import describe_inputs
        from modelbook.models.package import pack

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
        if not registered_model_name:
            return None
        return self.register(registered_model_name, record, tags={GATE_TAG: "none"})

    def log_packed_model(
        self, record: ModelRecord, package: Path, *, example: "pd.DataFrame | None" = None
    ) -> None:
        """Record a packed model: in MLflow's own format, loadable by plain MLflow.

        A run holds a model of one digest once, however often this is called.

        Args:
            record: The packed model.
            package: The folder that it was packed into; its files are replaced, never written over in place.
            example: A few rows of raw columns.
        """
        rows = None if example is None else example.to_json(orient="split", index=False, date_format="iso")
        self._emit(ModelLogged(model=record, example=rows), _package_files(record, package), is_shared=True)

    def register(
        self, name: str, record: ModelRecord, *, tags: Mapping[str, str], package: Path | None = None
    ) -> str | None:
        """Register the run's model and return its version; one digest is registered once under a name.

        Args:
            name: The model's name in the registry.
            record: The packed model.
            tags: What the version is to carry, beside its digest and hash.
            package: The folder that the model was packed into, for a local store to share the file with.

        Returns:
            The version; None where the store is away and gives one later.

        Raises:
            TrackingStoreError: The store does not hold the model, or refuses the version.
        """
        event = ModelRegistered(
            name=name, digest=record.digest, file=record.file, sha256=record.sha256, tags=dict(tags)
        )
        files = {} if package is None else {record.sha256: package / record.file}
        return self._emit(event, files, is_shared=True)

    def end_run(self, status: str = "FINISHED", *, ended_at: datetime | None = None) -> None:
        """Close the run.

        Args:
            status: `FINISHED`, `FAILED` or `KILLED`.
            ended_at: When it ended; now by default.
        """
        if not self._is_active:
            return
        try:
            self._emit(RunEnded(status=status, ended_at=ended_at or self._clock()))
        finally:
            self.leave_run()

    def leave_run(self) -> None:
        """Write nothing more to the run, and leave it as it is."""
        self._is_active, self._params = False, {}
        if self._channel is not None:
            self._channel.leave()

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
        except ModelbookError as error:  # what went wrong first is what the user is to see
            self.logger.warning(f"run {self.run_id} stays open in the tracking store: {error.got}")

    @property
    def _client(self) -> "MlflowClient":
        if self._channel is None or self._channel.writer is None:
            raise TrackingStoreError("no tracking store is open")
        return self._channel.writer.client

    def _start(self, name: str | None, lineage: Lineage, started_at: datetime) -> RunStarted:
        return RunStarted(
            uid=self.uid,
            name=name or f"{self.config.model.algorithm}_{started_at.strftime(STAMP)}",
            experiment=self.config.tracking.experiment,
            started_at=started_at,
            tags=lineage_tags(lineage) | process_tags(self.config) | {UID_TAG: self.uid},
        )

    def _emit(
        self, event: Event, files: Mapping[str, Path] = NO_FILES, *, is_shared: bool = False
    ) -> str | None:
        if self._channel is None:
            return None
        if not self._is_active:
            self.start_run()
        return self._channel.send(event, files, is_shared=is_shared)

    def _read_lineage(self) -> Lineage:
        raw = self.config.data.raw
        data = [raw] if self.config.path(raw).is_file() else []
        return read_lineage(self.config, data=data, rows={}, threads=1, command=command_line())


def _package_files(record: ModelRecord, package: Path) -> dict[str, Path]:
    from modelbook.models.integrity import CODE_FOLDER

    code = {file.sha256: package / CODE_FOLDER / file.name for file in record.code}
    return {record.sha256: package / record.file} | code


def _bounded(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"
