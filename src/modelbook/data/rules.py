"""What a row must keep to: each rule with the reason that a rejected row is given."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import polars as pl

from modelbook.config import ColumnSchema, ColumnType
from modelbook.data.values import Reading

_NOT_OF_TYPE: dict[ColumnType, str] = {
    "float": "not a number",
    "integer": "not a whole number",
    "boolean": "neither true nor false",
    "string": "not text",
    "datetime": "not a date",
}


@dataclass(frozen=True)
class Rule:
    """One reason to reject a row.

    Attributes:
        reason: What a rejected row is told, without its value.
        column: The column looked at; None where it is the whole row.
        is_broken: Where the rule is broken; null counts as kept.
    """

    reason: str
    column: str | None
    is_broken: pl.Expr


def row_rules(
    schema: Mapping[str, ColumnSchema], readings: Mapping[str, Reading], *, target: str
) -> list[Rule]:
    """Return the rules that can be judged row by row, in the order in which a row's first reason is sought.

    A missing target comes first, then the columns in the order of the schema.

    Args:
        schema: What each column is held to.
        readings: How each column is read.
        target: The column to predict, which must not be missing.

    Example:
        >>> from modelbook.data.values import read_columns
        >>> table = pl.LazyFrame({"age": ["-3", "old"], "price": ["1", "2"]})
        >>> schema = {"age": ColumnSchema(type="float", min=0), "price": ColumnSchema(type="float")}
        >>> readings = read_columns(table, {name: column.type for name, column in schema.items()})
        >>> [rule.reason for rule in row_rules(schema, readings, target="price")][1:4]
        ['age: not a number', 'age: infinite', 'age: below 0']
    """
    rules = [Rule("missing target", target, readings[target].is_missing)]
    for name, column in schema.items():
        rules += _column_rules(name, column, readings[name], is_target=name == target)
    return rules


def _column_rules(name: str, column: ColumnSchema, reading: Reading, *, is_target: bool) -> Iterator[Rule]:
    value = reading.value
    if not column.nullable and not is_target:
        yield Rule(f"{name}: missing", name, reading.is_missing)
    yield Rule(f"{name}: {_NOT_OF_TYPE[column.type]}", name, reading.is_unreadable)
    if column.type == "float":
        yield Rule(f"{name}: infinite", name, value.is_infinite())
    if column.type in {"float", "integer"}:
        if column.min is not None:
            yield Rule(f"{name}: below {_bound(column.min)}", name, value < column.min)
        if column.max is not None:
            yield Rule(f"{name}: above {_bound(column.max)}", name, value > column.max)
    if column.type == "string" and column.categories is not None:
        known = pl.Series(column.categories, dtype=pl.String)
        yield Rule(f"{name}: not one of the known categories", name, ~value.is_in(known.implode()))


def _bound(number: float) -> str:
    return str(int(number)) if number.is_integer() else repr(number)
