"""One run as a list shows it, read from the store, from what waits in the outbox or from the journal."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from modelbook.config import Config
from modelbook.errors import UsageError
from modelbook.records import Record, RunMetadata
from modelbook.tracking import journal
from modelbook.tracking.events import (
    GATE_TAG,
    PARENT_UID_TAG,
    UID_TAG,
    Event,
    MetricsLogged,
    ParamsLogged,
    TagsSet,
)
from modelbook.tracking.outbox import began, ended

if TYPE_CHECKING:
    from mlflow.entities import Run


class RunSummary(Record):
    """One run as a list shows it.

    Attributes:
        run_id: Its id in the store.
        uid: Its own id; None for a run that something else recorded.
        parent_uid: The sweep that it is a trial of; None for any other run.
        run_name: Its name.
        status: `FINISHED`, `RUNNING`, `FAILED` or `KILLED`.
        started_at: When it began.
        gate: What the gate said of it.
        commit: The git commit.
        is_dirty: Whether code or config differed from the commit.
        params: Its parameters.
        metrics: Its metrics.
        recorded: Where it is on record: `mlflow`; `outbox`, where some or all of it waits to be delivered;
            `local`, where only this project is known to have it.
    """

    run_id: str
    uid: str | None
    run_name: str
    status: str
    started_at: datetime
    gate: str | None
    commit: str | None
    is_dirty: bool
    params: dict[str, str]
    metrics: dict[str, float]
    recorded: Literal["mlflow", "outbox", "local"] = "mlflow"
    parent_uid: str | None = None


def stored_summary(run: "Run") -> RunSummary:
    """Return what the store has of a run."""
    tags = run.data.tags
    return RunSummary(
        run_id=run.info.run_id,
        uid=tags.get(UID_TAG),
        run_name=run.info.run_name or "",
        status=run.info.status,
        started_at=datetime.fromtimestamp(run.info.start_time / 1000, tz=UTC),
        gate=tags.get(GATE_TAG),
        commit=tags.get("mlflow.source.git.commit"),
        is_dirty=tags.get("modelbook.git.dirty") == "true",
        params=run.data.params,
        metrics=run.data.metrics,
        parent_uid=tags.get(PARENT_UID_TAG),
    )


def waiting_summary(events: list[Event]) -> tuple[str, RunSummary]:
    """Return a run's experiment, and as much of the run as its events tell.

    Raises:
        UsageError: No event says how the run began.
    """
    start, end = began(events), ended(events)
    if start is None:
        raise UsageError("no event says how the run began")
    tags = dict(start.tags)
    params: dict[str, str] = {}
    metrics: dict[str, float] = {}
    for event in events:
        match event:
            case TagsSet():
                tags |= event.tags
            case ParamsLogged():
                params |= event.params
            case MetricsLogged():
                metrics |= event.metrics
    return start.experiment, RunSummary(
        run_id=start.run_id or start.uid,
        uid=start.uid,
        run_name=start.name,
        status=end.status if end else "RUNNING",
        started_at=start.started_at,
        gate=tags.get(GATE_TAG),
        commit=tags.get("mlflow.source.git.commit"),
        is_dirty=tags.get("modelbook.git.dirty") == "true",
        params=params,
        metrics=metrics,
        recorded="outbox",
        parent_uid=tags.get(PARENT_UID_TAG),
    )


def kept_summary(config: Config, run: RunMetadata) -> RunSummary:
    """Return what the journal has of a run."""
    evaluation = journal.kept_evaluation(config, run.uid)
    return RunSummary(
        run_id=run.run_id,
        uid=run.uid,
        run_name=run.run_name,
        status="FINISHED",
        started_at=run.started_at,
        gate=evaluation.gate.verdict if evaluation else None,
        commit=run.lineage.code.commit,
        is_dirty=run.lineage.code.is_dirty,
        params=run.params,
        metrics=run.metrics,
        recorded="local",
        parent_uid=journal.kept_parent(config, run.uid),
    )
