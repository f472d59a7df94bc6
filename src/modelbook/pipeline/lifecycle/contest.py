"""A version beside the one in production, on the version's own test rows, which production predicts anew."""

from dataclasses import dataclass
from typing import Any

import pandas as pd
import polars as pl

from modelbook.config import Config
from modelbook.errors import DataError, ModelRefusedError, NotFoundError, UsageError
from modelbook.evaluation.challenge import challenge
from modelbook.logs import PipelineLogger
from modelbook.models.estimators import thread_count
from modelbook.models.fit import set_single_threaded
from modelbook.models.predict import in_chunks
from modelbook.pipeline import layout
from modelbook.pipeline.compare import positive_class
from modelbook.pipeline.recorded import RecordedRun, find_recorded
from modelbook.pipeline.reproduction.supply import find_data
from modelbook.records import GateCheck
from modelbook.registry.loading import FoundModel, open_model


@dataclass(frozen=True)
class Contest:
    """What came of it: the check, or what stood in the way of it."""

    check: GateCheck | None = None
    obstacle: str | None = None


def hold_contest(config: Config, run: RecordedRun, *, champion: str, log: PipelineLogger) -> Contest:
    """Hold a version against the one in production.

    Args:
        config: The project.
        run: The run that made the version.
        champion: The version in production, as `models:/NAME/VERSION`.
        log: What goes on is said here.

    Raises:
        TrackingStoreError: The store cannot be used.
    """
    try:
        return Contest(check=_contest(config, run, champion=champion, log=log))
    except (DataError, ModelRefusedError, NotFoundError, UsageError) as error:
        details = ": ".join(filter(None, (error.where, error.got)))
        return Contest(obstacle=f"{error.what} ({details})" if details else error.what)


def _contest(config: Config, run: RecordedRun, *, champion: str, log: PipelineLogger) -> GateCheck:
    rows = _test_rows(config, run, log)
    # Without MLflow a reference to its registry leads nowhere.
    ref = champion if config.training.enable_mlflow else champion.removeprefix("models:/")
    found = open_model(ref, config=config)
    model = run.metadata.model
    if found.record is None or (found.record.task, found.record.target) != (model.task, model.target):
        raise UsageError("production predicts something else", where=champion)
    threads = thread_count(config.training.n_jobs)
    predicted = _predict(found, rows, target=model.target, threads=threads)
    if run.predictions is None:
        raise NotFoundError("what the version predicted for its test rows was not kept", where=run.run_id)
    log.info(f"holding it against {champion} on {len(rows)} test rows")
    return challenge(
        predicted,
        run.predictions.to_pandas(),
        config.evaluation.gate.promotion,
        task=model.task,
        classes=model.classes,
        positive_class=positive_class(run.metadata),
        rows_trained_on=_rows_trained_on(config, champion, rows, log=log),
        threads=threads,
    )


def _test_rows(config: Config, run: RecordedRun, log: PipelineLogger) -> pl.DataFrame:
    """Return the rows that a run was tested on, which are those that its predictions are of."""
    rows = _table(config, run, layout.TEST, log=log)
    actual = run.predictions["actual"] if run.predictions is not None else None
    if actual is not None and rows[run.metadata.model.target].to_list() != actual.to_list():
        raise UsageError(
            "the test rows on record are not those that were predicted", where=f"run {run.run_id}"
        )
    return rows


def _table(config: Config, run: RecordedRun, path: str, *, log: PipelineLogger) -> pl.DataFrame:
    version = next((version for version in run.metadata.lineage.data if version.path == path), None)
    if version is None:
        raise NotFoundError("the run does not say which rows it used", where=f"run {run.run_id}: {path}")
    return pl.read_parquet(find_data(config, version, log=log))


def _predict(found: FoundModel, rows: pl.DataFrame, *, target: str, threads: int) -> pd.DataFrame:
    """Return what a model predicts for rows, as a run keeps it."""
    record = found.record
    names = [column.name for column in record.inputs] if record else []
    if missing := sorted(set(names) - set(rows.columns)):
        raise DataError("production takes columns that the version's test rows lack", got=", ".join(missing))
    try:
        return _predictions(found, rows.select(names).to_pandas(), rows[target].to_pandas(), threads=threads)
    except Exception as error:
        raise DataError(
            "production cannot predict the version's test rows",
            got=f"{type(error).__name__}; its message may quote rows: --debug shows it",
        ) from error


def _predictions(found: FoundModel, X: pd.DataFrame, y: "pd.Series[Any]", *, threads: int) -> pd.DataFrame:
    set_single_threaded(found.pipeline)
    table = pd.DataFrame(
        {
            "actual": y,
            "predicted": in_chunks(found.pipeline.predict, X, threads=threads),
        }
    )
    record = found.record
    if record is None or not record.classes or not hasattr(found.pipeline, "predict_proba"):
        return table
    probabilities = in_chunks(found.pipeline.predict_proba, X, threads=threads)
    columns = [f"probability_{label}" for label in record.classes]
    return pd.concat([table, pd.DataFrame(probabilities, columns=columns)], axis=1)


def _rows_trained_on(config: Config, champion: str, rows: pl.DataFrame, *, log: PipelineLogger) -> int | None:
    """Return how many rows are equal to one that production was trained on; None where that is not known."""
    try:
        trained = _table(config, find_recorded(config, champion, log), layout.TRAIN, log=log)
    except (NotFoundError, ModelRefusedError) as error:
        log.warning(f"which rows production was trained on is not known: {error.what}")
        return None
    shared = [name for name in rows.columns if name in trained.columns]
    try:
        return rows.join(trained.select(shared).unique(), on=shared, how="semi", nulls_equal=True).height
    except pl.exceptions.PolarsError:  # columns of other types than then
        log.warning("which rows production was trained on is not known: their columns have other types")
        return None
