"""Trials put on record while others are fitted: in the journal at once, in the tracking store after that."""

import queue
import tempfile
import threading
from importlib import import_module
from pathlib import Path

from modelbook.config import Config
from modelbook.files import link_or_copy, write_whole
from modelbook.logs import now
from modelbook.pipeline.sweeps.records import SweepRecord, TrialRecord
from modelbook.pipeline.sweeps.space import decoded
from modelbook.records import RunMetadata
from modelbook.tracking import journal
from modelbook.tracking.abandoned import process_tags
from modelbook.tracking.events import PARENT_UID_TAG, UID_TAG, RunStarted
from modelbook.tracking.lineage import lineage_tags
from modelbook.tracking.outbox import is_held_back
from modelbook.tracking.store import import_client
from modelbook.tracking.tracker import MLflowTracker

SWEEP_TAG = "modelbook.sweep"
TRIAL_TAG = "modelbook.trial"
STATE_TAG = "modelbook.trial.state"
ERROR_TAG = "modelbook.trial.error"

_STATUS = {"complete": "FINISHED", "pruned": "FINISHED", "failed": "FAILED"}


def import_libraries(config: Config) -> None:
    """Import what takes seconds, for a thread in which nobody waits for it: MLflow, and all that draws."""
    if config.training.enable_mlflow:
        import_client()
    import_module("modelbook.pipeline.sweeps.page")


class SweepRecorder:
    """Writes a sweep and its trials to the tracking store, in a thread of its own.

    What it has not come to when the process dies is found in the journal by the one that goes on, and
    entered then; entering a trial again changes nothing.

    Args:
        config: The project.
        sweep: The sweep.

    Attributes:
        run_id: The sweep's run, once it is open.
        is_online: Whether the store took everything so far.
    """

    def __init__(self, config: Config, sweep: SweepRecord) -> None:
        self.run_id = sweep.uid
        self.is_online = True
        self._config, self._sweep = config, sweep
        self._waiting: queue.Queue[TrialRecord | None] = queue.Queue()
        self._error: BaseException | None = None
        self._parent: MLflowTracker | None = None
        self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)
        self._thread.start()

    def keep(self, record: TrialRecord) -> None:
        """Keep a trial in the journal, and have it entered into the store as soon as there is time.

        Raises:
            StorageError: The journal cannot be written or the disk is full.
        """
        folder = self._config.path(journal.FOLDER) / record.uid
        record.write(folder / journal.TRIAL_FILE)
        if (metadata := metadata_of(record, self._config)) is not None:
            metadata.write(folder / journal.METADATA_FILE)
        self._waiting.put(record)

    def enter(self, record: TrialRecord) -> None:
        """Have a trial that is in the journal entered into the store."""
        self._waiting.put(record)

    def raise_error(self) -> None:
        """Raise what kept the thread from writing on, if anything did."""
        if self._error is not None:
            raise self._error

    def settle(self) -> None:
        """Enter what still waits, and take no more.

        Raises:
            TrackingStoreError: The store refuses what it is told.
        """
        self._stop()
        self.raise_error()

    def close(self, metrics: dict[str, float], report: Path) -> None:
        """Close the sweep's run with its report, after it was settled.

        Raises:
            TrackingStoreError: The store refuses what it is told.
        """
        if self._parent is None:
            return
        self._parent.log_metrics(metrics)
        self._parent.log_artifact(report)
        self._parent.end_run(ended_at=now())
        self.is_online = self.is_online and self._parent.is_online

    def abandon(self, status: str) -> None:
        """Close the sweep's run as it is; trials that wait are entered when the sweep goes on."""
        while not self._waiting.empty():
            self._waiting.get_nowait()
        self._stop()
        if self._parent is not None:
            self._parent.end_run(status)

    def _stop(self) -> None:
        self._waiting.put(None)
        self._thread.join()

    def _work(self) -> None:
        try:
            is_offline = is_held_back(self._config)
            self._parent = self._begun(is_offline=is_offline)
            tracker = MLflowTracker(self._config, is_offline=is_offline or not self._parent.is_online)
            while (record := self._waiting.get()) is not None:
                self._enter(tracker, record)
                self.is_online = self.is_online and tracker.is_online
        except BaseException as error:  # noqa: BLE001 (the sweep's own thread raises it)
            self._error = error

    def _begun(self, *, is_offline: bool) -> MLflowTracker:
        """Open the sweep's run, or the same one again."""
        sweep = self._sweep
        parent = MLflowTracker(self._config, is_offline=is_offline)
        tags = lineage_tags(sweep.lineage) | process_tags(self._config) | {UID_TAG: sweep.uid}
        started = RunStarted(
            uid=sweep.uid,
            name=sweep.run_name,
            experiment=sweep.experiment,
            started_at=sweep.started_at,
            tags=tags | {SWEEP_TAG: sweep.sweep_id},
        )
        is_known = parent.resume_run(started, is_new=True) is not None
        self.run_id = parent.run_id
        if not is_known:
            what = {"metric": sweep.score_name, "space": sweep.space}
            parent.log_params({f"sweep.{name}": value for name, value in what.items()})
            parent.log_lineage(sweep.lineage)
        return parent

    def _enter(self, tracker: MLflowTracker, record: TrialRecord) -> None:
        """Put all of a trial into the store, and note that it is there."""
        if tracker.resume_run(self._started(record), is_new=True) is None or not record.is_entered:
            record = record.model_copy(update={"run_id": tracker.run_id})
            _log(tracker, record, self._config)
        tracker.end_run(_STATUS[record.state], ended_at=record.ended_at)
        folder = self._config.path(journal.FOLDER) / record.uid
        record.model_copy(update={"is_entered": True}).write(folder / journal.TRIAL_FILE)
        if (metadata := metadata_of(record, self._config)) is not None:
            metadata.write(folder / journal.METADATA_FILE)

    def _started(self, record: TrialRecord) -> RunStarted:
        own = {
            UID_TAG: record.uid,
            PARENT_UID_TAG: record.sweep_uid,
            SWEEP_TAG: self._sweep.sweep_id,
            TRIAL_TAG: str(record.number),
            STATE_TAG: record.state,
        }
        own |= {ERROR_TAG: record.error} if record.error else {}
        return RunStarted(
            uid=record.uid,
            run_id=None if record.run_id == record.uid else record.run_id,
            name=record.run_name,
            experiment=self._sweep.experiment,
            started_at=record.started_at,
            tags=lineage_tags(record.lineage) | process_tags(self._config) | own,
        )


def metadata_of(record: TrialRecord, config: Config) -> RunMetadata | None:
    """Return the record of a trial as that of a run; None where no model came of it."""
    result = record.result
    if result is None or result.model is None:
        return None
    return RunMetadata(
        uid=record.uid,
        run_id=record.run_id,
        run_name=record.run_name,
        experiment=config.tracking.experiment,
        started_at=record.started_at,
        ended_at=record.ended_at,
        params=result.params,
        metrics=result.metrics,
        importances={},
        model=result.model,
        lineage=record.lineage,
    )


def kept_trial(config: Config, uid: str) -> TrialRecord | None:
    """Return what the journal has of a trial."""
    path = config.path(journal.FOLDER) / uid / journal.TRIAL_FILE
    return TrialRecord.read(path) if path.is_file() else None


def _log(tracker: MLflowTracker, record: TrialRecord, config: Config) -> None:
    result, metadata = record.result, metadata_of(record, config)
    if result is None or metadata is None:
        tracker.log_params(decoded(record.point))
    if result is not None:
        tracker.log_params(result.params)
        tracker.log_metrics(result.metrics | result.further, moment=record.ended_at)
        for step, score in enumerate(result.folds):
            tracker.log_metrics({"fold_score": score}, step=step, moment=record.ended_at)
    tracker.log_lineage(record.lineage)
    if metadata is None:
        return
    kept = config.path(journal.FOLDER) / record.uid / journal.PREDICTIONS_FILE
    with tempfile.TemporaryDirectory() as folder:
        write_whole(Path(folder) / journal.METADATA_FILE, metadata.to_bytes())
        link_or_copy(kept, Path(folder) / journal.PREDICTIONS_FILE)
        tracker.log_artifacts(folder)
