"""A table in a file predicted on: read, predicted and written in batches, every row in its place."""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy.typing as npt
import polars as pl
import pyarrow as pa

from modelbook.config import Config
from modelbook.data.batches import arrow_schema, batch_schema, read_batches, write_batches
from modelbook.data.tables import FORMATS, reading, scan_table, table_format
from modelbook.data.values import DTYPES
from modelbook.errors import DataInvalidError, DataReadError, ModelbookError, UsageError
from modelbook.files import free_name, whole_file
from modelbook.logs import PipelineLogger
from modelbook.models.estimators import thread_count
from modelbook.models.fit import set_single_threaded
from modelbook.models.predict import predict_rows
from modelbook.records import ModelRecord, Record
from modelbook.registry.loading import open_model
from modelbook.serving.inputs import InputReader

PREDICTION = "prediction"
OUTPUT_FORMATS: dict[str, Literal["csv", "parquet"]] = {".csv": "csv", ".parquet": "parquet"}

_BATCH_ROWS = 16_384
_REPORT_EVERY_S = 5.0


@dataclass(frozen=True)
class _Answered:
    table: pa.Table
    gaps: dict[str, int]


class _Answerer:
    """Puts predictions beside the rows of a batch."""

    def __init__(self, model: Any, record: ModelRecord, source: Path, *, is_typing: bool) -> None:
        given = batch_schema(source)
        self._model, self._source = model, source
        self._reader = InputReader(scan_table(source), record, where=str(source))
        self._typed = _typed_schema(record) if is_typing else pa.schema([])
        added = _added_columns(record, has_probabilities=hasattr(model, "predict_proba"))
        self._added = _beside(added, given.names)
        own = {field.name: field for field in self._typed}
        self.schema = pa.schema(
            [*(own.get(field.name, field) for field in given), *self._added], metadata=given.metadata
        )

    def answer(self, batch: pa.Table, first: int) -> _Answered:
        rows = self._reader.read(pl.DataFrame(pl.from_arrow(batch.select(self._reader.names))), first)
        try:
            added = _as_columns(self._added, *predict_rows(self._model, rows.frame))
        except Exception as error:
            raise self._failure(error, first=first, rows=len(batch)) from error
        columns = dict(zip(batch.column_names, batch.columns, strict=True)) | added
        columns |= {name: rows.table[name].to_arrow() for name in self._typed.names}
        return _Answered(pa.table(columns, schema=self.schema), rows.gaps)

    def _failure(self, error: Exception, *, first: int, rows: int) -> ModelbookError:
        where = f"{self._source}: rows {first + 1} to {first + rows}"
        got = f"{type(error).__name__}; its message may quote rows: --debug shows it"
        if not isinstance(error, ValueError):
            return ModelbookError("the model failed on the rows", where=where, got=got)
        hint = "see that the rows are like those that the model was trained on, with no more gaps than those"
        return DataInvalidError("the model does not take the rows", where=where, got=got, hint=hint)


class BatchResult(Record):
    """What was predicted, and by which model.

    Attributes:
        model: The name that the model is registered under; the reference where it is not.
        version: Its version, where it is registered.
        digest: The digest of its fitted state.
        rows: The rows that were read, and written with their predictions.
        output: The file that has them.
    """

    model: str
    version: str | None
    digest: str
    rows: int
    output: str


def predict_with(ref: str, source: Path, *, output: Path, config: Config) -> BatchResult:
    """Predict on a table as `predict_file` does, by a model that is found by its name.

    Args:
        ref: The model, in the words of `load_model`.
        source: The table.
        output: Where to.
        config: The project, whose `training.n_jobs` says how many threads work.

    Raises:
        UsageError: The reference or a file's name is none.
        NotFoundError: There is no such model.
        ModelRefusedError: The model is not what was recorded.
        TrackingStoreError: MLflow's store cannot be used.
        DataError: The source cannot be read or predicted on.
        StorageError: The output cannot be written.
    """
    check_files(source, output)
    found = open_model(ref, config=config)
    if found.record is None:
        raise UsageError("the model has no record of what it takes", where=ref, hint="register it first")
    threads = thread_count(config.training.n_jobs)
    rows = predict_file(found.pipeline, found.record, source, output=output, threads=threads)
    return BatchResult(
        model=found.name or ref,
        version=found.version,
        digest=found.record.digest,
        rows=rows,
        output=str(output),
    )


def predict_file(
    model: Any,
    record: ModelRecord,
    source: Path,
    *,
    output: Path,
    threads: int = 1,
    log: PipelineLogger | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """Write a table again with a model's predictions beside its rows, and return the number of rows.

    The output has the columns of the source, then `prediction` and, for a classifier, `probability_<class>`
    in the order of the classes, with `_2` and so on where the source has a column of that name. Columns of
    text formats that the model takes have the model's types in Parquet; every other one passes through as it
    is. Rows keep their order, and how many there are does not show in the memory that it takes.

    Args:
        model: The fitted pipeline; every `n_jobs` in it is set to 1.
        record: The record of it.
        source: CSV, TSV or JSON lines, also with .gz, or Parquet, told apart by name.
        output: Where to, `.csv` or `.parquet`; whole or as it was.
        threads: Batches predicted at once; they do not show in the predictions.
        log: Told how far it is.
        clock: Says what time it is, in seconds.

    Raises:
        UsageError: The output is the source, or either has a name that says no format.
        DataReadError: The source cannot be read.
        DataInvalidError: The source lacks a column or holds a value of another type.
        StorageError: The output cannot be written.
    """
    check_files(source, output)
    set_single_threaded(model)
    kind = OUTPUT_FORMATS[output.suffix.lower()]
    is_typing = kind == "parquet" and table_format(source) in {"csv", "tsv"}
    with reading(source):
        answerer = _Answerer(model, record, source, is_typing=is_typing)
    progress = _Progress(log or PipelineLogger("predict"), clock)
    with whole_file(output) as temporary:
        answered = _in_order(answerer.answer, read_batches(source, _BATCH_ROWS), threads)
        write_batches(temporary, progress.watch(answered), schema=answerer.schema, kind=kind)
    progress.end()
    return progress.rows


def check_files(source: Path, output: Path) -> None:
    """Return quietly where one file can be read as a table and the other written as one, by their names.

    Raises:
        UsageError: The output is the source, or either has a name that says no format.
        DataReadError: There is no such source.
    """
    if output.suffix.lower() not in OUTPUT_FORMATS:
        raise UsageError(
            "the name of the output does not say which format it is to have",
            where=str(output),
            expected=f"a name that ends in {' or '.join(OUTPUT_FORMATS)}",
            hint="rename it",
        )
    try:
        table_format(source)
    except DataReadError as error:
        expected = f"a name that ends in {', '.join(FORMATS)}; all but the last also with .gz"
        raise UsageError(error.what, where=str(source), expected=expected, hint="rename it") from None
    if not source.is_file():
        raise DataReadError("there is no such file", where=str(source), hint="check the path of the input")
    if output.is_dir():
        raise UsageError("the output is a folder", where=str(output), hint="name a file in it")
    if output.exists() and output.samefile(source):
        raise UsageError(
            "the output is the input itself",
            where=str(output),
            hint="give the predictions a file of their own",
        )


class _Progress:
    """Counts what passes through and says so every few seconds."""

    def __init__(self, log: PipelineLogger, clock: Callable[[], float]) -> None:
        self.rows = 0
        self._gaps: Counter[str] = Counter()
        self._log, self._clock = log, clock
        self._start = self._said = clock()

    def watch(self, answered: Iterable[_Answered]) -> Iterator[pa.Table]:
        for batch in answered:
            yield batch.table
            self.rows += len(batch.table)
            self._gaps.update(batch.gaps)
            if self._clock() - self._said >= _REPORT_EVERY_S:
                self._said = self._clock()
                self._log.info(self._line())

    def end(self) -> None:
        self._log.info(f"{self._line()}, all done")
        for name, count in self._gaps.items():
            self._log.warning(f"{name}: no value in {count:,} of the rows; in training each had one")

    def _line(self) -> str:
        seconds = max(self._clock() - self._start, 1e-9)
        return f"{self.rows:,} rows, {self.rows / seconds:,.0f} rows/s"


def _in_order(
    work: Callable[[pa.Table, int], _Answered], batches: Iterable[pa.Table], threads: int
) -> Iterator[_Answered]:
    """Yield what becomes of each batch in their order, while the next ones are at work.

    No more than two batches wait beyond those at work, so that a slow disk does not fill the memory.
    """
    waiting: deque[Future[_Answered]] = deque()
    first = 0
    with ThreadPoolExecutor(threads) as pool:
        try:
            for batch in batches:
                waiting.append(pool.submit(work, batch, first))
                first += len(batch)
                if len(waiting) > threads + 1:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _typed_schema(record: ModelRecord) -> pa.Schema:
    return arrow_schema(pl.Schema({column.name: DTYPES[column.type] for column in record.inputs}))


def _added_columns(record: ModelRecord, *, has_probabilities: bool) -> pa.Schema:
    if record.task == "regression":
        return pa.schema([(PREDICTION, pa.float64())])
    kinds = {bool: pa.bool_(), int: pa.int64(), str: pa.string()}
    labels = record.classes if has_probabilities else ()
    return pa.schema(
        [
            (PREDICTION, kinds[type(record.classes[0])]),
            *((f"probability_{label}", pa.float64()) for label in labels),
        ]
    )


def _beside(added: pa.Schema, given: Sequence[str]) -> pa.Schema:
    """Return the added columns under names that the source does not have."""
    return pa.schema([field.with_name(free_name(field.name, given)) for field in added])


def _as_columns(
    schema: pa.Schema, predictions: npt.NDArray[Any], probabilities: npt.NDArray[Any] | None
) -> dict[str, pa.Array]:
    values = [predictions, *(() if probabilities is None else probabilities.T)]
    return {
        field.name: pa.array(column, type=field.type) for field, column in zip(schema, values, strict=True)
    }
