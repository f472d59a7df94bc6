"""What waits in an outbox is told to the store, as often as it takes."""

from datetime import UTC, datetime

from modelbook.errors import ModelbookError, TrackingStoreError
from modelbook.files import file_hash
from modelbook.records import Record
from modelbook.tracking.events import (
    INCOMPLETE_TAG,
    ArtifactLogged,
    Event,
    ModelLogged,
    ModelRegistered,
    RunEnded,
    RunStarted,
)
from modelbook.tracking.outbox import Outbox, began, ended
from modelbook.tracking.writer import StoreWriter


class DeliveredVersion(Record):
    """A registered version that an outbox held: the model's name, its digest and the version it was given."""

    name: str
    digest: str
    version: str


class DeliveredRun(Record):
    """A run that an outbox held, as the store has it now.

    Attributes:
        uid: Its own id.
        run_id: The id that the store gave it.
        run_name: Its name.
        status: How it ended.
        events: How many events were delivered.
        versions: The versions that its model was given.
        incomplete: What is missing of it, where it began in another store; None where it is whole.
    """

    uid: str
    run_id: str
    run_name: str
    status: str
    events: int
    versions: tuple[DeliveredVersion, ...]
    incomplete: str | None = None


def deliver(outbox: Outbox, writer: StoreWriter) -> DeliveredRun:
    """Tell a store everything that an outbox holds; the outbox, whose lock is held, stays as it is.

    A run whose process was killed is marked so, with the time of its last sign of life. A run that began in
    another store than this one, which so does not hold what came before, ends as `FAILED` with a tag that
    says what is missing. Doing this again changes nothing, wherever it was interrupted.

    Raises:
        StoreAwayError: The store does not answer or breaks down.
        TrackingStoreError: The store refuses an event.
        ModelbookError: The outbox is damaged.
    """
    events = outbox.events()
    start = began(events)
    if start is None:
        raise ModelbookError("the outbox does not say how its run began", where=str(outbox.folder))
    incomplete = _what_is_missing(start, writer)
    if incomplete:
        events = _cut_off(events, incomplete)
    versions = []
    for event in events:
        answer = _apply(event, outbox, writer)
        if isinstance(event, ModelRegistered):
            versions.append(DeliveredVersion(name=event.name, digest=event.digest, version=answer or ""))
    end = ended(events)
    if end is None:
        writer.end_other(writer.run_id, "KILLED", datetime.fromtimestamp(outbox.written_at, tz=UTC))
    return DeliveredRun(
        uid=outbox.uid,
        run_id=writer.run_id,
        run_name=start.name,
        status=writer.status(),
        events=len(events),
        versions=tuple(versions),
        incomplete=incomplete,
    )


def _what_is_missing(start: RunStarted, writer: StoreWriter) -> str | None:
    """Return what a store lacks of a run that was begun before its events had to wait; None where nothing.

    The store that the run began in knows it by its id. Another one, or an older copy of it, does not; what an
    interrupted delivery began there is known by its tag.
    """
    if start.begun_in is None:
        return None
    run = writer.find_run(run_id=start.run_id, uid=start.uid, experiment=start.experiment)
    if run is not None and (run.info.run_id == start.run_id or INCOMPLETE_TAG not in run.data.tags):
        return None
    return f"it began as run {start.run_id} in {start.begun_in}: what it recorded there is not here"


def _cut_off(events: list[Event], incomplete: str) -> list[Event]:
    """Return the events of a run whose beginning is missing, which say so.

    A model that was recorded before is not there to be registered.
    """
    logged = {event.model.digest for event in events if isinstance(event, ModelLogged)}
    changed: list[Event] = []
    for event in events:
        match event:
            case RunStarted():
                changed.append(event.model_copy(update={"tags": event.tags | {INCOMPLETE_TAG: incomplete}}))
            case RunEnded(status="FINISHED"):
                changed.append(event.model_copy(update={"status": "FAILED"}))
            case ModelRegistered() if event.digest not in logged:
                pass
            case _:
                changed.append(event)
    return changed


def _apply(event: Event, outbox: Outbox, writer: StoreWriter) -> str | None:
    files = {sha256: outbox.file(sha256) for sha256 in _needed(event)}
    for sha256, path in files.items():
        if not path.is_file() or file_hash(path) != sha256:
            raise ModelbookError(
                "a file in the outbox is damaged or missing: its run is not delivered",
                where=str(path),
                expected=f"a file of sha256 {sha256}",
                hint="restore it from a backup, or move its folder away to give up what it holds",
            )
    if isinstance(event, ModelRegistered) and outbox.file(event.sha256).is_file():
        files[event.sha256] = outbox.file(event.sha256)
    try:
        return writer.apply(event, files)
    except TrackingStoreError as error:
        error.where = f"{error.where}; event {event.kind!r} of {outbox.folder}"
        raise


def _needed(event: Event) -> list[str]:
    match event:
        case ArtifactLogged():
            return [event.sha256]
        case ModelLogged():
            return [event.model.sha256, *(file.sha256 for file in event.model.code)]
        case _:
            return []
