"""What happens to a run, as small records that know nothing of MLflow.

A tracker turns each call into one of these. The store's writer applies it, or the outbox keeps it for later.
"""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from modelbook.records import DataVersion, ModelRecord, Record

UID_TAG = "modelbook.uid"
GATE_TAG = "modelbook.gate"
INCOMPLETE_TAG = "modelbook.incomplete"
PARENT_UID_TAG = "modelbook.parent.uid"


class RunStarted(Record):
    """A run began, or is gone on with.

    Attributes:
        uid: The run's own id, which it keeps in every store.
        run_id: The id that a store gave it, where one had begun it already.
        name: Its name.
        experiment: The experiment that it belongs to.
        started_at: When it began.
        tags: What it is tagged with from its first moment on.
        begun_in: The store that was told what came before the events that follow, an address without its
            secrets; None where they are all there is.
    """

    kind: Literal["run_started"] = "run_started"
    uid: str
    run_id: str | None = None
    name: str
    experiment: str
    started_at: datetime
    tags: dict[str, str]
    begun_in: str | None = None


class ParamsLogged(Record):
    """Settings were recorded."""

    kind: Literal["params"] = "params"
    params: dict[str, str]


class MetricsLogged(Record):
    """Metrics were recorded, all of one step and one moment.

    Attributes:
        metrics: Values by name; NaN and the infinities are values like others.
        step: The step that they belong to.
        timestamp_ms: When they were measured, in milliseconds since 1970.
    """

    kind: Literal["metrics"] = "metrics"
    metrics: dict[str, float]
    step: int
    timestamp_ms: int


class TagsSet(Record):
    """Tags were set; a later value replaces an earlier one."""

    kind: Literal["tags"] = "tags"
    tags: dict[str, str]


class InputsLogged(Record):
    """Data files were recorded as inputs."""

    kind: Literal["inputs"] = "inputs"
    inputs: tuple[DataVersion, ...]


class ArtifactLogged(Record):
    """A file was recorded.

    Attributes:
        name: Its name.
        folder: The folder that it goes to among the run's artifacts.
        sha256: The hash of its bytes.
    """

    kind: Literal["artifact"] = "artifact"
    name: str
    folder: str | None
    sha256: str


class ModelLogged(Record):
    """A packed model was recorded.

    Attributes:
        model: The packed model, with the hash of each of its files.
        example: A few rows of raw columns, as JSON of the form `{"columns": …, "data": …}`.
    """

    kind: Literal["model"] = "model"
    model: ModelRecord
    example: str | None


class ModelRegistered(Record):
    """The run's model was registered.

    Attributes:
        name: The name that it was registered under.
        digest: The digest of its fitted state.
        file: The name of its file.
        sha256: The hash of that file.
        tags: What the version is to carry, beside digest and hash.
    """

    kind: Literal["registered"] = "registered"
    name: str
    digest: str
    file: str
    sha256: str
    tags: dict[str, str]


class RunEnded(Record):
    """A run ended: `FINISHED`, `FAILED` or `KILLED`."""

    kind: Literal["run_ended"] = "run_ended"
    status: str
    ended_at: datetime


Event = Annotated[
    RunStarted
    | ParamsLogged
    | MetricsLogged
    | TagsSet
    | InputsLogged
    | ArtifactLogged
    | ModelLogged
    | ModelRegistered
    | RunEnded,
    Field(discriminator="kind"),
]

_EVENT: TypeAdapter[Event] = TypeAdapter(Event)


def read_event(content: bytes) -> Event:
    """Return the event that JSON describes.

    Raises:
        pydantic.ValidationError: It describes none.

    Example:
        >>> event = TagsSet(tags={"stage": "a"})
        >>> read_event(event.model_dump_json().encode()) == event
        True
    """
    return _EVENT.validate_json(content)
