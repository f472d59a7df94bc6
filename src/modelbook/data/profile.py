"""What the valid rows hold: a summary of each column, and what in them is worth a look or stops a run."""

from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from modelbook.config import ColumnType, Config
from modelbook.data.tables import column
from modelbook.records import ColumnSummary

_EXACT_ROWS = 1_000_000
_CLOSE = 0.1  # approximate counts this near each other may be equal
_ROWS_A_VALUE = 2  # with fewer rows to a value a column tells rows apart, whatever the target is
_LEAK_ROWS = 10  # in fewer rows anything correlates
_NUMBERS = {"float", "integer"}


def summarise(valid: pl.LazyFrame, types: Mapping[str, ColumnType]) -> tuple[ColumnSummary, ...]:
    """Return a summary of each column.

    Args:
        valid: The valid rows, typed.
        types: The type of each column.

    Example:
        >>> rooms, = summarise(pl.LazyFrame({"rooms": [3.0, 4.0, None]}), {"rooms": "float"})
        >>> rooms.nulls, rooms.distinct, rooms.mean
        (1, 2, 3.5)
    """
    rows = valid.select(pl.len()).collect(engine="streaming").item()
    if not types:
        return ()
    queries = [
        query for name, kind in types.items() for query in _queries(name, kind, is_exact=rows <= _EXACT_ROWS)
    ]
    found = valid.select(queries).collect(engine="streaming").row(0, named=True)
    return tuple(_summary(name, kind, found) for name, kind in types.items())


def _queries(name: str, kind: ColumnType, *, is_exact: bool) -> Iterator[pl.Expr]:
    values = column(name)
    known = values.drop_nulls()
    yield values.null_count().alias(f"nulls\0{name}")
    yield (known.n_unique() if is_exact else known.approx_n_unique()).alias(f"distinct\0{name}")
    yield (values.min() == values.max()).alias(f"single\0{name}")
    if kind in _NUMBERS:
        yield values.min().cast(pl.Float64).alias(f"min\0{name}")
        yield values.max().cast(pl.Float64).alias(f"max\0{name}")
        yield values.mean().alias(f"mean\0{name}")


def _summary(name: str, kind: ColumnType, found: Mapping[str, Any]) -> ColumnSummary:
    distinct = found[f"distinct\0{name}"]
    is_single = found[f"single\0{name}"]
    return ColumnSummary(
        name=name,
        type=kind,
        nulls=found[f"nulls\0{name}"],
        # An approximate count may be off by one between one value and two, where it matters most.
        distinct=1 if is_single else distinct if is_single is None else max(distinct, 2),
        min=found.get(f"min\0{name}"),
        max=found.get(f"max\0{name}"),
        mean=found.get(f"mean\0{name}"),
    )


def target_failures(summary: ColumnSummary, config: Config) -> Iterator[str]:
    """Yield what about the target makes training impossible.

    Args:
        summary: The summary of the target.
        config: The settings, for the task.
    """
    task = config.project.task
    if task == "regression" and summary.type not in _NUMBERS:
        yield f"the target {summary.name} is of type {summary.type}, and regression needs a number"
    elif summary.distinct == 1 and task == "regression":
        yield f"the target {summary.name} is constant: it has the same value in every row"
    elif summary.distinct == 1:
        yield f"the target {summary.name} has one class only: there is nothing to tell apart"


def column_warnings(valid: pl.LazyFrame, columns: tuple[ColumnSummary, ...], config: Config) -> Iterator[str]:
    """Yield what is worth a look: columns without variety, columns that leak the target, rare classes.

    Args:
        valid: The valid rows, typed.
        columns: Their summary.
        config: The settings: target, task and limits.
    """
    target = next(summary for summary in columns if summary.name == config.data.target)
    features = [summary for summary in columns if summary is not target]
    for feature in features:
        if feature.distinct == 0:
            yield f"{feature.name}: has no values"
        elif feature.distinct == 1:
            yield f"{feature.name}: is constant, the same in every row that has a value"
    varied = [feature for feature in features if feature.distinct > 1]
    rows = valid.select(pl.len()).collect(engine="streaming").item()
    if rows >= _LEAK_ROWS:
        yield from _correlation_warnings(valid, target, varied, limit=config.data.max_target_correlation)
        yield from _one_to_one_warnings(valid, target, varied, rows=rows)
    if config.project.task == "classification":
        yield from _class_warnings(valid, target, least_share=config.data.min_class_share)


def _correlation_warnings(
    valid: pl.LazyFrame, target: ColumnSummary, features: list[ColumnSummary], *, limit: float
) -> Iterator[str]:
    truth = column(target.name)
    if target.type not in {*_NUMBERS, "boolean"}:
        if target.distinct != 2:  # noqa: PLR2004 (a class against the other)
            return
        truth = truth == truth.max()
    names = [feature.name for feature in features if feature.type in {*_NUMBERS, "boolean"}]
    if not names or target.distinct < 2:  # noqa: PLR2004 (a constant correlates with nothing)
        return
    pairs = [pl.corr(column(name).cast(pl.Float64), truth.cast(pl.Float64)).alias(name) for name in names]
    found = valid.select(pairs).collect(engine="streaming").row(0, named=True)
    for name, correlation in found.items():
        if correlation is not None and abs(correlation) >= limit:
            yield f"{name}: correlates with the target at {correlation:.4f}; it may leak the target"


def _one_to_one_warnings(
    valid: pl.LazyFrame, target: ColumnSummary, features: list[ColumnSummary], *, rows: int
) -> Iterator[str]:
    names = [
        feature.name
        for feature in features
        if feature.type == "string"
        and abs(feature.distinct - target.distinct) <= _CLOSE * target.distinct
        and rows - feature.nulls >= _ROWS_A_VALUE * feature.distinct
    ]
    for name in names:
        known = valid.filter(column(name).is_not_null())
        one, other = column(name), column(target.name)
        counts = known.select(
            pl.struct(one, other).n_unique().alias("pairs"),
            one.n_unique().alias("values"),
            other.n_unique().alias("targets"),
        )
        if len(set(counts.collect(engine="streaming").row(0))) == 1:
            yield f"{name}: each value goes with one value of the target only; it may leak the target"


def _class_warnings(valid: pl.LazyFrame, target: ColumnSummary, *, least_share: float) -> Iterator[str]:
    sizes = valid.group_by(column(target.name)).len().collect(engine="streaming")["len"].to_list()
    rare = [size for size in sizes if size < least_share * sum(sizes)]
    if rare:
        yield (
            f"{target.name}: {len(rare)} of {len(sizes)} classes have less than {least_share:.2%} "
            f"of the rows each; the rarest has {min(rare)}"
        )
