"""The outbox delivered, and what the project says of its runs brought in line with the store."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import NamedTuple

from filelock import FileLock, Timeout

from modelbook.config import Config
from modelbook.errors import ModelbookError, ProjectBusyError, StoreAwayError, TrackingStoreError
from modelbook.files import file_hash, storage_errors
from modelbook.logs import PipelineLogger, now
from modelbook.pipeline import layout
from modelbook.pipeline.lock import hold_project
from modelbook.pipeline.recording import enter_again
from modelbook.records import EvaluationReport, Record, RunMetadata
from modelbook.registry.registry import ModelRegistry
from modelbook.tracking.abandoned import close_abandoned, may_hold_abandoned
from modelbook.tracking.delivery import DeliveredRun, DeliveredVersion, deliver
from modelbook.tracking.events import GATE_TAG, TagsSet
from modelbook.tracking.lineage import command_line
from modelbook.tracking.outbox import FOLDER, Outbox, began, outbox_of, waiting
from modelbook.tracking.store import PATIENCE_S
from modelbook.tracking.writer import StoreWriter, open_writer

_OUTPUTS = (layout.PREDICTIONS, layout.PLOTS, layout.TRAIN)


class WaitingRun(Record):
    """A run that still waits in the outbox, and why."""

    uid: str
    run_name: str | None
    why: str


class SyncReport(Record):
    """What was delivered, and what still waits."""

    delivered: tuple[DeliveredRun, ...] = ()
    waiting: tuple[WaitingRun, ...] = ()


class Synced(NamedTuple):
    """A report, and what kept the first of the runs from being delivered, if anything did."""

    report: SyncReport
    error: ModelbookError | None


def sync(
    config: Config,
    *,
    patience_s: float = PATIENCE_S,
    is_waiting: bool = True,
    is_project_held: bool = False,
) -> Synced:
    """Deliver what waits in the outbox, the oldest run first; what a living process is writing stays.

    One process delivers at a time. What was delivered is removed last, so a run that was interrupted on the
    way is delivered again, which changes nothing. A run that began in another store is entered whole out of
    its outputs while they lie in the project and no other run holds it.

    Args:
        config: The project.
        patience_s: How long the store may take for an answer.
        is_waiting: Whether to wait while another process delivers.
        is_project_held: Whether the caller holds the project already.

    Raises:
        ProjectBusyError: Another process delivers.
        StorageError: The project's folder cannot be written or the disk is full.
    """
    if not waiting(config):
        return Synced(SyncReport(), None)
    with storage_errors(config.path(FOLDER)), _delivering(config, is_waiting=is_waiting):
        left = waiting(config)
        try:
            writer = open_writer(config, patience_s=patience_s)
        except ModelbookError as error:
            return Synced(SyncReport(waiting=tuple(_waits(outbox, error.what) for outbox in left)), error)
        synced = _deliver_all(left, writer, config)
        if not isinstance(synced.error, StoreAwayError):
            with suppress(TrackingStoreError):  # a run of its own tries again, and says so
                close_abandoned(writer.client, config, moment=now())
    return _completed(synced, config, is_project_held=is_project_held)


@contextmanager
def _delivering(config: Config, *, is_waiting: bool) -> Iterator[None]:
    """Be the one process that delivers."""
    lock = FileLock(config.path(FOLDER) / ".lock", timeout=-1 if is_waiting else 0)
    try:
        lock.acquire()
    except Timeout:
        raise ProjectBusyError("another process delivers what waits in logs/outbox") from None
    try:
        yield
    finally:
        lock.release()


def deliver_waiting(config: Config, log: PipelineLogger, *, is_project_held: bool = False) -> bool:
    """Deliver what waits in the outbox if the store answers, and say what became of it.

    Args:
        config: The project.
        log: What goes on is said here.
        is_project_held: Whether the caller holds the project.

    Returns:
        Whether the store was found to be away.
    """
    if not config.training.enable_mlflow:
        return False
    try:
        report, error = sync(config, is_waiting=False, is_project_held=is_project_held)
    except ProjectBusyError as busy:
        log.info(busy.what)
        return False
    for run in report.delivered:
        log.info(f"delivered what was recorded of run {run.run_name} ({run.run_id})")
        if run.incomplete:
            log.warning(f"run {run.run_name} ({run.run_id}) stands there as FAILED: {run.incomplete}")
    if error is not None:
        runs = f"{len(report.waiting)} run{'s' if len(report.waiting) > 1 else ''}"
        log.warning(f"{error.what} ({error.where}: {error.got}): {runs} still waiting in logs/outbox")
    return isinstance(error, StoreAwayError)


def close_left_open(config: Config, log: PipelineLogger) -> None:
    """Mark the runs as killed that a killed process of this project left open, where the store answers."""
    if not config.training.enable_mlflow or not may_hold_abandoned(config):
        return
    with suppress(TrackingStoreError):  # the next run that writes there tries again, and says so
        for run_id in close_abandoned(open_writer(config).client, config, moment=now()):
            log.info(f"run {run_id} was left open by a process that is gone: it is marked as KILLED")


def deliver_before(stage: str, config: Config) -> None:
    """Deliver what waits before a stage that DVC started by itself, unless this run found the store away."""
    if stage == "train" or (stage == "register" and not _is_begun_offline(config)):
        deliver_waiting(config, PipelineLogger(stage, folder=config.path(layout.LOGS)))


def _is_begun_offline(config: Config) -> bool:
    """Return whether the run to be judged waits in the outbox and was not judged yet."""
    path = config.path(layout.METADATA)
    outbox = outbox_of(config, RunMetadata.read(path).uid) if path.is_file() else None
    if outbox is None or not outbox.exists:
        return False
    return not any(isinstance(event, TagsSet) and GATE_TAG in event.tags for event in outbox.events())


def _deliver_all(outboxes: list[Outbox], writer: StoreWriter, config: Config) -> Synced:
    delivered: list[DeliveredRun] = []
    left: list[WaitingRun] = []
    first: ModelbookError | None = None
    for outbox in outboxes:
        if isinstance(first, StoreAwayError):
            left.append(_waits(outbox, first.what))
            continue
        try:
            delivered.append(_deliver(outbox, writer, config))
        except Timeout:
            left.append(_waits(outbox, "a process is still writing it"))
        except ModelbookError as error:
            first = error if first is None or isinstance(error, StoreAwayError) else first
            left.append(_waits(outbox, f"{error.what}: {error.got or error.where}"))
            if not isinstance(error, StoreAwayError):
                outbox.refuse(str(error))
    return Synced(SyncReport(delivered=tuple(delivered), waiting=tuple(left)), first)


def _deliver(outbox: Outbox, writer: StoreWriter, config: Config) -> DeliveredRun:
    with outbox.held(timeout_s=0):
        run = deliver(outbox, writer)
        registry = ModelRegistry(config)
        for version in run.versions:
            registry.note_delivery(
                version.name, version.digest, mlflow_version=version.version, run_id=run.run_id
            )
        _note_run(run, config)
        outbox.remove()
    return run


def _completed(synced: Synced, config: Config, *, is_project_held: bool) -> Synced:
    """Enter the run whole whose outputs lie in the project, where the store was given only its end."""
    report = synced.report
    cut_off = {run.uid for run in report.delivered if run.incomplete}
    if not cut_off:
        return synced
    holding = nullcontext() if is_project_held else hold_project(config, command=command_line())
    try:
        with holding:
            metadata = _lying(config)
            if metadata is None or metadata.uid not in cut_off:
                return synced
            delivered = [_entered(run, metadata, config) for run in report.delivered]
    except (ProjectBusyError, TrackingStoreError):  # it stays incomplete, which the report says
        return synced
    return synced._replace(report=report.model_copy(update={"delivered": tuple(delivered)}))


def _lying(config: Config) -> RunMetadata | None:
    """Return the record of the run whose outputs lie in the project; None where some of them are missing."""
    path = config.path(layout.METADATA)
    metadata = RunMetadata.read(path) if path.is_file() else None
    if metadata is None or not all(config.path(name).exists() for name in _OUTPUTS):
        return None
    model = config.path(layout.MODELS) / metadata.model.file
    is_its = model.is_file() and file_hash(model) == metadata.model.sha256
    return metadata if is_its else None


def _entered(run: DeliveredRun, metadata: RunMetadata, config: Config) -> DeliveredRun:
    if run.uid != metadata.uid:
        return run
    run_id, number = enter_again(metadata, config)
    if outbox_of(config, run.uid).exists:  # the store went away again
        return run
    name, digest = config.tracking.model_name, metadata.model.digest
    versions = () if number is None else (DeliveredVersion(name=name, digest=digest, version=number),)
    for version in versions:
        ModelRegistry(config).note_delivery(name, digest, mlflow_version=version.version, run_id=run_id)
    return run.model_copy(update={"status": "FINISHED", "incomplete": None, "versions": versions})


def _note_run(run: DeliveredRun, config: Config) -> None:
    """Let the evaluation report name the run as the store does."""
    path = config.path(layout.EVALUATION)
    report = EvaluationReport.read(path) if path.is_file() else None
    if report is not None and report.uid == run.uid and report.run_id != run.run_id:
        report.model_copy(update={"run_id": run.run_id}).write(path)


def _waits(outbox: Outbox, why: str) -> WaitingRun:
    try:
        start = began(outbox.events())
    except (ModelbookError, OSError):
        start = None
    return WaitingRun(uid=outbox.uid, run_name=start.name if start else None, why=why)
