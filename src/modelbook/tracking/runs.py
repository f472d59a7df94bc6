"""Runs that are on record: listed, found by a short name, and what each left behind."""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from modelbook.config import Config
from modelbook.errors import NotFoundError, StoreAwayError, TrackingStoreError, UsageError
from modelbook.files import write_whole
from modelbook.logs import PipelineLogger
from modelbook.tracking import journal
from modelbook.tracking.address import sqlite_path
from modelbook.tracking.events import PARENT_UID_TAG, UID_TAG
from modelbook.tracking.outbox import waiting_events
from modelbook.tracking.store import artifact_errors, open_client, store_errors
from modelbook.tracking.summary import RunSummary, kept_summary, stored_summary, waiting_summary

if TYPE_CHECKING:
    from mlflow.entities import Run

LATEST = "latest"
_PAGE = 1000
_ALIKE = 6  # enough to say that a short name is not unique, and to name some
_ID = re.compile("[0-9A-Za-z-]+")
_NO_TRIALS = f"tags.`{PARENT_UID_TAG}` IS NULL"
_NEWEST_FIRST = "attributes.start_time DESC"
_ORDER = re.compile(r"""(metric|param)s?\.([`"']?)(.+?)\2(?:\s+(?i:asc|(desc)))?""")
_LOG = PipelineLogger("runs")


def list_runs(
    config: Config,
    *,
    sort: str | None = None,
    query: str = "",
    limit: int | None = None,
    has_trials: bool = True,
) -> list[RunSummary]:
    """Return the runs of the project's experiment, those that wait in the outbox included.

    Where a server does not answer, these are the runs that this project itself knows of.

    Args:
        config: The project.
        sort: What to order by in MLflow's words, as in `metrics.test_rmse` or `params.max_depth DESC`; the
            newest come first by default.
        query: Which runs, in MLflow's filter language.
        limit: The most runs to return.
        has_trials: Whether trials of sweeps are among them, where no filter says which runs are.

    Raises:
        UsageError: MLflow does not understand the order or the filter.
        TrackingStoreError: The store cannot be used; a server that is away, where the runs are filtered.
    """
    if not config.training.enable_mlflow:
        return _journal_runs(config, sort=sort, query=query, has_trials=has_trials)[:limit]
    order = _order(sort)
    try:
        wanted = query or ("" if has_trials else _NO_TRIALS)
        found = _stored_runs(config, sort=sort, query=wanted, limit=limit)
    except StoreAwayError as error:
        if query or sqlite_path(config.tracking_uri) is not None:
            raise
        found = _known_here(config, error, sort=sort, has_trials=has_trials)
    waiting = [run for run in _waiting_runs(config) if has_trials or run.parent_uid is None]
    if query and waiting:
        _LOG.warning(f"runs that wait in the outbox cannot be filtered and are left out: {len(waiting)}")
    elif waiting:
        found = _merged(found + _stored_parts(config, waiting, found), waiting)
        found = _sorted(found, order) if order or not sort else found
    if order:
        _refuse_unknown_order(found, order)
    return found[:limit]


def find_run(config: Config, ref: str) -> RunSummary:
    """Return the run of an id, of a unique beginning of one, of a run's own id, or the latest.

    Trials are found by their ids: the latest is the latest run, or the sweep that they are of.

    Raises:
        NotFoundError: There is none, or more than one begins so.
        TrackingStoreError: The store cannot be used.
    """
    runs = list_runs(config, limit=1, has_trials=False) if ref == LATEST else _runs_beginning(config, ref)
    if ref == LATEST and runs:
        return runs[0]
    found = [run for run in runs if run.run_id.startswith(ref) or (run.uid or "").startswith(ref)]
    exact = [run for run in found if ref in {run.run_id, run.uid}]
    if len(exact or found) == 1:
        return (exact or found)[0]
    raise NotFoundError(
        "more than one run begins so" if found else "there is no such run",
        where=ref,
        got=", ".join(run.run_id for run in found[:5]) or None,
        hint="`modelbook runs` lists them",
    )


def fetch_report(config: Config, run: RunSummary, destination: Path) -> Path:
    """Bring a run's report into the project and return where it is.

    Raises:
        NotFoundError: The run has none.
        TrackingStoreError: The store cannot be used.
    """
    kept = config.path(journal.FOLDER) / (run.uid or run.run_id) / journal.REPORT_FILE
    if kept.is_file():
        return kept
    if not config.training.enable_mlflow:
        raise NotFoundError("the run has no report", where=run.run_id)
    write_whole(destination, fetch_artifact(config, run.run_id, journal.REPORT_FILE))
    return destination


def fetch_artifact(config: Config, run_id: str, name: str) -> bytes:
    """Return the bytes of a file that a run left in the store.

    Raises:
        NotFoundError: The run has none of that name.
        TrackingStoreError: The store cannot be used.
    """
    client = open_client(config)
    uri = config.tracking_uri
    with store_errors(uri), artifact_errors(uri), tempfile.TemporaryDirectory() as folder:
        if not any(entry.path == name for entry in client.list_artifacts(run_id)):
            raise NotFoundError(f"the run has no {name}", where=run_id)
        return Path(client.download_artifacts(run_id, name, folder)).read_bytes()


@contextmanager
def _query_errors() -> Iterator[None]:
    """Turn what MLflow says of a filter or an order that it does not understand into a UsageError."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except TrackingStoreError as error:
        cause = error.__cause__
        if isinstance(cause, MlflowException) and cause.error_code == "INVALID_PARAMETER_VALUE":
            raise UsageError(
                "MLflow does not understand the filter or the order",
                got=str(cause).partition("\n")[0],
                expected="such as --filter \"params.max_depth = '20'\" --sort metrics.test_rmse",
            ) from None
        raise


def _stored_runs(
    config: Config, *, sort: str | None = None, query: str = "", limit: int | None = None
) -> list[RunSummary]:
    """Return the runs of the project's experiment as the store gives them."""
    return [stored_summary(run) for run in _search(config, sort=sort, query=query, limit=limit)]


def _search(config: Config, *, sort: str | None, query: str, limit: int | None) -> Iterator["Run"]:
    client = open_client(config)
    with store_errors(config.tracking_uri):
        experiment = client.get_experiment_by_name(config.tracking.experiment)
    if experiment is None:
        return
    token, left = None, limit
    order = [sort, _NEWEST_FIRST] if sort else [_NEWEST_FIRST]
    while left is None or left > 0:
        with _query_errors(), store_errors(config.tracking_uri):
            page = client.search_runs(
                [experiment.experiment_id],
                query,
                max_results=min(_PAGE, left or _PAGE),
                order_by=order,
                page_token=token,
            )
        yield from page
        left = None if left is None else left - len(page)
        token = page.token
        if not token:
            return


def _runs_beginning(config: Config, ref: str) -> list[RunSummary]:
    """Return the runs whose id in the store, or whose own id, begins so; a few where they are many."""
    if not _ID.fullmatch(ref):
        return []
    if not config.training.enable_mlflow:
        return _journal_runs(config)
    queries = (f"attributes.run_id LIKE '{ref}%'", f"tags.`{UID_TAG}` LIKE '{ref}%'")
    try:
        runs = [run for query in queries for run in _stored_runs(config, query=query, limit=_ALIKE)]
    except StoreAwayError as error:
        if sqlite_path(config.tracking_uri) is not None:
            raise
        runs = _known_here(config, error)
    return _merged(list({run.run_id: run for run in runs}.values()), _waiting_runs(config))


def _known_here(
    config: Config, error: StoreAwayError, *, sort: str | None = None, has_trials: bool = True
) -> list[RunSummary]:
    """Return the runs of the journal, and say why it is those."""
    _LOG.warning(f"{error.what} ({error.where}: {error.got}): these are the runs that are known here")
    return _journal_runs(config, sort=sort, has_trials=has_trials)


class _Order(NamedTuple):
    kind: str
    name: str
    is_descending: bool


def _order(sort: str | None) -> _Order | None:
    """Return the metric or the parameter that runs are ordered by; None for what only MLflow orders by."""
    found = _ORDER.fullmatch(sort or "")
    return _Order(f"{found[1]}s", found[3], found[4] is not None) if found else None


def _refuse_unknown_order(runs: list[RunSummary], order: _Order) -> None:
    """Refuse to order by what no run has: MLflow would give them in any order and say nothing."""
    known = sorted({key for run in runs for key in getattr(run, order.kind)})
    if runs and order.name not in known:
        expected = ", ".join(f"{order.kind}.{key}" for key in known)
        raise UsageError(f"no run has {order.kind}.{order.name}", expected=expected)


def _journal_runs(
    config: Config, *, sort: str | None = None, query: str = "", has_trials: bool = True
) -> list[RunSummary]:
    if query:
        raise UsageError(
            "runs that are kept without MLflow cannot be filtered",
            hint="set training.enable_mlflow to true, or leave --filter out",
        )
    kept = [kept_summary(config, run) for run in journal.kept_runs(config)]
    runs = [run for run in kept if has_trials or run.parent_uid is None]
    order = _order(sort)
    if sort and order is None:
        raise UsageError("runs are sorted by metrics.NAME or params.NAME", got=sort)
    return _sorted(runs, order)


def _sorted(runs: list[RunSummary], order: _Order | None) -> list[RunSummary]:
    """Return runs ordered by a metric or a parameter, those without it last, and else the newest first."""
    runs = sorted(runs, key=lambda run: run.started_at, reverse=True)
    if order is None:
        return runs
    kind, name, is_descending = order
    known = [run for run in runs if name in getattr(run, kind)]
    known.sort(key=lambda run: getattr(run, kind)[name], reverse=is_descending)
    return known + [run for run in runs if name not in getattr(run, kind)]


def _waiting_runs(config: Config) -> list[RunSummary]:
    """Return what waits in the outbox of runs of the project's experiment."""
    runs = [waiting_summary(events) for events in waiting_events(config)]
    return [summary for experiment, summary in runs if experiment == config.tracking.experiment]


def _stored_parts(config: Config, waiting: list[RunSummary], found: list[RunSummary]) -> list[RunSummary]:
    """Return what the store has of runs that wait for the rest, where it is not among what was found."""
    known = {run.uid for run in found}
    ids = [run.run_id for run in waiting if run.uid not in known and run.run_id != run.uid]
    try:
        return (
            _stored_runs(config, query=f"attributes.run_id IN ({', '.join(map(repr, ids))})") if ids else []
        )
    except StoreAwayError:  # said already
        return []


def _merged(runs: list[RunSummary], waiting: list[RunSummary]) -> list[RunSummary]:
    """Return all runs, those that both sides know once: as known so far, with what waits on top."""
    known = {run.uid: run for run in runs if run.uid}
    on_top = {run.uid: _with(known[run.uid], run) if run.uid in known else run for run in waiting}
    return [run for run in runs if run.uid not in on_top] + list(on_top.values())


def _with(known: RunSummary, waiting: RunSummary) -> RunSummary:
    return known.model_copy(
        update={
            "status": known.status if waiting.status == "RUNNING" else waiting.status,
            "gate": waiting.gate or known.gate,
            "params": known.params | waiting.params,
            "metrics": known.metrics | waiting.metrics,
            "recorded": "outbox",
        }
    )
