"""Rows that came with a model, and what was recorded of its predictions for them."""

from pathlib import Path

import orjson
import pandas as pd
import polars as pl

from modelbook.config import ColumnType, Config
from modelbook.data.values import DTYPES
from modelbook.files import file_hash
from modelbook.models.predict import predict_rows
from modelbook.records import ModelRecord, RunMetadata
from modelbook.registry.loading import FoundModel
from modelbook.tracking import journal

_TEST = "data/processed/test.parquet"
_EXAMPLE = "input_example.json"


def find_evidence(config: Config, found: FoundModel, package: Path) -> pd.DataFrame | None:
    """Return rows with a model's input columns, `predicted` and `probability_<class>`.

    They are the project's test rows with what the model's run recorded for them, where the project still has
    both. Else they are the few rows that MLflow keeps with a model, with what the verified model predicts for
    them here and now: what answers later is to say the same.

    Args:
        config: The project.
        found: The model, loaded from its verified package.
        package: The folder of that package.

    Returns:
        None where no rows came with the model.
    """
    if found.record is None:
        return None
    recorded = _recorded(config, found.record)
    return _example(found, found.record, package / _EXAMPLE) if recorded is None else recorded


def _recorded(config: Config, record: ModelRecord) -> pd.DataFrame | None:
    test = config.path(_TEST)
    if not test.is_file():
        return None
    rows_hash = file_hash(test, "md5")
    # The project may have other test rows by now, and several runs may have made the same model.
    uids = [run.uid for run in journal.kept_runs(config) if _is_tested_on(run, record.digest, rows_hash)]
    files = (config.path(journal.FOLDER) / uid / journal.PREDICTIONS_FILE for uid in uids)
    kept = next((file for file in files if file.is_file()), None)
    if kept is None:
        return None
    names = [column.name for column in record.inputs]
    told = pl.read_parquet(kept).drop("actual").select(pl.all().exclude(names))
    return pl.concat([pl.read_parquet(test).select(names), told], how="horizontal").to_pandas()


def _is_tested_on(run: RunMetadata, digest: str, rows_hash: str) -> bool:
    """Return whether a run made a model and predicted for the test rows that have a hash."""
    hashes = {version.path: version.md5 for version in run.lineage.data}
    return run.model.digest == digest and hashes.get(_TEST) == rows_hash


def _example(found: FoundModel, record: ModelRecord, path: Path) -> pd.DataFrame | None:
    if not path.is_file():
        return None
    content = orjson.loads(path.read_bytes())
    rows = pl.DataFrame(content["data"], schema=content["columns"], orient="row", infer_schema_length=None)
    table = rows.select(_typed(column.name, column.type) for column in record.inputs).to_pandas()
    predicted, probabilities = predict_rows(found.pipeline, table)
    told = pd.DataFrame({"predicted": predicted})
    if probabilities is not None:
        names = [f"probability_{label}" for label in record.classes]
        told = told.join(pd.DataFrame(probabilities, columns=names))
    return table.join(told)


def _typed(name: str, kind: ColumnType) -> pl.Expr:
    column = pl.col(name)
    return column.cast(pl.String).str.to_datetime() if kind == "datetime" else column.cast(DTYPES[kind])
