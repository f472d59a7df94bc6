"""The second step: a table is divided into the rows that keep to the schema and those that do not."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from modelbook.config import ColumnSchema, Config, ConfigLike, load_config
from modelbook.data.profile import column_warnings, summarise, target_failures
from modelbook.data.rules import Rule, row_rules
from modelbook.data.tables import column, reading, scan_table
from modelbook.data.values import Reading, derive_schema, read_columns
from modelbook.errors import ConfigError, DataInvalidError
from modelbook.files import whole_file
from modelbook.records import RejectedRows, ValidationReport

if TYPE_CHECKING:
    import pandas as pd

    Table = pl.DataFrame | pl.LazyFrame | pd.DataFrame

REASON = "rejected_because"
# No column of a table can have a name with a zero byte in it, so ours stay out of the way.
_ROW, _CODE, _VALUE, _MISSING = "\0row", "\0code", "\0value ", "\0missing "
_NAMED_AT_MOST = 10


@dataclass(frozen=True)
class _Judged:
    """A table with each row's first broken rule beside it, as the rule's number.

    Attributes:
        table: The raw columns, the typed ones and the number; nothing is computed yet.
        columns: The raw columns.
        schema: What the rows were held to.
        rules: The rules by number.
        warnings: What was noticed on the way.
    """

    table: pl.LazyFrame
    columns: tuple[str, ...]
    schema: Mapping[str, ColumnSchema]
    rules: tuple[Rule, ...]
    warnings: tuple[str, ...]

    @property
    def valid(self) -> pl.LazyFrame:
        typed = [pl.col(_VALUE + name).alias(name) for name in self.schema]
        return self.table.filter(pl.col(_CODE).is_null()).select(typed)

    @property
    def rejected(self) -> pl.LazyFrame:
        reasons = [rule.reason for rule in self.rules]
        reason = pl.col(_CODE).replace_strict(list(range(len(reasons))), reasons, return_dtype=pl.String)
        raw = [name for name in self.columns if name != REASON]
        return self.table.filter(pl.col(_CODE).is_not_null()).select(
            *(column(name) for name in raw), reason.alias(REASON)
        )


class DataValidator:
    """Holds a table to the schema in the config.

    Each row is judged by itself, and a bad one is written aside with its first reason. With an empty schema
    the columns are accepted as they are, and only rows without a target are rejected.

    Args:
        config: The project's settings.

    Example:
        >>> config = {"data": {"target": "price", "schema": {"price": {"type": "float", "min": 0}}}}
        >>> report = DataValidator(config).validate(pl.DataFrame({"price": ["1", "2", "x", "-1", None]}))
        >>> [(row.reason, row.rows) for row in report.rejected]
        [('missing target', 1), ('price: not a number', 1), ('price: below 0', 1)]
    """

    def __init__(self, config: ConfigLike) -> None:
        self.config = load_config(config)

    def validate(self, table: "Table") -> ValidationReport:
        """Return what was found in a table; `raise_if_failed` turns a bad report into an error.

        Args:
            table: The table (n_rows, n_columns), from Polars or pandas.

        Raises:
            DataInvalidError: The table lacks the target or a column of the schema.
        """
        judged = self._judge(_lazy(table))
        rejected = judged.rejected.select(REASON).collect(engine="streaming")
        valid = judged.valid.collect(engine="streaming")
        return self._report(judged, valid.lazy(), rejected.lazy())

    def partition(self, table: "Table") -> tuple[pl.LazyFrame, pl.LazyFrame]:
        """Return the valid and the rejected rows, each in the order of the table.

        Args:
            table: The table (n_rows, n_columns), from Polars or pandas.

        Returns:
            The valid rows, with the schema's columns in their types (float64, int64, bool, str, datetime in
            µs without zone) and null where a value is missing; and the rejected rows, with the table's own
            columns and `rejected_because`.

        Raises:
            DataInvalidError: The table lacks the target or a column of the schema.
        """
        judged = self._judge(_lazy(table))
        return judged.valid, judged.rejected

    def validate_file(self, source: Path, valid: Path, rejected: Path) -> ValidationReport:
        """Divide a table in a file into two Parquet files and return what was found.

        Rows pass through in a stream: memory does not grow with them, but for 8 bytes a row with which equal
        rows are found.

        Args:
            source: The table.
            valid: Where the valid rows go, as `partition` describes them.
            rejected: Where the rejected rows go, with the reason.

        Raises:
            DataReadError: The source cannot be read.
            DataInvalidError: The table lacks the target or a column of the schema.
            StorageError: A file cannot be written.
        """
        table = scan_table(source)
        with whole_file(valid) as valid_part, whole_file(rejected) as rejected_part, reading(source):
            judged = self._judge(table)
            sinks = [
                judged.valid.sink_parquet(valid_part, lazy=True),
                judged.rejected.sink_parquet(rejected_part, lazy=True),
            ]
            pl.collect_all(sinks, engine="streaming")
        return self._report(judged, scan_table(valid), scan_table(rejected))

    def _judge(self, table: pl.LazyFrame) -> _Judged:
        data = self.config.data
        columns = tuple(table.collect_schema())
        schema = self._schema(table, columns)
        readings = read_columns(table, {name: spec.type for name, spec in schema.items()})
        repeats, warnings = self._repeats(table, schema, readings)
        staged = table.with_row_index(_ROW).with_columns(*_staged(readings))
        rules = (*row_rules(schema, _columns_of(readings), target=data.target), *repeats)
        code = pl.coalesce(
            pl.when(rule.is_broken).then(pl.lit(number, dtype=pl.UInt32)) for number, rule in enumerate(rules)
        )
        left_out = [name for name in columns if name not in schema]
        if left_out:
            reason = "data.schema does not name them" if data.columns else "no type takes their values"
            warnings.insert(0, f"columns left out, because {reason}: {_named(left_out)}")
        return _Judged(staged.with_columns(code.alias(_CODE)), columns, schema, rules, tuple(warnings))

    def _schema(self, table: pl.LazyFrame, columns: tuple[str, ...]) -> Mapping[str, ColumnSchema]:
        data = self.config.data
        if data.columns and data.target not in data.columns:
            raise ConfigError(
                "the target has no place in the schema",
                mistakes=(f"data.schema: the target {data.target!r} is not in it",),
            )
        if data.target not in columns:
            raise _missing_columns("the table has no target column", [data.target], columns)
        missing = [name for name in data.columns if name not in columns]
        if missing:
            raise _missing_columns("the table lacks columns of the schema", missing, columns)
        return data.columns or derive_schema(table)

    def _repeats(
        self, table: pl.LazyFrame, schema: Mapping[str, ColumnSchema], readings: Mapping[str, Reading]
    ) -> tuple[list[Rule], list[str]]:
        """Return the rules about values and rows that occur again, which take a look at the whole table."""
        values = {name: readings[name].value for name, spec in schema.items() if spec.unique}
        found = {name: _repeated(table.select(value.alias("value"))) for name, value in values.items()}
        rules = [Rule(f"{name}: not unique", name, _is_row_of(rows)) for name, rows in found.items()]
        # 64 bits stand for a row: that two different ones of 10 million share them has p < 1e-5.
        duplicates = _repeated(table.select(pl.struct(pl.all()).hash().alias("value")))
        if self.config.data.duplicate_rows == "reject":
            return [*rules, Rule("duplicate of an earlier row", None, _is_row_of(duplicates))], []
        if duplicates.is_empty():
            return rules, []
        return rules, [
            f"{_counted(len(duplicates))} equal an earlier one; data.duplicate_rows: reject leaves them out"
        ]

    def _report(self, judged: _Judged, valid: pl.LazyFrame, rejected: pl.LazyFrame) -> ValidationReport:
        counts = dict(rejected.group_by(REASON).len().collect(engine="streaming").iter_rows())
        rows = [
            RejectedRows(reason=rule.reason, column=rule.column, rows=counts[rule.reason])
            for rule in judged.rules
            if rule.reason in counts
        ]
        rows.sort(key=lambda row: -row.rows)
        valid_rows = valid.select(pl.len()).collect(engine="streaming").item()
        columns = summarise(valid, {name: spec.type for name, spec in judged.schema.items()})
        warnings = [*judged.warnings, *(column_warnings(valid, columns, self.config) if valid_rows else ())]
        target = next(column for column in columns if column.name == self.config.data.target)
        failures = [*_row_failures(valid_rows, rows, self.config), *target_failures(target, self.config)]
        return ValidationReport(
            rows=valid_rows + sum(counts.values()),
            valid_rows=valid_rows,
            rejected=tuple(rows),
            warnings=tuple(warnings),
            failures=tuple(failures),
            columns=columns,
        )


def raise_if_failed(report: ValidationReport, *, where: str | None = None) -> None:
    """Raise if a table may not be used; return quietly if it may.

    Args:
        report: What validation found.
        where: The table's file, for the message.

    Raises:
        DataInvalidError: The report has failures.
    """
    if report.passed:
        return
    first, *others = report.failures
    reasons = "; ".join(f"{row.reason} ({_counted(row.rows)})" for row in report.rejected[:_NAMED_AT_MOST])
    raise DataInvalidError(
        f"validation failed: {first}",
        where=where,
        got="; ".join(
            [
                *others,
                f"{_counted(report.valid_rows)} valid of {report.rows}",
                *([reasons] if reasons else []),
            ]
        ),
        expected="a table that keeps to data.schema and the limits beside it",
        hint="rejected.parquet has each bad row with its reason; mend the source or the data section",
    )


def too_few_rows(rows: int, min_rows: int) -> str:
    """Return what is said of a table with fewer valid rows than there have to be.

    Example:
        >>> too_few_rows(3, 20)
        '3 rows left to train and test on; data.min_rows asks for 20'
    """
    return f"{_counted(rows)} left to train and test on; data.min_rows asks for {min_rows}"


def _row_failures(valid_rows: int, rejected: list[RejectedRows], config: Config) -> Iterator[str]:
    data = config.data
    rejected_rows = sum(row.rows for row in rejected)
    rows = valid_rows + rejected_rows
    if rows == 0:
        yield "the table has no rows, only column names"
        return
    if rejected and data.on_bad_rows == "fail":
        yield f"{rejected[0].reason}: {_counted(rejected[0].rows)}, and data.on_bad_rows is fail"
    elif rejected_rows / rows > data.max_rejected_share:
        yield (
            f"{rejected_rows / rows:.2%} of the rows are rejected, most for: {rejected[0].reason}; "
            f"data.max_rejected_share allows {data.max_rejected_share:.2%}"
        )
    if valid_rows < data.min_rows:
        yield too_few_rows(valid_rows, data.min_rows)


def _staged(readings: Mapping[str, Reading]) -> Iterator[pl.Expr]:
    for name, one in readings.items():
        yield one.value.alias(_VALUE + name)
        yield one.is_missing.alias(_MISSING + name)


def _columns_of(readings: Mapping[str, Reading]) -> dict[str, Reading]:
    """Return the readings as columns that `_staged` has computed, so that each value is read once."""
    return {name: Reading(pl.col(_VALUE + name), pl.col(_MISSING + name)) for name in readings}


def _repeated(values: pl.LazyFrame) -> pl.Series:
    """Return the numbers of the rows whose value occurred before; null is no value."""
    column = values.collect(engine="streaming")["value"]
    return (~column.is_first_distinct() & column.is_not_null()).arg_true()


def _is_row_of(rows: pl.Series) -> pl.Expr:
    return pl.col(_ROW).is_in(rows.implode())


def _lazy(table: "Table") -> pl.LazyFrame:
    if isinstance(table, pl.DataFrame | pl.LazyFrame):
        return table.lazy()
    return pl.LazyFrame({str(name): _series(column) for name, column in table.items()})


def _series(column: "pd.Series[Any]") -> pl.Series:
    """Return a pandas column; one of mixed types becomes text, so that each value is judged."""
    try:
        return pl.from_pandas(column)
    except (TypeError, ValueError):  # pyarrow's own errors are ValueErrors and TypeErrors
        return pl.Series(
            [
                None if is_missing else str(value)
                for value, is_missing in zip(column, column.isna(), strict=True)
            ]
        )


def _missing_columns(what: str, missing: list[str], columns: Sequence[str]) -> DataInvalidError:
    near = {name: difflib.get_close_matches(name, columns, n=3, cutoff=0.5) for name in missing}
    offers = [f"{name!r}: did you mean {_named(found)}?" for name, found in near.items() if found]
    return DataInvalidError(
        what,
        got=f"no {_named(missing)} among the columns {_named(columns)}",
        expected=_named(missing),
        hint="; ".join([*offers, "set data.target and data.schema to names that the table has"]),
    )


def _named(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_NAMED_AT_MOST])
    more = len(names) - _NAMED_AT_MOST
    return f"{shown} and {more} more" if more > 0 else shown


def _counted(rows: int) -> str:
    return "1 row" if rows == 1 else f"{rows} rows"
